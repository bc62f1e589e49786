// Real packets, as they are seen.

import { byId, count, html } from "./element.js";
import { stream } from "./server.js";

/** So many packets are kept; older ones go. */
const KEPT = 500;
/** So often a second the list is drawn. */
const DRAWN = 5;

function field(label, input) {
  return html("label", { class: "field" }, html("span", {}, label), input);
}

function input(placeholder) {
  return html("input", { list: "endpoints", autocomplete: "off", autocapitalize: "off", spellcheck: "false", placeholder });
}

function time(nanoseconds) {
  const date = new Date(Number(BigInt(nanoseconds) / 1000000n));
  const two = (number) => String(number).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

function packet(it) {
  const lost = /drop|reject|discard|unreachable|no route/i.test(it.End);
  const steps = it.Steps.map((step) => html("tr", {},
    html("td", {}, `+${step.After} µs`), html("td", {}, step.Namespace), html("td", {}, step.Location), html("td", {}, step.Text)));
  return html("li", {}, html("details", {},
    html("summary", {},
      html("time", {}, time(it.At)), html("span", { class: "flow" }, `flow ${it.Flow}${it.Back ? ", back" : ""}`),
      html("span", { class: "what" }, it.Title || it.Steps[0]?.Text || "a packet"),
      it.End && html("span", { class: lost ? "end bad" : "end" }, it.End)),
    html("div", { class: "scroll" }, html("table", { class: "timeline" }, html("tbody", {}, steps)))));
}

export class Trace {
  /** @param change is called with the ends that are traced. */
  constructor(change) {
    this.change = change;
    this.packets = [];
    this.waiting = [];
    this.paused = false;
    this.missed = 0;
    this.from = input("any");
    this.to = input("any");
    this.words = html("input", { type: "search", placeholder: "Filter what is shown", "aria-label": "Filter packets", oninput: () => this.show() });
    this.start = html("button", { class: "primary", type: "submit" }, "Start");
    this.pause = html("button", { class: "quiet", type: "button", "aria-pressed": "false", disabled: true, onclick: () => this.setPaused(!this.paused) }, "Pause");
    this.clear = html("button", { class: "quiet", type: "button", onclick: () => { this.packets = []; this.waiting = []; this.show(); } }, "Clear");
    this.summary = html("p", { class: "note", role: "status" }, "Shows each place that real packets pass: interfaces, rules, rewrites.");
    this.list = html("ol", { class: "packets", "aria-label": "Packets" });
    const begin = (event) => {
      event.preventDefault();
      if (this.running) this.end("Stopped.");
      else this.begin();
    };
    byId("panel-trace").replaceChildren(
      html("form", { class: "ask", onsubmit: begin }, field("From", this.from), field("To", this.to), this.start),
      html("div", { class: "filter" }, this.words, this.pause, this.clear), this.summary, this.list);
    setInterval(() => this.flush(), 1000 / DRAWN);
  }

  setEnds(from, to) {
    if (this.running && (from !== this.from.value || to !== this.to.value)) this.end("Stopped.");
    this.from.value = from;
    this.to.value = to;
  }

  setPaused(paused) {
    this.paused = paused;
    this.pause.setAttribute("aria-pressed", paused);
    this.pause.textContent = paused ? "Resume" : "Pause";
    this.flush();
    this.report();
  }

  async begin() {
    const [from, to] = [this.from.value.trim(), this.to.value.trim()];
    this.change(from, to);
    this.running = new AbortController();
    const { signal } = this.running;
    this.missed = 0;
    this.note = "";
    this.start.textContent = "Stop";
    this.pause.disabled = false;
    this.setPaused(false);
    let end = "The trace has ended.";
    try {
      await stream("trace", { from, to }, signal, (name, data) => {
        if (name === "packet") this.waiting.push(data);
        else if (name === "note") this.note = data;
        else if (name === "missed") this.missed = data;
        else if (name === "failure") end = data;
        if (this.waiting.length > KEPT) this.waiting.splice(0, this.waiting.length - KEPT);
      });
    } catch (error) {
      end = error.message;
    }
    if (!signal.aborted) this.end(end);
  }

  end(message) {
    this.running?.abort();
    this.running = null;
    this.start.textContent = "Start";
    this.setPaused(false);
    this.pause.disabled = true;
    this.summary.textContent = message;
  }

  /** Shows what came since the last time, unless it is paused. */
  flush() {
    if (this.paused) return this.report();
    if (this.waiting.length === 0) return this.running && this.report();
    const items = this.waiting.splice(0).map((data) => ({ data, item: packet(data), text: JSON.stringify(data).toLowerCase() }));
    this.packets.push(...items);
    for (const old of this.packets.splice(0, Math.max(0, this.packets.length - KEPT))) old.item.remove();
    const below = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 40;
    this.list.append(...items.filter((it) => this.passes(it)).map((it) => it.item));
    if (below) this.list.scrollTop = this.list.scrollHeight;
    this.report();
  }

  passes(it) {
    return this.words.value.trim().toLowerCase().split(/\s+/).every((word) => it.text.includes(word));
  }

  show() {
    this.list.replaceChildren(...this.packets.filter((it) => this.passes(it)).map((it) => it.item));
    this.report();
  }

  report() {
    if (!this.running) return;
    const parts = [this.note, count(this.packets.length, "packet")];
    if (this.waiting.length > 0) parts.push(`paused, ${this.waiting.length} more`);
    if (this.missed > 0) parts.push(`${this.missed} missed: there were too many`);
    const text = parts.filter(Boolean).join(" · ");
    if (this.summary.textContent !== text) this.summary.textContent = text;
  }
}
