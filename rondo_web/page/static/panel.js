// A panel: one chart with its legend, its table, its points as CSV and JSON, and the PromQL behind it.

import { queryRange } from "./api.js";
import { Chart, dashOf } from "./chart.js";
import { announce, download, el, fill } from "./dom.js";
import { counted, duration, instant, shortLabels, value } from "./format.js";
import { extended, frameOf, summary } from "./frame.js";
import { Legend } from "./legend.js";
import { edgesOf, hide, lineInWords, moved, toggled, valuesInWords, withoutEdges } from "./lines.js";
import { csv, json, pointsTable } from "./points.js";

const HEIGHT = 190;

/**
 * What a panel shows. A source has: title, help; expected(): how many lines to leave room for; unit(): { unit,
 * perSecond }; queries(context): see plan.js; label(labels, tag): what to call a line; and where there are several,
 * readings: [name, words] pairs, with reading and onReading(name); note(): what is left out, and more(): shows it.
 * `host`: context(): from, to, step and what else queries ask, in ms; zoom(from, to), reset(), overlay(), explore(q).
 */
export class Panel {
  constructor(source, host) {
    this.source = source;
    this.host = host;
    this.visible = false;
    this.frames = [];
    this.lines = [];
    this.hidden = new Set();
    this.colours = new Map();
    this.#build();
  }

  #build() {
    const { source } = this;
    const heading = `panel-${(Panel.count = (Panel.count ?? 0) + 1)}`;
    this.tableButton = el("button", { class: "small", "aria-pressed": "false", onclick: () => this.#toggleTable() }, "Table");
    this.queryButton = el("button", { class: "small", title: "Open the PromQL behind this chart in the expression box", onclick: () => this.host.explore(this.#mainQuery()) }, "PromQL");
    this.plot = el("div", { class: "plot", tabindex: "0", role: "img", "aria-label": `${source.title}: chart, not loaded yet`, onkeydown: (event) => this.#onKey(event) });
    this.message = el("p", { class: "message", hidden: true });
    this.points = el("div", { class: "points", hidden: true, tabindex: "0", role: "region", "aria-label": `${source.title}: points` });
    this.legend = new Legend(source.title, {
      onToggle: (key, only) => this.#toggle(key, only),
      onFocus: (index) => this.chart.focus(index),
    });
    this.note = el("p", { class: "note" });
    this.actions = el("div", { class: "actions" },
      this.#readingChoice(),
      this.tableButton,
      el("button", { class: "small", title: "Save the points as CSV", onclick: () => download(`${this.#fileName()}.csv`, "text/csv", csv(this.lines, this.times)) }, "CSV"),
      el("button", { class: "small", title: "Save the points as JSON", onclick: () => download(`${this.#fileName()}.json`, "application/json", json(this.asked, this.lines, this.times)) }, "JSON"),
      this.queryButton,
      source.onRemove ? el("button", { class: "small", title: "Remove this chart", onclick: source.onRemove }, "Remove") : null,
    );
    this.element = el("article", { class: "panel", "aria-labelledby": heading },
      el("header", {}, el("h3", { id: heading, class: source.isQuery ? "query" : null, title: source.title }, source.title), source.isQuery && !source.help ? null : el("p", { class: "help", title: source.help || null }, source.help || "\u00a0")),
      this.actions,
      el("div", { class: "picture" }, this.plot, this.message, this.points),
      this.legend.element,
      this.note,
    );
    this.legend.reserve(source.expected());
    const { unit, perSecond } = source.unit();
    this.chart = new Chart(this.plot, {
      height: HEIGHT, unit, perSecond, sync: "page", relative: this.host.relative,
      onZoom: (from, to) => this.host.zoom(from * 1000, to * 1000),
      onReset: () => this.host.reset(),
      onCursor: (index) => this.#atCursor(index),
      overlay: () => this.host.overlay(),
    });
  }

  #readingChoice() {
    const { readings, reading, onReading, title } = this.source;
    if (!readings || readings.length < 2) return null;
    const choice = el("select", { class: "small", "aria-label": `How to read ${title}`, onchange: () => onReading(choice.value) },
      readings.map(([name, words]) => el("option", { value: name }, words)));
    choice.value = reading;
    return choice;
  }

  /** Load and draw while the panel is on the screen, or near it; let go of what it holds when it is far. */
  setVisible(visible) {
    if (visible === this.visible) return;
    this.visible = visible;
    if (visible) this.refresh();
    else {
      this.controller?.abort();
      this.chart.destroyPlot();
      this.drawn = false;
    }
  }

  /** Ask for what the context shows now: all of it, or what has come since. */
  async refresh({ whole = false } = {}) {
    if (!this.visible || (this.loading && !whole)) return;
    this.controller?.abort();
    const controller = (this.controller = new AbortController());
    const context = this.host.context(this.source);
    const asked = this.source.queries(context);
    const goesOn = !whole && this.drawn && this.frames.length === asked.length && this.frames.every((frame) =>
      frame.step === context.step && frame.end >= context.from && frame.start <= context.from + context.step);
    this.loading = true;
    this.element.classList.toggle("loading", !this.drawn);
    try {
      const answers = await Promise.all(asked.map((query, index) => {
        const grid = { step: context.step, end: context.to, start: goesOn ? Math.max(context.from, this.frames[index].end - context.step) : context.from };
        return this.#ask(query, grid, controller.signal);
      }));
      this.asked = asked;
      this.frames = answers.map(({ frame }, index) => (goesOn ? extended(this.frames[index], frame, context.from) : frame));
      this.#draw(context, [...new Set(answers.flatMap(({ notes }) => notes))]);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#say(error.message, true);
    } finally {
      if (this.controller === controller) {
        this.loading = false;
        this.element.classList.remove("loading");
      }
    }
  }

  /** Ask for one query's points. One with a `shift`, in ms, counts times from there. */
  async #ask({ expression, shift = 0, only = {}, chosen = {} }, grid, signal) {
    const { series, notes } = await queryRange(expression, { ...grid, start: grid.start + shift, end: grid.end + shift }, signal, only, chosen);
    const moved = shift ? series.map((each) => ({ ...each, values: each.values.map(([time, text]) => [time - shift / 1000, text]) })) : series;
    const isHistogram = series.some((each) => each.histograms && !each.values?.length);
    return { frame: frameOf(moved, grid), notes: isHistogram ? [...notes, "Histograms are no lines: histogram_quantile(0.9, …) reads one."] : notes };
  }

  #draw(context, notes) {
    this.times = this.frames[0].times;
    this.lines = this.#linesOf();
    const drawn = withoutEdges(this.lines);
    const isEmpty = !drawn.length;
    // Why there is nothing stands where one looks for it; what is to be said of lines stands below them.
    this.#say(isEmpty ? [this.source.emptyText ?? "No points in this range.", ...notes].join("\n") : "", false);
    this.chart.draw({ times: this.times, lines: this.lines, from: context.from / 1000, to: context.to / 1000, step: context.step / 1000 });
    this.drawn = true;
    this.element.dataset.drawn = String((Number(this.element.dataset.drawn) || 0) + 1);
    this.legend.show(drawn, this.source.unit());
    fill(this.note, this.source.note?.(drawn.length) ?? null, ...(isEmpty ? [] : notes).map((note) => el("span", {}, note)));
    this.plot.setAttribute("aria-label", this.#inWords(drawn, context));
    if (!this.points.hidden) this.#fillTable();
  }

  /** Put the series of all queries into lines: the edges of bands after all of them. */
  #linesOf() {
    const lines = [], edges = new Map();
    this.frames.forEach((frame, index) => {
      const { role, tag } = this.asked[index];
      for (const each of frame.series) {
        if (role === "line") lines.push({ key: tag + each.key, label: this.source.label(each.labels, tag), labels: each.labels, tag, role, values: each.values, summary: summary(each.values) });
        else edges.set(role + each.key, each.values);
      }
    });
    if (this.source.shortens && lines.length > 1 && !lines.some((line) => line.tag)) {
      const texts = shortLabels(lines.map((line) => line.labels));
      lines.forEach((line, index) => Object.assign(line, { whole: line.label, label: texts[index] || line.label }));
    }
    if (!this.colours.size) lines.sort((a, b) => (a.tag || b.tag ? 0 : (b.summary.avg ?? 0) - (a.summary.avg ?? 0)));
    for (const { key } of lines) if (!this.colours.has(key)) this.colours.set(key, this.colours.size);
    lines.sort((a, b) => this.colours.get(a.key) - this.colours.get(b.key));
    const bands = [];
    for (const line of lines) {
      const colour = this.colours.get(line.key), low = edges.get(`low${line.key}`), high = edges.get(`high${line.key}`);
      Object.assign(line, { colour, dash: dashOf(colour, lines.length * line.values.length), hidden: this.hidden.has(line.key) });
      if (!low || !high) continue;
      line.summary = { ...line.summary, min: summary(low).min, max: summary(high).max };
      bands.push(...edgesOf(line, low, high));
    }
    return [...lines, ...bands];
  }

  #say(text, isError) {
    this.message.hidden = !text;
    this.message.classList.toggle("error", isError);
    this.message.textContent = text;
    if (isError) this.message.setAttribute("role", "alert");
    else this.message.removeAttribute("role");
  }

  #inWords(lines, context) {
    const unit = this.source.unit();
    const told = lines.slice(0, 5).map(({ label, summary }) =>
      `${lineInWords(label || this.source.title, summary, unit)}, last ${value(summary.last, unit.unit, unit.perSecond)}`);
    const when = this.host.relative ? `the first ${duration(context.to)}` : `${instant(context.from)} to ${instant(context.to)}`;
    return `${this.source.title}: chart of ${counted(lines.length, "line", "lines")}, ${when}. ${told.join(". ")}`;
  }

  #toggle(key, only) {
    this.hidden = toggled(this.hidden, withoutEdges(this.lines).map((line) => line.key), key, only);
    hide(this.lines, this.hidden, this.chart, this.legend);
  }

  #toggleTable() {
    const shown = this.points.hidden;
    this.points.hidden = !shown;
    this.plot.hidden = shown;
    this.tableButton.setAttribute("aria-pressed", String(shown));
    if (shown) this.#fillTable();
  }

  #fillTable() {
    fill(this.points, pointsTable(this.source.title, withoutEdges(this.lines), this.times ?? [], this.source.unit(), this.host.relative));
  }

  #atCursor(index) {
    const time = index === null || index === undefined ? null : this.times?.[index];
    this.legend.atCursor(time === null || time === undefined ? null : this.#timeText(time), index);
  }

  #timeText(seconds) {
    return this.host.relative ? duration(seconds * 1000) : instant(seconds * 1000, { day: false });
  }

  #onKey(event) {
    const index = moved(this.chart, event);
    if (index === null) return;
    const told = withoutEdges(this.lines).filter((line) => !line.hidden).slice(0, 5);
    announce(`${this.#timeText(this.times[index])}: ${valuesInWords(told, index, this.source.unit())}`);
  }

  #mainQuery() {
    return this.source.queries(this.host.context(this.source))[0].expression;
  }

  #fileName() {
    return this.source.title.replace(/[^A-Za-z0-9_.-]+/g, "_").slice(0, 60) || "points";
  }

  destroy() {
    this.controller?.abort();
    this.chart.destroy();
  }
}

/** Have panels load when they come near the screen, and let go when they are far from it. */
export function lazily(panels) {
  const of = new Map(panels.map((panel) => [panel.element, panel]));
  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) of.get(target)?.setVisible(isIntersecting);
  }, { rootMargin: "300px" });
  for (const { element } of panels) near.observe(element);
  return near;
}
