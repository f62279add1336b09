// How a life ended, in a word, a sign and a colour; none of the three has to be told by the colour alone.

import { el } from "./dom.js";

export const OUTCOMES = {
  live: { word: "live", sign: "●", colour: "--live" },
  well: { word: "ended", sign: "✓", colour: "--well" },
  stopped: { word: "stopped", sign: "■", colour: "--stopped" },
  failed: { word: "failed", sign: "✕", colour: "--failed" },
  gone: { word: "gone", sign: "?", colour: "--failed" },
  unclear: { word: "ended", sign: "–", colour: "--stopped" },
};

/** Give the badge of a life. */
export function badge(life) {
  const { word, sign } = OUTCOMES[life.outcome];
  return el("span", { class: `badge ${life.outcome}` }, el("span", { class: "sign", "aria-hidden": "true" }, sign), word);
}

/** Say how long a life lasted, or has by now, in ms; null: not known. */
export function lasted(life, nowMs) {
  if (!life.start_ms) return null;
  const end = life.outcome === "live" ? nowMs : life.end_ms;
  return end ? Math.max(0, end - life.start_ms) : null;
}
