// The way of a packet, step by step.

import { byId, command, copyButton, count, html } from "./element.js";

const OUTCOMES = new Map([[true, ["good", "Answered"]], [false, ["bad", "Not answered"]], [null, ["unknown", "Not known"]]]);
const BADGES = {
  Passes: "passes", Rewritten: "rewritten", Delivered: "is delivered", Lost: "comes no further", Unknown: "leaves what is known",
};

function pill(answered) {
  const [kind, words] = OUTCOMES.get(answered ?? null);
  return html("span", { class: `pill ${kind}` }, words);
}

function step(stop, light) {
  const lines = stop.Lines.map((line) => {
    const at = line.indexOf(": ");
    const [place, text] = at > 0 && at < 24 ? [line.slice(0, at), line.slice(at + 2)] : ["", line];
    return html("span", { class: "line" }, place && html("span", { class: "place" }, place), text);
  });
  const badge = html("span", { class: `number ${stop.Badge.toLowerCase()}`, title: `The packet ${BADGES[stop.Badge]}` }, String(stop.Number));
  const [show, hover] = [() => light(stop.Number, true), () => light(stop.Number, false)];
  return html("li", {}, html("button", { class: "step", type: "button", onclick: show, onfocus: show, onpointerenter: hover },
    badge, html("span", { class: "words" }, html("strong", {}, stop.Place), lines)));
}

/** The arrow keys go from step to step. */
function walkWithKeys(event) {
  const down = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!down || !event.target.matches(".step")) return;
  const steps = [...byId("panel-explain").querySelectorAll(".step")];
  steps[steps.indexOf(event.target) + down]?.focus();
  event.preventDefault();
}

function branches(answer) {
  if (answer.Branches.length === 0) return null;
  const items = answer.Branches.map((it) => html("li", {}, pill(it.Answered), " ", html("strong", {}, it.Text), html("br"), it.Sentence));
  const more = answer.NotWalked > 0 && html("p", { class: "note" }, `At least ${count(answer.NotWalked, "branch")} more.`);
  return html("section", {}, html("h3", {}, "Branches"),
    html("p", { class: "note" }, "Chance or a limit decides between them. The first is drawn."), html("ul", { class: "branches" }, items), more);
}

function captures(answer) {
  if (answer.Captures.length === 0) return null;
  const items = answer.Captures.map((it) => html("li", {}, html("p", {}, html("strong", {}, it.Interface), ` on ${it.Namespace}: ${it.What}`), it.Command && command(it.Command)));
  return html("details", {}, html("summary", {}, "Where tcpdump sees it"), html("ul", { class: "captures" }, items));
}

/** The programs with which advice begins. */
const PROGRAM = /^(fairway|docker|podman|nerdctl|ip|nft|ip6?tables|ufw|firewall-cmd|sysctl) /;

/** Advice: alternatives of which those that are commands can be copied. */
function advice(text) {
  if (!text) return null;
  const parts = text.split("; or ").map((part) => {
    if (!PROGRAM.test(part)) return html("p", {}, part);
    const [own, rest] = part.split(/(?=, and )/);
    return html("div", {}, command(own), rest && html("p", { class: "note" }, rest.slice(2)));
  });
  return html("div", { class: "advice" }, html("h3", {}, "What would help"),
    parts.flatMap((part, number) => (number > 0 ? [html("p", { class: "note" }, "or"), part] : [part])));
}

/** Shows an answer. `act` has what the buttons do: `light`, `trace`, `clear`. */
export function showAnswer(question, answer, act) {
  const panel = byId("panel-explain");
  const walk = answer.Walk;
  const legs = (walk?.Legs ?? []).map((leg) => html("section", {},
    html("h3", {}, leg.Title), html("ol", { class: "steps", onkeydown: walkWithKeys }, leg.Stops.map((stop) => step(stop, act.light)))));
  panel.replaceChildren(
    html("div", { class: "title" }, html("h2", {}, `${question.from} → ${question.to}`), pill(walk?.Answered)),
    html("p", { class: "sentence" }, walk?.Sentence ?? ""),
    advice(walk?.Advice) ?? "",
    answer.Planned ? html("p", { class: "warning" }, `By the Plan: ${answer.Planned}`) : "",
    html("div", { class: "actions" },
      copyButton(location.href, "Copy link"),
      html("button", { class: "quiet small", type: "button", onclick: act.trace }, "Trace real packets"),
      html("button", { class: "quiet small", type: "button", onclick: act.clear }, "Clear")),
    branches(answer) ?? "", ...legs, captures(answer) ?? "");
}

/** Shows what can be asked. */
export function showNoQuestion() {
  byId("panel-explain").replaceChildren(html("div", { class: "empty" },
    html("h2", {}, "Where does a packet go?"),
    html("p", {}, "Pick a sender and a destination in the picture, or type them above. A container, host, lan, an address or a name, and a port."),
    html("p", {}, "In the picture, the arrow keys move from one to the next, Enter picks, + and − zoom, 0 shows everything.")));
}

/** Shows why there is no answer. */
export function showFailure(question, message) {
  byId("panel-explain").replaceChildren(
    html("div", { class: "title" }, html("h2", {}, `${question.from} → ${question.to}`)),
    html("p", { class: "error", role: "alert" }, message));
}
