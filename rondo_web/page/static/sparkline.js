// Sparklines: the small charts of the list of lives, asked for as they come into sight.

import { queryRange } from "./api.js";
import { frameOf } from "./frame.js";
import { compact } from "./format.js";
import { selector } from "./plan.js";

const POINTS = 60, WIDTH = 160, HEIGHT = 28, LATEST_MS = 300e3;
const SVG = "http://www.w3.org/2000/svg";

/** What a small chart of a life asks: its telling metric over its newest run. */
function question(life, now) {
  const live = life.outcome === "live";
  const end = live ? now : (life.end_ms ?? life.start_ms);
  const start = live ? Math.max(life.start_ms, end - LATEST_MS) : life.start_ms;
  const step = Math.max(1000, Math.ceil((end - start) / POINTS / 1000) * 1000);
  const { name, kind } = life.telling;
  const window = Math.max(step * 2, 2000), wide = `[${compact(window)}]`;
  const of = (suffix = "") => selector(name + suffix, life.matchers);
  const expression = kind === "counter" ? `sum(rate(${of()}${wide}))` : kind === "gauge" ? `avg(avg_over_time(${of()}${wide}))` : `sum(rate(${of("_count")}${wide}))`;
  // A rate of a window that begins before the life did would be too low.
  const first = kind === "gauge" ? start : Math.max(start, life.start_ms + window);
  const last = Math.floor(end / step) * step;
  return { expression, grid: { start: Math.min(Math.ceil(first / step) * step, last), end: last, step } };
}

export class Sparklines {
  constructor(now) {
    this.now = now;
    this.lives = new Map();
    this.controller = new AbortController();
    this.near = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const known = this.lives.get(target);
        known.visible = isIntersecting;
        if (isIntersecting) this.#draw(target, known);
      }
    }, { rootMargin: "100px" });
  }

  /** Keep a life's small chart in an element. */
  watch(host, life) {
    const known = this.lives.get(host);
    if (known) {
      known.life = life;
      if (known.visible && (life.outcome === "live" || known.outcome !== life.outcome)) this.#draw(host, known);
      return;
    }
    this.lives.set(host, { life, visible: false });
    this.near.observe(host);
  }

  async #draw(host, known) {
    const { life } = known;
    if (!life.telling || !life.start_ms || known.loading || (known.drawn && life.outcome !== "live" && known.outcome === life.outcome)) return;
    known.loading = true;
    try {
      const { expression, grid } = question(life, this.now());
      const { series } = await queryRange(expression, grid, this.controller.signal);
      const values = frameOf(series, grid).series[0]?.values ?? [];
      host.replaceChildren(picture(values));
      host.title = life.telling.name;
      Object.assign(known, { drawn: true, outcome: life.outcome });
    } catch {
      host.replaceChildren(); // the list says all that matters
    } finally {
      known.loading = false;
    }
  }

  destroy() {
    this.controller.abort();
    this.near.disconnect();
  }
}

/** Draw values as a line over its shade, from nought; what is absent is a gap. */
function picture(values) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const there = values.filter((value) => value !== null);
  if (!there.length) return svg;
  const greatest = Math.max(...there, 1e-12), least = Math.min(0, ...there);
  const x = (index) => (values.length > 1 ? (index / (values.length - 1)) * WIDTH : WIDTH / 2);
  const y = (value) => HEIGHT - 2 - ((value - least) / (greatest - least || 1)) * (HEIGHT - 4);
  let line = "", shade = "", begun = -1;
  const close = (last) => {
    if (begun >= 0) shade += `L${x(last).toFixed(1)} ${HEIGHT}L${x(begun).toFixed(1)} ${HEIGHT}Z`;
    begun = -1;
  };
  values.forEach((value, index) => {
    if (value === null) return close(index - 1);
    const point = `${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    line += `${begun < 0 ? "M" : "L"}${point}`;
    shade += `${begun < 0 ? "M" : "L"}${point}`;
    if (begun < 0) begun = index;
    return undefined;
  });
  close(values.length - 1);
  for (const [name, d] of [["shade", shade], ["line", line]]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", name);
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}
