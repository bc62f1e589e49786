// The page as a whole: what is shown follows the address, and what has changed is drawn again.

import { showAnswer, showFailure, showNoQuestion } from "./answer.js";
import { Containers } from "./containers.js";
import { byId, html, settled } from "./element.js";
import { showFindings, showFindingsFailure } from "./findings.js";
import { link, parse, splitToken } from "./link.js";
import { Picture } from "./picture.js";
import { get, keepToken, stream, whenRefused } from "./server.js";
import { Trace } from "./trace.js";

/** After a lost connection the next attempt is made so much later, in milliseconds. */
const RETRY = 2000;
/** The host is diagnosed at most so often, in milliseconds. */
const DIAGNOSED = 5000;
const TABS = ["explain", "containers", "findings", "trace"];

let shown = { view: "explain", from: "", to: "", words: "" };
/** The question that the picture and the panel show the answer of, and that answer. */
let asked = { from: "", to: "" };
let answered = "";
let newest = 0;
/** Whether each sandbox is drawn, also of networks with many. */
let expanded = false;

const picture = new Picture(pick);
const containers = new Containers({
  find: async (name) => {
    if (picture.find(name) || expanded) return;
    await expand(true);
    picture.find(name);
  },
  pick: (end, name) => {
    byId(end).value = name;
    submit();
  },
  search: settled(300, (words) => shown.view === "containers" && go({ ...shown, words }, true)),
});
const trace = new Trace((from, to) => go({ view: "trace", from, to }));

/** Draws each sandbox, or one box for the many of a network. */
function expand(wanted) {
  expanded = wanted;
  byId("expand").setAttribute("aria-pressed", expanded);
  return look();
}

/** Goes to a view, as its link does. */
function go(to, replace = false) {
  const address = link(to);
  if (address === location.hash) return;
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  follow();
}

/** Shows what the address means. */
function follow() {
  const before = shown;
  shown = parse(location.hash);
  for (const name of TABS) {
    const [tab, panel] = [byId(`tab-${name}`), byId(`panel-${name}`)];
    tab.setAttribute("aria-selected", name === shown.view);
    tab.setAttribute("tabindex", name === shown.view ? "0" : "-1");
    panel.hidden = name !== shown.view;
  }
  if (shown.view === "containers") containers.setSearch(shown.words);
  if (shown.view === "trace" && (before.view !== "trace" || shown.from || shown.to)) trace.setEnds(shown.from, shown.to);
  if (shown.view === "explain" && (shown.from !== asked.from || shown.to !== asked.to)) {
    [byId("from").value, byId("to").value] = [shown.from, shown.to];
    asked = { from: shown.from, to: shown.to };
    look(true);
  }
  hint();
}

function hint() {
  const { value } = byId("from");
  const half = value && !byId("to").value;
  byId("hint").textContent = half ? `From ${value}: pick a destination, or type one.` : "";
  picture.mark({ from: value, to: byId("to").value });
}

/** What is picked is the sender first, then the destination; after that a new question begins. */
function pick(name) {
  const [from, to] = [byId("from"), byId("to")];
  if (!from.value || to.value) {
    from.value = name;
    to.value = "";
    hint();
  } else {
    to.value = name;
    submit();
  }
}

/** Asks what is typed, or says what is missing. */
function submit() {
  const [from, to] = [byId("from").value.trim(), byId("to").value.trim()];
  hint();
  if (from && to) {
    if (shown.view === "explain" && asked.from === from && asked.to === to) look(true);
    else go({ view: "explain", from, to });
  } else {
    byId(from ? "to" : "from").focus();
  }
}

/** Reads the picture, with the answer if a question is asked. `moves` says that the view goes to the answer. */
async function look(moves = false) {
  const number = ++newest;
  const question = asked;
  const current = () => number === newest;
  const drawn = { collapse: expanded ? "never" : "large" };
  try {
    if (question.from && question.to) {
      const answer = await get("explain", { ...question, ...drawn });
      if (!current()) return;
      draw(answer.Picture);
      if (moves) picture.showWay();
      const text = JSON.stringify([question, answer]);
      if (text === answered) return;
      answered = text;
      const focused = byId("panel-explain").contains(document.activeElement) ? document.activeElement.querySelector(".number")?.textContent : null;
      showAnswer(question, answer, { light: (step, moves) => picture.light(step, moves), trace: () => go({ view: "trace", ...question }), clear });
      if (focused) [...byId("panel-explain").querySelectorAll(".step")].find((it) => it.querySelector(".number").textContent === focused)?.focus();
      return;
    }
    answered = "";
    showNoQuestion();
    const drawing = await get("picture", drawn);
    if (!current()) return;
    draw(drawing);
    if (moves) picture.fit();
  } catch (error) {
    if (!current()) return;
    answered = "";
    showFailure(question, error.message);
    if (question.from && question.to) get("picture", drawn).then((drawing) => current() && draw(drawing), () => {});
  }
}

function draw(drawing) {
  byId("host").textContent = drawing.Host;
  document.title = `${drawing.Host} · Fairway`;
  byId("expand").hidden = !drawing.Collapsed && !expanded;
  if (!picture.draw(drawing)) return;
  hint();
  suggest();
}

/** Suggests what is drawn, and the containers, of which some may not be drawn each. */
function suggest() {
  const names = new Set([...picture.names(), ...containers.names()]);
  byId("endpoints").replaceChildren(...[...names].map((value) => html("option", { value })));
}

function clear() {
  go({ view: "explain" });
  byId("from").focus();
}

async function list() {
  try {
    containers.take(await get("containers"));
    suggest();
  } catch (error) {
    containers.fail(error.message);
  }
}

let diagnosed = 0;
let pending = null;

/** Reads the findings, now or when the last time is long enough ago. */
function diagnose() {
  if (pending) return;
  pending = setTimeout(async () => {
    diagnosed = Date.now();
    pending = null;
    try {
      showFindings(await get("findings"));
    } catch (error) {
      showFindingsFailure(error.message);
    }
  }, Math.max(0, diagnosed + DIAGNOSED - Date.now()));
}

function say(words, live) {
  byId("live").textContent = words;
  byId("live").classList.toggle("on", live);
}

let watches = 0;

/** Draws again what has changed, for as long as the page is open. */
async function watch() {
  const own = ++watches;
  while (own === watches) {
    try {
      await stream("changes", {}, undefined, () => {
        if (own !== watches) return;
        say("Live", true);
        look();
        list();
        diagnose();
      });
    } catch {
      // The status says it, and the next attempt follows.
    }
    if (own !== watches) return;
    say("Not connected", false);
    if (byId("token").open) return;
    await new Promise((done) => { setTimeout(done, RETRY); });
  }
}

/** Takes the token out of the address, so that a link does not hold it. */
function takeToken() {
  const { token, hash } = splitToken(location.hash);
  if (!token) return false;
  keepToken(token);
  history.replaceState(null, "", hash || location.pathname);
  return true;
}

function askForToken() {
  const dialog = byId("token");
  if (dialog.open) return;
  dialog.showModal();
  dialog.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    const [token] = /[0-9a-f]{32,}/.exec(dialog.querySelector("input").value) ?? [];
    dialog.querySelector(".error").textContent = token ? "" : "That has no token: it is 48 digits and letters at the end of the address.";
    if (!token) return;
    keepToken(token);
    dialog.close();
    watch();
  };
}

function begin() {
  takeToken();
  whenRefused(askForToken);
  byId("question").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  byId("question").addEventListener("input", hint);
  byId("expand").addEventListener("click", () => expand(!expanded));
  byId("swap").addEventListener("click", () => {
    [byId("from").value, byId("to").value] = [byId("to").value, byId("from").value];
    submit();
  });
  for (const [number, name] of TABS.entries()) {
    const tab = byId(`tab-${name}`);
    const open = () => go(name === "explain" ? { view: name, ...asked } : { view: name });
    tab.addEventListener("click", open);
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: number + 1, ArrowLeft: number - 1, Home: 0, End: TABS.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const next = byId(`tab-${TABS[(to + TABS.length) % TABS.length]}`);
      next.focus();
      next.click();
    });
  }
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, dialog");
    if (event.key === "/" && !typing) {
      event.preventDefault();
      (shown.view === "containers" ? containers.search : byId("from")).focus();
    } else if (event.key === "Escape" && !typing && (byId("from").value || byId("to").value)) {
      [byId("from").value, byId("to").value] = ["", ""];
      go({ view: "explain" });
      hint();
    }
  });
  addEventListener("popstate", () => {
    if (takeToken()) askAgain();
    follow();
  });
  addEventListener("hashchange", () => {
    if (takeToken()) askAgain();
    follow();
  });
  showNoQuestion();
  follow();
  watch();
}

/** A new token was opened in this tab. */
function askAgain() {
  byId("token").close();
  watch();
}

begin();
