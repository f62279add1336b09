// What the page asks its own server, and nobody else: PromQL, and what is known of lives.

import { inTab } from "./kept.js";

/** An answer that is an error. `status`: 0 where nobody answered; `kind`: as the server has it. */
export class AskError extends Error {
  constructor(status, kind, message) {
    super(message);
    this.status = status;
    this.kind = kind;
  }
}

const TOKEN = "rondo-token";
const MAX_AT_ONCE = 6, MAX_TRIES = 4, BUSY_MS = 1000;
let running = 0;
const waiting = [];

/** Keep the text that the server wants of each request, for as long as this tab is open. */
export const keepToken = (token) => inTab.set(TOKEN, token);

/** Ask for a path below /api/v1, at most six at once. Gives the answer whole: `data`, and `warnings` and `infos`. */
export async function ask(path, parameters = {}, signal = undefined) {
  if (running >= MAX_AT_ONCE) await new Promise((go) => waiting.push(go));
  running += 1;
  try {
    for (let tries = 1; ; tries += 1) {
      try {
        return await answer(path, parameters, signal);
      } catch (error) {
        if (error.status !== 503 || tries === MAX_TRIES) throw error;
        await new Promise((go) => setTimeout(go, BUSY_MS)); // the server is busy, and says so
      }
    }
  } finally {
    running -= 1;
    waiting.shift()?.();
  }
}

async function answer(path, parameters, signal) {
  signal?.throwIfAborted();
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const each of Array.isArray(value) ? value : [value]) said.append(name, each);
  }
  const token = inTab.get(TOKEN);
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const query = said.size ? `?${said}` : "";
  let response;
  try {
    response = await fetch(new URL(`api/v1/${path}${query}`, document.baseURI), { headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new AskError(0, "unreachable", "the server does not answer; is rondo serve still running?");
  }
  const body = await response.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    return { status: "error", error: `the server answered ${response.status} ${response.statusText}` };
  });
  if (!response.ok || body.status === "error") {
    throw new AskError(response.status, body.errorType ?? "", body.error ?? response.statusText);
  }
  return body;
}

/** Which lives are asked: the `last` so many of them, those of one `job`; null: all. */
const which = ({ last = null, job = null }) => ({ ...(last ? { last } : {}), ...(job ? { job } : {}) });

/** Give the lives, at most so many, and where they lie. `chosen`: which of them. */
export const lives = async (limit, chosen) => (await ask("rondo/lives", { limit, ...which(chosen) })).data;

/** Give what is known of one life beside its points. */
export const life = async (store, signal) => (await ask("rondo/life", { store }, signal)).data;

/** Write labels as the matchers that hold for every selector of a request. */
const extra = (labels) => ({ extra_label: Object.entries(labels).map(([name, text]) => `${name}=${text}`) });

/** Evaluate an expression over a range, at each step: series with their points; times in ms. `labels`: of these only; `chosen`: of these lives. */
export async function queryRange(query, { start, end, step }, signal, labels = {}, chosen = {}) {
  const asked = { query, start: start / 1000, end: end / 1000, step: step / 1000, ...extra(labels), ...which(chosen) };
  const body = await ask("query_range", asked, signal);
  return { series: body.data.result, notes: [...(body.warnings ?? []), ...(body.infos ?? [])] };
}

/** Give the names of labels, or the values of one, of the series that a selector matches and that have `labels`. */
const matching = (match, labels) => ({ ...(match ? { "match[]": match } : {}), ...extra(labels) });
export const labelNames = async (match, labels) => (await ask("labels", matching(match, labels))).data;
export const labelValues = async (name, match, labels) => (await ask(`label/${encodeURIComponent(name)}/values`, matching(match, labels))).data;
export const metadata = async () => (await ask("metadata")).data;
