// The table of containers, with search and order.

import { byId, html } from "./element.js";

const COLUMNS = [
  ["Name", "Name"], ["Engine", "Engine"], ["State", "State"],
  ["Networks", "Networks"], ["Addresses", "Addresses"], ["Ports", "Ports"],
];

function texts(row, key) {
  return [row[key]].flat();
}

function matches(row, words) {
  const all = COLUMNS.flatMap(([key]) => texts(row, key)).join(" ").toLowerCase();
  return words.toLowerCase().split(/\s+/).every((word) => all.includes(word));
}

export class Containers {
  /** @param act what the rows do: `find`, `pick`, `search`. */
  constructor(act) {
    this.act = act;
    this.rows = [];
    this.order = { key: "Name", down: false };
    this.search = html("input", {
      type: "search", placeholder: "Name, address, port, network", "aria-label": "Search containers", spellcheck: "false",
      oninput: () => { this.show(); act.search(this.search.value.trim()); },
    });
    this.summary = html("p", { class: "note", role: "status" });
    this.body = html("tbody");
    this.heads = COLUMNS.map(([key, words]) => html("th", { scope: "col" },
      html("button", { type: "button", onclick: () => this.sort(key) }, words)));
    byId("panel-containers").replaceChildren(
      html("div", { class: "filter" }, this.search), this.summary,
      html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Containers" },
        html("table", {}, html("thead", {}, html("tr", {}, this.heads)), this.body)));
  }

  take(rows) {
    this.rows = rows;
    byId("tab-containers").querySelector(".count").textContent = rows.length || "";
    this.show();
  }

  /** The names of those that can be asked for. */
  names() {
    return this.rows.map((row) => row.Endpoint).filter(Boolean);
  }

  fail(message) {
    this.body.replaceChildren();
    this.summary.textContent = message;
  }

  setSearch(words) {
    if (this.search.value.trim() === words) return;
    this.search.value = words;
    this.show();
  }

  sort(key) {
    this.order = { key, down: this.order.key === key && !this.order.down };
    this.show();
  }

  row(row) {
    const name = row.Endpoint
      ? html("button", { class: "link", type: "button", onclick: () => this.act.find(row.Endpoint), title: "Show in the picture", "aria-label": `Show ${row.Name} in the picture` }, row.Name)
      : html("span", {}, row.Name);
    const ask = row.Endpoint && html("span", { class: "ends" },
      html("button", { class: "quiet small", type: "button", "aria-label": `From ${row.Name}`, onclick: () => this.act.pick("from", row.Endpoint) }, "From"),
      html("button", { class: "quiet small", type: "button", "aria-label": `To ${row.Name}`, onclick: () => this.act.pick("to", row.Endpoint) }, "To"));
    // What narrow windows have no columns for.
    const more = html("span", { class: "more" }, [row.Engine, row.State, ...row.Networks, ...row.Ports].join(" · "));
    const cells = COLUMNS.slice(1).map(([key]) => html("td", { class: key.toLowerCase() },
      texts(row, key).map((text) => html("span", { class: `value ${key === "State" ? text : ""}` }, text))));
    return html("tr", {}, html("th", { scope: "row" }, html("div", { class: "named" }, name, ask), more), cells);
  }

  show() {
    const { key, down } = this.order;
    const compare = new Intl.Collator(undefined, { numeric: true }).compare;
    const found = this.rows.filter((row) => matches(row, this.search.value.trim()));
    found.sort((one, other) => compare(texts(one, key).join(), texts(other, key).join()) * (down ? -1 : 1));
    for (const [number, head] of this.heads.entries()) {
      const own = COLUMNS[number][0] === key;
      if (own) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    const focused = this.body.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
    this.body.replaceChildren(...found.map((row) => this.row(row)));
    if (focused) this.body.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    const all = this.rows.length;
    this.summary.textContent = found.length === all ? `${all} containers` : `${found.length} of ${all} containers`;
  }
}
