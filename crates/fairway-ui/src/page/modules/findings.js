// What doctor finds.

import { byId, command, count, html } from "./element.js";

const RANKS = ["error", "warning", "unknown", "note", "ok"];

function finding(it) {
  const severity = it.Severity.toLowerCase();
  return html("li", { class: `finding ${severity}` },
    html("p", {}, html("span", { class: `pill ${severity}` }, severity), " ", html("span", { class: "message" }, it.Message)),
    it.Impact && html("p", { class: "note" }, it.Impact),
    it.Fix && command(it.Fix.Command),
    html("p", { class: "check" }, it.Id));
}

let shown = "";

/** Shows findings, the worst first; checks that found nothing are folded. */
export function showFindings(findings) {
  const text = JSON.stringify(findings);
  if (text === shown) return;
  shown = text;
  const ranked = findings.toSorted((one, other) => RANKS.indexOf(one.Severity.toLowerCase()) - RANKS.indexOf(other.Severity.toLowerCase()));
  const fine = ranked.filter((it) => it.Severity.toLowerCase() === "ok");
  const others = ranked.filter((it) => it.Severity.toLowerCase() !== "ok");
  const bad = others.filter((it) => ["error", "warning"].includes(it.Severity.toLowerCase()));
  const counter = byId("tab-findings").querySelector(".count");
  counter.textContent = bad.length || "";
  counter.classList.toggle("bad", bad.length > 0);
  byId("panel-findings").replaceChildren(
    html("p", { class: "sentence", role: "status" }, bad.length === 0 ? "Nothing is wrong." : `${count(bad.length, "finding")} to look at.`),
    html("ul", { class: "findings" }, others.map(finding)),
    fine.length > 0 ? html("details", {}, html("summary", {}, `${count(fine.length, "check")} found nothing`), html("ul", { class: "findings" }, fine.map(finding))) : "");
}

/** Shows why there are no findings. */
export function showFindingsFailure(message) {
  shown = "";
  byId("panel-findings").replaceChildren(html("p", { class: "error" }, message));
}
