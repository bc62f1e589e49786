// Requests to this page's own server. Each has the token in a header, so that no other page can make them.

const KEY = "fairway-token";
let token = localStorage.getItem(KEY) ?? "";
let onRefused = () => {};

/** Keeps the token for all tabs of this address. */
export function keepToken(text) {
  token = text;
  localStorage.setItem(KEY, text);
}

/** Calls a function when the server refuses the token. */
export function whenRefused(call) {
  onRefused = call;
}

async function request(path, parameters, signal) {
  const given = Object.entries(parameters).filter(([, value]) => value);
  const query = new URLSearchParams(given).toString();
  const address = `data/${path}${query ? `?${query}` : ""}`;
  let response;
  try {
    response = await fetch(address, { headers: { Authorization: `Bearer ${token}` }, signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Error("fairway ui does not answer: is it still running?");
  }
  if (response.ok) return response;
  if (response.status === 401) onRefused();
  const reply = await response.json().catch(() => ({}));
  throw new Error(reply.Message ?? `the server refused with status ${response.status}`);
}

/** What the server says about a path. */
export async function get(path, parameters = {}, signal = undefined) {
  return (await request(path, parameters, signal)).json();
}

/** Reads server-sent events, and calls `show` with the name and the data of each, until the stream ends. */
export async function stream(path, parameters, signal, show) {
  const response = await request(path, parameters, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const field = (name) => block.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      if (field("event")) show(field("event"), JSON.parse(field("data")));
    }
  }
}
