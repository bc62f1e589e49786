// The picture: SVG with pan and zoom, whose containers, host and LANs can be picked.

import { byId, svg } from "./element.js";

/** The scales between which the picture can be zoomed, and the least at which its words can be read. */
const SMALLEST = 0.05;
const LARGEST = 4;
const READABLE = 0.85;
/** The largest scale at which all is shown. */
const COMFORTABLE = 1.5;
/** From this distance on a pressed pointer drags, in pixels. */
const DRAG = 5;
const KEYS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

function title(text) {
  return text ? svg("title", {}, text) : null;
}

function element(it) {
  switch (it.Kind) {
    case "Rectangle": {
      const { X: x, Y: y, Width: width, Height: height, Radius: rx, Endpoint: endpoint } = it;
      const own = endpoint && {
        role: "button", tabindex: "-1", "data-name": endpoint.Name, "aria-label": endpoint.Label, "aria-pressed": "false",
      };
      const words = endpoint ? endpoint.Label : it.Hint;
      return svg("rect", { class: it.Class, x, y, width, height, rx, ...own }, title(words));
    }
    case "Text":
      return svg("text", { class: it.Class, x: it.X, y: it.Y }, title(it.Hint), it.Text);
    case "Path":
      return svg("path", { class: it.Class, d: it.Data });
    case "Badge":
      // Those of the legend have no words.
      return svg("g", { class: `badge ${it.Class}`, "data-number": it.Hint ? it.Number : null }, title(it.Hint),
        svg("circle", { cx: it.X, cy: it.Y, r: it.Radius }),
        svg("text", { x: it.X, y: it.Y + 4 }, it.Number));
    default:
      return null;
  }
}

function arrowHead() {
  const tip = svg("path", { class: "tip", d: "M0 0L8 4L0 8z" });
  const shape = { id: "tip", viewBox: "0 0 8 8", refX: 6, refY: 4, markerWidth: 4.5, markerHeight: 4.5, orient: "auto" };
  return svg("defs", {}, svg("marker", shape, tip));
}

export class Picture {
  /** @param {(name: string) => void} pick is called with what the user picks. */
  constructor(pick) {
    this.pick = pick;
    this.holder = byId("picture");
    this.drawing = { Width: 1, Height: 1 };
    this.text = "";
    this.chosen = {};
    this.fitted = true;
    this.pointers = new Map();
    this.svg = svg("svg", { role: "group", tabindex: "-1", "aria-label": "Networks" });
    this.view = { x: 0, y: 0, scale: 1 };
    this.holder.replaceChildren(this.svg);
    this.listen();
    new ResizeObserver(() => (this.fitted ? this.fit() : this.show())).observe(this.holder);
  }

  /** Draws what the server sent; the place and the focus stay. True if something is new. */
  draw(drawing) {
    const text = JSON.stringify(drawing);
    if (text === this.text) return false;
    this.text = text;
    const active = document.activeElement;
    const focused = this.svg.contains(active) ? this.nodes().indexOf(active) : -1;
    const name = focused >= 0 ? active.dataset.name : null;
    const anew = this.drawing.Width !== drawing.Width || this.drawing.Height !== drawing.Height;
    this.drawing = drawing;
    const fragment = document.createDocumentFragment();
    fragment.append(arrowHead(), ...drawing.Elements.map(element).filter(Boolean));
    this.svg.replaceChildren(fragment);
    this.svg.setAttribute("aria-label", drawing.Title);
    this.mark(this.chosen);
    this.setStop(name === null ? this.nodes()[0] : this.node(name) ?? this.nodes()[0]);
    if (focused >= 0) this.stop?.focus({ preventScroll: true });
    if (anew && this.fitted) this.fit();
    return true;
  }

  nodes() {
    return [...this.svg.querySelectorAll("[data-name]")];
  }

  node(name) {
    return this.nodes().find((it) => it.dataset.name === name);
  }

  /** The names of all that can be picked. */
  names() {
    return [...new Set(this.nodes().map((it) => it.dataset.name))];
  }

  /** Marks the ends of the question. */
  mark({ from, to }) {
    this.chosen = { from, to };
    for (const node of this.nodes()) {
      const name = node.dataset.name;
      const is = (end) => end === name || (end ?? "").startsWith(`${name}:`);
      node.classList.toggle("from", is(from));
      node.classList.toggle("to", is(to));
      node.setAttribute("aria-pressed", is(from) || is(to));
    }
  }

  /** Lights the badge of a step up; with `moves`, it is brought into view. */
  light(number, moves) {
    for (const badge of this.svg.querySelectorAll("[data-number]")) {
      badge.classList.toggle("lit", Number(badge.dataset.number) === number);
    }
    const badge = this.svg.querySelector(`.badge[data-number="${Number(number)}"]`);
    if (badge && moves) this.reveal(badge.getBBox(), this.view.scale < READABLE / 2);
  }

  /** Brings the node of a name into view. */
  find(name) {
    const node = this.node(name);
    if (node) {
      this.setStop(node);
      this.reveal(node.getBBox(), true);
    }
    return Boolean(node);
  }

  /** Shows the whole way of a packet, as large as it can be. */
  showWay() {
    const boxes = [...this.svg.querySelectorAll("[data-number], .from, .to")].map((it) => it.getBBox());
    if (boxes.length === 0) return;
    const left = Math.min(...boxes.map((it) => it.x)) - 90;
    const top = Math.min(...boxes.map((it) => it.y)) - 60;
    const right = Math.max(...boxes.map((it) => it.x + it.width)) + 90;
    const bottom = Math.max(...boxes.map((it) => it.y + it.height)) + 90;
    const { width, height } = this.size();
    const scale = Math.min(width / (right - left), height / (bottom - top), COMFORTABLE);
    // What is hardly larger is not worth the parts that are cut off.
    if (scale <= this.wholeScale() * 1.3) return this.fit();
    this.fitted = false;
    this.view = { x: (left + right - width / scale) / 2, y: (top + bottom - height / scale) / 2, scale };
    this.show();
  }

  size() {
    return { width: this.holder.clientWidth || 1, height: this.holder.clientHeight || 1 };
  }

  wholeScale() {
    const { width, height } = this.size();
    return Math.min(width / this.drawing.Width, height / this.drawing.Height, COMFORTABLE);
  }

  /** Shows everything. */
  fit() {
    const { width, height } = this.size();
    const scale = this.wholeScale();
    const x = (this.drawing.Width - width / scale) / 2;
    const y = Math.min(0, (this.drawing.Height - height / scale) / 2);
    this.view = { x, y, scale };
    this.fitted = true;
    this.show();
  }

  show() {
    const { width, height } = this.size();
    const { x, y, scale } = this.view;
    this.svg.setAttribute("viewBox", `${x} ${y} ${width / scale} ${height / scale}`);
  }

  /** Zooms by a factor around a point of the window. */
  zoom(factor, at = null) {
    const { x, y, scale } = this.view;
    const area = this.holder.getBoundingClientRect();
    const [left, top] = at ? [at.x - area.left, at.y - area.top] : [area.width / 2, area.height / 2];
    const to = Math.min(LARGEST, Math.max(Math.min(SMALLEST, this.wholeScale()), scale * factor));
    this.view = { x: x + left / scale - left / to, y: y + top / scale - top / to, scale: to };
    this.fitted = false;
    this.show();
  }

  pan(right, down) {
    this.view.x -= right / this.view.scale;
    this.view.y -= down / this.view.scale;
    this.fitted = false;
    this.show();
  }

  /** Moves the view so far that an area is in it; with `readable`, also so near that its words can be read. */
  reveal(area, readable = false) {
    const { width, height } = this.size();
    if (readable && this.view.scale < READABLE) {
      this.view.scale = READABLE;
      this.view.x = area.x + area.width / 2 - width / READABLE / 2;
      this.view.y = area.y + area.height / 2 - height / READABLE / 2;
      this.fitted = false;
      return this.show();
    }
    const { scale } = this.view;
    const space = 40 / scale;
    const moved = (from, length, start, size) => {
      if (from - space < start) return from - space;
      return from + length + space > start + size ? from + length + space - size : start;
    };
    const x = moved(area.x, area.width, this.view.x, width / scale);
    const y = moved(area.y, area.height, this.view.y, height / scale);
    if (x === this.view.x && y === this.view.y) return;
    this.view = { x, y, scale };
    this.fitted = false;
    this.show();
  }

  /** The node that the Tab key comes to. */
  setStop(node) {
    this.stop?.setAttribute("tabindex", "-1");
    this.stop = node;
    node?.setAttribute("tabindex", "0");
  }

  /** The next node in a direction: the nearest, and rather straight ahead than aside. */
  next([right, down]) {
    const middle = (it) => ({ x: it.x.baseVal.value + it.width.baseVal.value / 2, y: it.y.baseVal.value + it.height.baseVal.value / 2 });
    const here = middle(this.stop);
    let best = null;
    for (const node of this.nodes()) {
      const { x, y } = middle(node);
      const ahead = (x - here.x) * right + (y - here.y) * down;
      const aside = Math.abs((x - here.x) * down) + Math.abs((y - here.y) * right);
      if (ahead > 1 && (!best || ahead + 3 * aside < best.far)) best = { node, far: ahead + 3 * aside };
    }
    return best?.node;
  }

  listen() {
    const holder = this.holder;
    this.svg.addEventListener("keydown", (event) => this.key(event));
    this.svg.addEventListener("focusin", (event) => {
      if (!event.target.dataset.name) return;
      this.setStop(event.target);
      if (event.target.matches(":focus-visible")) this.reveal(event.target.getBBox(), true);
    });
    holder.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-Math.max(-120, Math.min(120, event.deltaY)) / 400), event);
    }, { passive: false });
    holder.addEventListener("pointerdown", (event) => {
      if (event.button === 0) this.pointers.set(event.pointerId, { x: event.x, y: event.y, from: event.target });
      this.far = this.pointers.size > 1;
    });
    holder.addEventListener("pointermove", (event) => this.move(event));
    const up = (event) => {
      const pressed = this.pointers.get(event.pointerId);
      this.pointers.delete(event.pointerId);
      const node = pressed?.from.closest?.("[data-name]");
      if (event.type === "pointerup" && node && !this.far) this.choose(node);
      holder.classList.remove("dragged");
    };
    holder.addEventListener("pointerup", up);
    holder.addEventListener("pointercancel", up);
    byId("zoom-in").addEventListener("click", () => this.zoom(1.4));
    byId("zoom-out").addEventListener("click", () => this.zoom(1 / 1.4));
    byId("zoom-fit").addEventListener("click", () => this.fit());
  }

  choose(node) {
    this.setStop(node);
    this.pick(node.dataset.name);
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const [right, down] = [event.x - before.x, event.y - before.y];
    if (!this.far && Math.hypot(right, down) < DRAG) return;
    if (!this.far || !this.holder.hasPointerCapture(event.pointerId)) this.holder.setPointerCapture(event.pointerId);
    this.far = true;
    this.holder.classList.add("dragged");
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const apart = (one) => Math.hypot(one.x - other.x, one.y - other.y) || 1;
      this.zoom(apart(event) / apart(before), { x: (event.x + other.x) / 2, y: (event.y + other.y) / 2 });
    } else {
      this.pan(right, down);
    }
    this.pointers.set(event.pointerId, { ...before, x: event.x, y: event.y });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.stop) return;
    const nodes = this.nodes();
    const to = KEYS[event.key] ? this.next(KEYS[event.key])
      : event.key === "Home" ? nodes[0] : event.key === "End" ? nodes.at(-1) : null;
    if (to) to.focus({ preventScroll: true });
    else if (event.key === "Enter" || event.key === " ") this.choose(event.target);
    else if (event.key === "+" || event.key === "=") this.zoom(1.25);
    else if (event.key === "-") this.zoom(0.8);
    else if (event.key === "0") this.fit();
    else if (!KEYS[event.key]) return;
    event.preventDefault();
  }
}
