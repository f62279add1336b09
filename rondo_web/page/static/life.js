// The view of one life: who it was and how it ended, its time, and a chart of everything that it recorded.

import { life as askLife } from "./api.js";
import { Board } from "./board.js";
import { debounced, el, fill } from "./dom.js";
import { ExpressionBox } from "./expression.js";
import { counted, duration, instant, size } from "./format.js";
import { grouped, intervalAt, metricsOf } from "./plan.js";
import { RangeBar, resolve } from "./range.js";
import { finestOf, metricSource } from "./sources.js";
import { Timeline, overlayOf } from "./timeline.js";
import { badge, lasted } from "./words.js";

const LOOK_AGAIN_MS = 5000, LOOK_AT_DEAD_MS = 20_000; // which may be opened again

/** What the charts of metrics depend on. */
const shapeOf = (metrics) => metrics.map((each) => `${each.name} ${each.count > 1}`).join();

export class LifeView {
  /** `app`: nav, now(), lives(). */
  constructor(app, store) {
    this.app = app;
    this.store = store;
    this.element = el("div", { class: "view life" });
    this.controller = new AbortController();
  }

  async start() {
    this.life = await askLife(this.store, this.controller.signal);
    this.#build();
    this.update(this.app.nav.view, null);
    this.lookedAt = Date.now();
  }

  get title() {
    return this.life?.name ?? this.store;
  }

  #build() {
    const { nav } = this.app, { life } = this;
    this.facts = el("dl", { class: "facts" });
    this.state = el("p", { class: "state" });
    this.ranges = new RangeBar(nav);
    this.timeline = new Timeline((from, to) => this.board.zoom(from, to));
    this.box = new ExpressionBox({ labels: () => this.#scope()?.labels ?? {}, scope: this.#scopeChoice(), onRun: (text) => nav.go({ q: [text, ...nav.view.q.filter((each) => each !== text)] }) });
    this.search = el("input", { type: "search", id: "search", placeholder: "Find charts", "aria-label": "Find charts by name or help", oninput: debounced(150, () => nav.go({ find: this.search.value.trim() }, { replace: true })) });
    this.found = el("p", { class: "message", hidden: true });
    this.board = new Board({
      nav, matchers: life.matchers,
      interval: (source, from) => (source.metric ? intervalAt(source.metric, from, this.#newest()) : finestOf(life, from, this.#newest())),
      overlay: () => this.overlay,
      scope: () => this.#scope(),
      explore: (text) => this.box.edit(text),
    });
    fill(this.element,
      el("header", { class: "head" }, el("div", { class: "who" }, el("h1", {}, life.name), this.state), this.#comparison(), this.facts),
      el("div", { class: "bar" }, this.ranges.element, this.search),
      this.box.element, this.timeline.element,
      life.crash ? el("details", { class: "crash" }, el("summary", {}, "What faulthandler wrote at a crash"), el("pre", {}, life.crash)) : null,
      this.board.questions, this.found, this.board.sections);
    this.#show();
    this.#tell();
  }

  /** Of which lives expressions are asked: of the one that is shown, or of all; null: there is no other. */
  #scope() {
    const { life } = this;
    if (!Object.keys(life.matchers).length) return null;
    return this.app.nav.view.of === "all" ? { labels: {}, words: "of all lives" } : { labels: life.matchers, words: `of ${life.name}` };
  }

  #scopeChoice() {
    if (!this.#scope()) return null;
    this.of = el("select", { class: "scope", "aria-label": "Of which lives to ask", onchange: () => this.app.nav.go({ of: this.of.value || null }) },
      el("option", { value: "" }, "of this life"), el("option", { value: "all" }, "of all lives"));
    return this.of;
  }

  /** A choice of the life to lay beside this one. */
  #comparison() {
    const others = this.app.lives().filter((each) => each.store !== this.store);
    if (!others.length) return null;
    const choice = el("select", { "aria-label": "Compare with another life", onchange: () => this.app.nav.go({ with: choice.value, q: [], from: null, to: null }) },
      el("option", { value: "" }, "Compare with …"), others.map((each) => el("option", { value: each.store }, each.name)));
    return choice;
  }

  #show() {
    const metrics = metricsOf(this.life);
    this.metrics = shapeOf(metrics);
    const sections = grouped(metrics).map(({ title, metrics: members }) => ({ title, sources: members.map((each) => this.#source(each)) }));
    this.board.show(sections, { closed: ["rondo"] });
    const more = this.life.n_series - this.life.series.length;
    this.found.hidden = metrics.length > 0 && more <= 0;
    this.found.textContent = more > 0 ? `The first ${counted(this.life.series.length, "series", "series")} of ${this.life.n_series} have charts; PromQL reads all.` : "This life has recorded no series.";
  }

  #source(metric) {
    const { nav } = this.app;
    return metricSource(metric, {
      shown: nav.view.read[metric.name],
      leftOut: Object.keys(this.life.labels),
      onShown: (shown) => nav.go({ read: { ...nav.view.read, [metric.name]: shown } }),
    });
  }

  #newest() {
    return this.life.newest_ms ?? this.app.now();
  }

  #span(view) {
    const { life } = this, live = life.outcome === "live";
    const now = this.app.now();
    const start = life.start_ms ?? life.made_ms;
    const end = live ? null : Math.max(life.newest_ms ?? 0, life.end_ms ?? 0, start + 1000);
    return { ...resolve(view, { start, first: Math.min(life.runs[0]?.start_ms ?? start, start), end }, now), goesOn: live };
  }

  #tell() {
    const { life } = this, now = this.app.now();
    fill(this.state, badge(life), life.outcome === "live" ? el("span", {}, `pid ${life.pid}`) : el("span", {}, life.ended));
    const facts = [
      ["writer", life.writer || "–"], ["started", life.start_ms ? instant(life.start_ms) : "–"],
      [life.outcome === "live" ? "running for" : "lasted", duration(lasted(life, now))],
      life.runs.length > 1 ? ["runs", String(life.runs.length)] : null,
      ["series", String(life.n_series)], ["size", size(life.size_bytes)],
      ...Object.entries(life.labels).filter(([name]) => !(name in life.matchers)),
    ];
    fill(this.facts, ...facts.filter(Boolean).map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", { title: text }, text))));
  }

  /** Show another view of this life. `before`: the one that was shown; null: none. */
  update(view, before) {
    const changed = (name) => before === null || JSON.stringify(view[name]) !== JSON.stringify(before[name]);
    this.#place(view);
    if (this.of) this.of.value = view.of ?? "";
    if (changed("q") || changed("of")) this.board.ask(view.q);
    if (changed("find")) this.#find(view.find);
    if (before && changed("read")) {
      for (const panel of [...this.board.panels]) {
        const { name } = panel.source.metric;
        if (view.read[name] !== before.read[name]) this.board.replace(panel, this.#source(panel.source.metric));
      }
    }
    if (before && (changed("range") || changed("from") || changed("to"))) this.board.refresh({ whole: true });
  }

  #place(view) {
    this.board.span = this.#span(view);
    this.overlay = overlayOf(this.life, this.app.now());
    this.ranges.show(view, this.board.span);
    this.timeline.show(this.life, this.board.span, this.app.now());
  }

  #find(text) {
    if (this.search.value.trim() !== text) this.search.value = text;
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const count = this.board.find(({ title, help }) => words.every((word) => `${title} ${help}`.toLowerCase().includes(word)));
    if (!words.length || count) {
      this.found.hidden = true;
      return;
    }
    this.found.hidden = false;
    this.found.textContent = `No chart has “${text}” in its name or help.`;
  }

  /** Go on with what has been recorded since; called each second. */
  async tick() {
    if (!this.board || this.looking) return;
    const isLive = this.life.outcome === "live";
    const due = Date.now() - this.lookedAt >= (isLive ? LOOK_AGAIN_MS : LOOK_AT_DEAD_MS);
    if (!isLive && !due) return;
    if (due) await this.#lookAgain();
    const { view } = this.app.nav;
    this.#place(view);
    this.#tell();
    if (this.board.span.following) this.board.refresh();
  }

  async #lookAgain() {
    this.looking = true;
    try {
      const was = this.life.outcome;
      this.life = await askLife(this.store, this.controller.signal);
      const metrics = metricsOf(this.life);
      if (shapeOf(metrics) !== this.metrics) {
        this.#show();
        this.#find(this.app.nav.view.find);
      } else {
        const byName = new Map(metrics.map((each) => [each.name, each]));
        for (const { source } of this.board.panels) Object.assign(source.metric, byName.get(source.metric.name));
      }
      if (was === "live" && this.life.outcome !== "live") {
        this.#place(this.app.nav.view);
        this.board.refresh({ whole: true });
      }
    } catch (error) {
      if (error.name !== "AbortError") this.app.trouble(error);
    } finally {
      this.looking = false;
      this.lookedAt = Date.now();
    }
  }

  repaint() {
    this.board?.repaint();
  }

  destroy() {
    this.controller.abort();
    this.board?.destroy();
  }
}
