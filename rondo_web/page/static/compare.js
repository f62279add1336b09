// The view of two lives laid over each other, each counted from its start.

import { life as askLife } from "./api.js";
import { Board } from "./board.js";
import { add, debounced, el, fill } from "./dom.js";
import { duration, instant, size } from "./format.js";
import { grouped, intervalAt, metricsOf } from "./plan.js";
import { pairSource } from "./sources.js";
import { badge, lasted } from "./words.js";

export class CompareView {
  constructor(app, first, second) {
    this.app = app;
    this.stores = [first, second];
    this.element = el("div", { class: "view compare" });
    this.controller = new AbortController();
    this.title = "compare";
  }

  async start() {
    this.lives = await Promise.all(this.stores.map((store) => askLife(store, this.controller.signal)));
    const [first, second] = this.lives, { nav } = this.app;
    this.title = `${first.name} and ${second.name}`;
    const pair = this.lives.map((life) => ({ name: life.name, matchers: life.matchers, start: Math.floor(life.start_ms / 1000) * 1000 }));
    this.board = new Board({
      nav, relative: true,
      interval: (source, from) => Math.max(...this.lives.map((life, index) => intervalAt(source.metrics[index], pair[index].start + from, life.newest_ms ?? this.app.now()))),
      explore: (text) => nav.go({ with: null, q: [text], from: null, to: null }),
    });
    this.search = el("input", { type: "search", id: "search", placeholder: "Find charts", "aria-label": "Find charts by name or help", oninput: debounced(150, () => nav.go({ find: this.search.value.trim() }, { replace: true })) });
    this.shown = el("span", { class: "shown" });
    this.reset = el("button", { hidden: true, onclick: () => nav.go({ from: null, to: null }) }, "Show all");
    fill(this.element,
      el("header", { class: "head" }, el("div", { class: "who" }, el("h1", {}, first.name, el("span", { class: "quiet" }, " and "), second.name))),
      this.#table(),
      el("div", { class: "bar" }, el("button", { onclick: () => nav.go({ life: this.stores[1], with: this.stores[0], from: null, to: null }) }, "Swap"), this.reset, this.shown, this.search),
      this.board.sections);
    const theirs = new Map(metricsOf(second).map((each) => [each.name, each]));
    const shared = metricsOf(first).filter((each) => theirs.get(each.name)?.kind === each.kind);
    const sections = grouped(shared).map(({ title, metrics }) => ({ title, sources: metrics.map((metric) => ({ ...pairSource(metric, pair), metrics: [metric, theirs.get(metric.name)] })) }));
    this.#place(nav.view);
    this.board.show(sections, { closed: ["rondo"] });
    if (!shared.length) add(this.board.sections, ["These two have no metric in common."]);
    this.update(nav.view, null);
  }

  #table() {
    const now = this.app.now();
    const rows = [
      ["how it ended", (life) => el("span", {}, badge(life), " ", life.outcome === "live" ? `pid ${life.pid}` : life.ended)],
      ["started", (life) => (life.start_ms ? instant(life.start_ms, { day: true }) : "–")],
      ["lasted", (life) => duration(lasted(life, now))],
      ["writer", (life) => life.writer || "–"],
      ["series", (life) => String(life.n_series)],
      ["size", (life) => size(life.size_bytes)],
    ];
    return el("table", { class: "pair" },
      el("thead", {}, el("tr", {}, el("td"), this.lives.map((life, index) => el("th", { scope: "col" }, el("span", { class: `swatch line-${index}` }), el("a", { href: `#life=${encodeURIComponent(life.store)}` }, life.name))))),
      el("tbody", {}, rows.map(([name, tell]) => el("tr", {}, el("th", { scope: "row" }, name), this.lives.map((life) => el("td", {}, tell(life)))))));
  }

  #place(view) {
    const longest = Math.max(...this.lives.map((life) => lasted(life, this.app.now()) ?? 0), 1000);
    const span = view.from !== null ? { from: view.from, to: view.to } : { from: 0, to: longest };
    this.board.span = { ...span, following: false };
    this.shown.textContent = `${span.from ? duration(span.from) : "start"} – ${duration(span.to)}`;
    this.reset.hidden = view.from === null;
  }

  update(view, before) {
    this.#place(view);
    if (this.search.value.trim() !== view.find) this.search.value = view.find;
    const words = view.find.toLowerCase().split(/\s+/).filter(Boolean);
    this.board.find(({ title, metric }) => words.every((word) => `${title} ${metric.help}`.toLowerCase().includes(word)));
    if (before && (view.from !== before.from || view.to !== before.to)) this.board.refresh({ whole: true });
  }

  tick() {}

  repaint() {
    this.board?.repaint();
  }

  destroy() {
    this.controller.abort();
    this.board?.destroy();
  }
}
