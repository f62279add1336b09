// The first view: every life below the directory, living and dead, how each ended, and a small chart of it.

import { Board } from "./board.js";
import { debounced, el, fill } from "./dom.js";
import { ExpressionBox } from "./expression.js";
import { ago, counted, duration, instant, size } from "./format.js";
import { RangeBar, resolve } from "./range.js";
import { Sparklines } from "./sparkline.js";
import { format } from "./state.js";
import { OUTCOMES, badge, lasted } from "./words.js";

const SORTS = {
  newest: ["newest first", (a, b) => (b.outcome === "live") - (a.outcome === "live") || (b.start_ms ?? 0) - (a.start_ms ?? 0)],
  name: ["by name", (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true })],
  longest: ["longest first", (a, b) => (lasted(b, Date.now()) ?? 0) - (lasted(a, Date.now()) ?? 0)],
  largest: ["largest first", (a, b) => b.size_bytes - a.size_bytes],
};
const AT_ONCE = 100, FEW = 100, MANY = 2000; // rows that are shown, and lives that are asked for
const LAST = [5, 20, 100];
const jobOf = (life) => life.writer.replace(/^run /, "");

export class HomeView {
  constructor(app) {
    this.app = app;
    this.title = app.place();
    this.rows = new Map();
    this.jobs = new Set();
    this.chosen = new Set();
    this.most = AT_ONCE;
    this.element = el("div", { class: "view home" });
  }

  async start() {
    const { nav } = this.app;
    this.sparklines = new Sparklines(() => this.app.now());
    this.search = el("input", { type: "search", id: "search", placeholder: "Find lives", "aria-label": "Find lives by name, writer or end", oninput: debounced(120, () => nav.go({ find: this.search.value.trim() }, { replace: true })) });
    this.sort = el("select", { "aria-label": "Order", onchange: () => this.#look() }, Object.entries(SORTS).map(([name, [words]]) => el("option", { value: name }, words)));
    this.counts = el("p", { class: "counts" });
    this.body = el("tbody");
    this.more = el("button", { class: "link", onclick: () => { this.most += AT_ONCE; this.#look(); } });
    this.leftOut = el("details", { class: "left-out", hidden: true });
    this.compare = el("button", { class: "primary", hidden: true, onclick: () => this.#compare() });
    this.ranges = new RangeBar(nav);
    this.last = el("select", { "aria-label": "How many lives", onchange: () => nav.go({ last: Number(this.last.value) || null }) });
    this.job = el("select", { "aria-label": "Of which job", onchange: () => nav.go({ job: this.job.value || null }) });
    this.scope = el("span", { class: "scope quiet" });
    this.box = new ExpressionBox({ labels: () => ({}), scope: this.scope, onRun: (text) => nav.go({ q: [text, ...nav.view.q.filter((each) => each !== text)] }) });
    this.board = new Board({ nav, scope: () => this.#scope(), interval: (_source, from) => (this.app.now() - from > 600e3 ? 10_000 : 1000), explore: (text) => this.box.edit(text) });
    const heads = [["Life", "name"], ["", "spark"], ["Started", "started"], ["Lasted", "lasted"], ["Writer", "writer"], ["Series", "series"], ["Size", "size"], ["Compare", "pick"]];
    fill(this.element,
      el("header", { class: "head" }, el("div", { class: "who" }, el("h1", {}, this.title), this.counts)),
      this.box.element, el("div", { class: "bar asked" }, this.ranges.element), this.board.questions,
      el("div", { class: "bar" }, this.search, this.last, this.job, this.sort, this.compare),
      el("table", { class: "lives" }, el("thead", {}, el("tr", {}, heads.map(([words, name]) => el("th", { scope: "col", class: name }, words || el("span", { class: "unseen" }, "Activity"))))), this.body),
      el("p", { class: "message", hidden: true }), this.more, this.leftOut);
    this.none = this.element.querySelector("p.message");
    this.show();
    this.update(nav.view, null);
  }

  /** Show the lives as they are now. */
  show() {
    const lives = this.app.lives();
    const counts = Object.entries(OUTCOMES).map(([outcome, { sign, word }]) => [outcome, sign, word, lives.filter((each) => each.outcome === outcome).length]).filter(([, , , count]) => count);
    const { n_lives: all } = this.app.known;
    fill(this.counts, counts.map(([outcome, sign, word, count]) => el("span", { class: `badge ${outcome}` }, el("span", { class: "sign", "aria-hidden": "true" }, sign), `${count} ${word}`)),
      lives.length < all ? el("span", { class: "quiet" }, `of the newest ${lives.length} of ${all}`) : null);
    this.#choices(lives);
    const leftOut = this.app.known.left_out;
    this.leftOut.hidden = !leftOut.length;
    fill(this.leftOut, el("summary", {}, `${counted(leftOut.length, "place was", "places were")} left out`), el("ul", {}, leftOut.map((line) => el("li", {}, line))));
    this.#list();
  }

  /** Offer how many lives there may be, and the jobs that were seen. */
  #choices(lives) {
    for (const each of lives) if (each.writer) this.jobs.add(jobOf(each));
    const { last, job } = this.app.nav.view;
    if (job) this.jobs.add(job);
    const options = (select, pairs, chosen) => {
      if ([...select.children].map((each) => each.value).join("\n") !== pairs.map(([value]) => value).join("\n")) fill(select, pairs.map(([value, words]) => el("option", { value }, words)));
      select.value = String(chosen ?? "");
    };
    const counts = [...new Set([...LAST, ...(last ? [last] : [])])].sort((a, b) => a - b);
    options(this.last, [["", "all lives"], ...counts.map((each) => [String(each), `the last ${each}`])], last);
    options(this.job, [["", "of any job"], ...[...this.jobs].sort().map((each) => [each, `of ${each}`])], job);
    this.job.hidden = this.jobs.size < 2 && !job;
    this.scope.textContent = this.#scope()?.words ?? "of all lives";
  }

  /** Of which lives expressions are asked; null: of all. */
  #scope() {
    const { last, job } = this.app.nav.view;
    if (!last && !job) return null;
    return { labels: {}, chosen: { last, job }, words: `of ${last ? `the last ${last}` : "all"}${job ? ` of ${job}` : " lives"}` };
  }

  /** Ask for as many lives as are to be seen: all of them, where they are searched or in another order. */
  async #look({ anew = false } = {}) {
    const everyOne = this.app.nav.view.find || this.sort.value !== "newest";
    this.app.most = everyOne ? MANY : Math.min(MANY, Math.max(FEW, this.most));
    const { lives, n_lives: all } = this.app.known;
    if (anew || lives.length < Math.min(all, this.app.most)) {
      await this.app.lookAgain();
      this.show();
    } else this.#list();
  }

  #list() {
    const words = this.app.nav.view.find.toLowerCase().split(/\s+/).filter(Boolean);
    const said = (each) => `${each.name} ${each.writer} ${each.ended} ${OUTCOMES[each.outcome].word} ${Object.entries(each.labels).flat().join(" ")}`.toLowerCase();
    const found = this.app.lives().filter((each) => words.every((word) => said(each).includes(word))).sort(SORTS[this.sort.value][1]);
    const shown = found.slice(0, this.most);
    const elements = shown.map((each) => this.#row(each));
    if (elements.length !== this.body.children.length || elements.some((each, index) => this.body.children[index] !== each)) this.body.replaceChildren(...elements);
    this.none.hidden = found.length > 0;
    this.none.textContent = words.length ? `No life has “${this.app.nav.view.find}” in its name, writer or end.` : "No lives here yet.";
    const { lives, n_lives: all } = this.app.known;
    const there = found.length + Math.max(0, Math.min(all, MANY) - lives.length); // those that were not asked for yet
    this.more.hidden = there <= shown.length;
    this.more.textContent = `Show more: ${there - shown.length} of ${counted(there, "life", "lives")} are left`;
  }

  #row(life) {
    let row = this.rows.get(life.store);
    if (!row) {
      const link = el("a", { href: format({ ...this.app.nav.view, life: life.store, with: null, q: [], of: null, find: "", from: null, to: null, range: null, read: {} }) }, life.name);
      const pick = el("input", { type: "checkbox", "aria-label": `Compare ${life.name}`, onchange: () => this.#pick(life.store, pick) });
      row = { spark: el("td", { class: "spark" }), started: el("td", { class: "started" }), lasted: el("td", { class: "lasted" }), series: el("td", { class: "series" }), size: el("td", { class: "size" }), writer: el("td", { class: "writer" }), end: el("p", { class: "end" }) };
      row.element = el("tr", {}, el("th", { scope: "row", class: "name" }, link, row.end), row.spark, row.started, row.lasted, row.writer, row.series, row.size, el("td", { class: "pick" }, pick));
      this.rows.set(life.store, row);
    }
    const now = this.app.now();
    if (row.outcome !== life.outcome || row.said !== life.ended) fill(row.end, badge(life), el("span", { class: "why", title: life.ended }, life.outcome === "live" ? `pid ${life.pid}` : life.ended));
    Object.assign(row, { outcome: life.outcome, said: life.ended });
    const texts = { started: life.start_ms ? ago(life.start_ms, now) : "–", lasted: duration(lasted(life, now)), series: String(life.n_series), size: size(life.size_bytes), writer: life.writer || "–" };
    for (const [name, text] of Object.entries(texts)) if (row[name].textContent !== text) row[name].textContent = text;
    row.started.title = life.start_ms ? instant(life.start_ms, { day: true }) : "";
    this.sparklines.watch(row.spark, life);
    return row.element;
  }

  #pick(store, pick) {
    if (pick.checked) this.chosen.add(store);
    else this.chosen.delete(store);
    this.compare.hidden = this.chosen.size !== 2;
    this.compare.textContent = "Compare these two";
  }

  #compare() {
    const [first, second] = [...this.chosen].map((store) => this.app.lives().find((each) => each.store === store)).sort((a, b) => (a.start_ms ?? 0) - (b.start_ms ?? 0));
    this.app.nav.go({ life: first.store, with: second.store, q: [], find: "", from: null, to: null, range: null });
  }

  #span(view) {
    const lives = this.app.lives(), now = this.app.now();
    const live = lives.some((each) => each.outcome === "live");
    const end = live ? null : Math.max(...lives.map((each) => each.end_ms ?? 0), 1000);
    const start = Math.max((end ?? now) - 3600e3, Math.min(...lives.map((each) => each.start_ms ?? Infinity)));
    const first = Math.min(...lives.map((each) => each.made_ms ?? Infinity), end ?? now);
    const range = view.range ?? Math.max(60e3, (end ?? now) - start);
    return { ...resolve({ ...view, range }, { start, first, end }, now), goesOn: live };
  }

  update(view, before) {
    const changed = (name) => before === null || JSON.stringify(view[name]) !== JSON.stringify(before[name]);
    this.#place(view);
    if (changed("find")) {
      if (this.search.value.trim() !== view.find) this.search.value = view.find;
      this.most = AT_ONCE;
      this.#look();
    }
    if (before && (changed("last") || changed("job"))) {
      this.most = AT_ONCE;
      this.#look({ anew: true }).then(() => this.board.ask(view.q));
    }
    if (changed("q")) {
      this.board.ask(view.q);
      this.element.querySelector(".asked").hidden = !view.q.length;
    }
    if (before && (changed("range") || changed("from") || changed("to"))) this.board.refresh({ whole: true });
  }

  #place(view) {
    this.board.span = this.#span(view);
    this.ranges.show(view, this.board.span);
  }

  async tick(count) {
    if (!this.board) return;
    this.#place(this.app.nav.view);
    if (this.board.span.following) this.board.refresh();
    if (count % (this.app.known.lives.length > FEW ? 30 : 5) === 0) {
      await this.app.lookAgain();
      this.show();
    }
  }

  repaint() {
    this.board?.repaint();
  }

  destroy() {
    this.sparklines?.destroy();
    this.board?.destroy();
  }
}
