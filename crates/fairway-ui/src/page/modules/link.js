// Links to what the page shows: #explain=web→10.0.0.5:80, #containers=web, #findings, #trace=web→db.

const ARROW = "→";
const VIEWS = ["explain", "containers", "findings", "trace"];

function encoded(text) {
  // What is legal in a fragment stays readable.
  return encodeURIComponent(text).replace(/%(3A|2F|5B|5D|40|2C)/g, (code) => decodeURIComponent(code));
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The link of a view, with the ends of a question or the words of a search. */
export function link({ view, from = "", to = "", words = "" }) {
  if ((view === "explain" || view === "trace") && (from || to)) {
    return `#${view}=${encoded(from)}${ARROW}${encoded(to)}`;
  }
  return words ? `#${view}=${encoded(words)}` : `#${view}`;
}

/** What a link means. */
export function parse(hash) {
  const [, name, rest] = /^#?([a-z]*)=?(.*)$/s.exec(hash) ?? [];
  const view = VIEWS.includes(name) ? name : "explain";
  const text = decoded(VIEWS.includes(name) ? rest : "");
  if (view !== "explain" && view !== "trace") return { view, from: "", to: "", words: text };
  const at = text.search(/→|->/);
  if (at < 0) return { view, from: text.trim(), to: "", words: "" };
  const arrow = text[at] === ARROW ? 1 : 2;
  return { view, from: text.slice(0, at).trim(), to: text.slice(at + arrow).trim(), words: "" };
}

/** Separates the token from the fragment of the printed address. */
export function splitToken(hash) {
  const [, token, rest] = /^#?token=([0-9a-f]+)&?(.*)$/s.exec(hash) ?? [];
  return token ? { token, hash: rest ? `#${rest}` : "" } : { token: null, hash };
}
