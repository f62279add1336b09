// A board: the panels of a view, which load as they are looked at, and follow what is recorded.

import { el, fill } from "./dom.js";
import { stepFor } from "./frame.js";
import { Panel, lazily } from "./panel.js";
import { expressionSource } from "./sources.js";

const POINTS = 900, POINTS_NARROW = 400;

export class Board {
  /**
   * `nav`; `interval(source, from)`: how fine what a source shows is kept; `matchers`: of the life that is shown;
   * `overlay()`; `explore(q)`; `scope()`: of which lives expressions are asked, see `expressionSource`; `relative`.
   */
  constructor({ nav, interval, matchers = {}, overlay = () => ({}), explore, scope = () => null, relative = false }) {
    Object.assign(this, { nav, interval, matchers, explore, scope, relative });
    this.overlay = overlay;
    this.panels = [];
    this.asked = [];
    this.questions = el("section", { class: "grid questions", "aria-label": "Expressions" });
    this.sections = el("div", { class: "sections" });
  }

  /** What a source is asked for now. */
  context(source) {
    const { from, to } = this.span;
    const interval = this.interval(source, from);
    const step = stepFor(to - from, innerWidth < 720 ? POINTS_NARROW : POINTS, interval);
    return {
      matchers: this.matchers, interval, step,
      from: Math.floor(from / step) * step,
      to: (this.span.following ? Math.floor : Math.ceil)(to / step) * step,
    };
  }

  zoom(from, to) {
    this.nav.go({ from: Math.round(from), to: Math.max(Math.round(to), Math.round(from) + 10) });
  }

  reset() {
    this.nav.go({ from: null, to: null });
  }

  /** Show sections, each a title and its sources. */
  show(sections, { closed = [] } = {}) {
    this.#letGo(this.panels);
    this.panels = [];
    fill(this.sections, ...sections.map(({ title, sources }) => {
      const panels = sources.map((source) => new Panel(source, this));
      this.panels.push(...panels);
      const grid = el("div", { class: "grid" }, panels.map((panel) => panel.element));
      const heading = [el("h2", {}, title), el("span", { class: "quiet" }, String(sources.length))];
      const part = closed.includes(title)
        ? el("details", { class: "section" }, el("summary", {}, heading), grid)
        : el("section", { class: "section" }, el("div", { class: "heading" }, heading), grid);
      part.panels = panels;
      return part;
    }));
    this.near = lazily(this.panels);
  }

  /** Put another source in the place of a panel's. */
  replace(panel, source) {
    const fresh = new Panel(source, this);
    this.near.unobserve(panel.element);
    panel.element.replaceWith(fresh.element);
    panel.destroy();
    const section = fresh.element.closest(".section");
    for (const list of [this.panels, section.panels]) list[list.indexOf(panel)] = fresh;
    this.near.disconnect();
    this.near = lazily(this.panels);
    return fresh;
  }

  /** Show these expressions, and no others. */
  ask(expressions) {
    const scope = this.scope();
    const kept = this.asked.filter(({ source }) => expressions.includes(source.title) && source.help === (scope?.words ?? ""));
    this.#letGo(this.asked.filter((each) => !kept.includes(each)));
    this.asked = expressions.map((text) => kept.find((each) => each.source.title === text) ?? new Panel(
      expressionSource(text, { onRemove: () => this.nav.go({ q: this.nav.view.q.filter((each) => each !== text) }), scope }), this));
    fill(this.questions, ...this.asked.map((panel) => panel.element));
    this.questions.hidden = !this.asked.length;
    this.nearQuestions?.disconnect();
    this.nearQuestions = lazily(this.asked);
  }

  /** Show the panels of which `wanted(source)` is true; give how many there are. */
  find(wanted) {
    let count = 0;
    for (const part of this.sections.children) {
      let there = 0;
      for (const panel of part.panels) {
        panel.element.hidden = !wanted(panel.source);
        there += Number(!panel.element.hidden);
      }
      part.hidden = !there;
      count += there;
    }
    return count;
  }

  /** Show what has come since; `whole`: all anew. */
  refresh(options) {
    for (const panel of [...this.asked, ...this.panels]) panel.refresh(options);
  }

  /** Draw all anew, as when the colours have changed. */
  repaint() {
    for (const panel of [...this.asked, ...this.panels]) {
      panel.chart.destroyPlot();
      panel.drawn = false;
      panel.refresh({ whole: true });
    }
  }

  #letGo(panels) {
    for (const panel of panels) panel.destroy();
  }

  destroy() {
    this.near?.disconnect();
    this.nearQuestions?.disconnect();
    this.#letGo([...this.panels, ...this.asked]);
  }
}
