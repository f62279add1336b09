// Completion of PromQL: what may stand where the caret is: metrics, labels, their values, functions.

import { labelNames, labelValues, metadata } from "./api.js";
import { quoted } from "./plan.js";

const WITH_RANGE = "rate increase delta idelta irate avg_over_time min_over_time max_over_time sum_over_time count_over_time last_over_time quantile_over_time first_over_time stddev_over_time stdvar_over_time present_over_time absent_over_time changes resets deriv predict_linear".split(" ");
const PLAIN = "abs absent acos acosh asin asinh atan atanh ceil clamp clamp_max clamp_min cos cosh day_of_month day_of_week day_of_year days_in_month deg exp floor histogram_avg histogram_count histogram_fraction histogram_quantile histogram_stddev histogram_stdvar histogram_sum hour label_join label_replace ln log10 log2 minute month pi rad round scalar sgn sin sinh sort sort_desc sqrt tan tanh time timestamp vector year".split(" ");
const AGGREGATIONS = "sum avg min max count topk bottomk quantile group stddev stdvar count_values".split(" ");
const WORDS = "by without on ignoring group_left group_right offset bool and or unless".split(" ");
const DURATIONS = "10s 30s 1m 5m 15m 1h 6h 1d".split(" ");
const MAX_SHOWN = 40;

/**
 * Say what is being written where the caret is: `kind`, `from`: where it begins, `typed`: what is there of it already,
 * and of labels `metric` and `label`, of whose they are.
 */
export function contextAt(text, caret) {
  const before = text.slice(0, caret);
  let braces = -1, bracket = -1, inText = "";
  for (let at = 0; at < before.length; at += 1) {
    const sign = before[at];
    if (inText) {
      if (sign === "\\") at += 1;
      else if (sign === inText) inText = "";
    } else if (sign === '"' || sign === "'") inText = sign;
    else if (sign === "{") braces = at;
    else if (sign === "}") braces = -1;
    else if (sign === "[") bracket = at;
    else if (sign === "]") bracket = -1;
  }
  if (braces >= 0) {
    const metric = /([a-zA-Z_:][\w:]*)\s*$/.exec(before.slice(0, braces))?.[1] ?? "";
    const inner = before.slice(braces + 1);
    const value = /([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*"([^"]*)$/.exec(inner);
    if (value) return { kind: "value", from: caret - value[2].length, typed: value[2], metric, label: value[1] };
    const label = /(?:^|,)\s*([a-zA-Z_]\w*)?$/.exec(inner);
    return label ? { kind: "label", from: caret - (label[1] ?? "").length, typed: label[1] ?? "", metric } : { kind: "" };
  }
  if (inText) return { kind: "" };
  if (bracket >= 0) {
    const typed = before.slice(bracket + 1);
    return /^\w*$/.test(typed) ? { kind: "duration", from: bracket + 1, typed } : { kind: "" };
  }
  const list = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)$/.exec(before);
  if (list) {
    const typed = /[a-zA-Z_]?\w*$/.exec(list[1])[0];
    const metric = /([a-zA-Z_:][\w:]*)\s*[{[]/.exec(text)?.[1] ?? "";
    return { kind: "grouping", from: caret - typed.length, typed, metric };
  }
  const typed = /[a-zA-Z_:][\w:]*$/.exec(before)?.[0] ?? "";
  if (!typed && /[\d\w)\]}]\s*$/.test(before)) return { kind: "" };
  return { kind: "name", from: caret - typed.length, typed };
}

/** Gives completions, from what the server says there is; what it said is kept for a while. */
export class Completion {
  #kept = new Map();

  /** `labels()`: of which series names, labels and values are, so that they are those of the life that is asked. */
  constructor(labels) {
    this.labels = labels;
  }

  /** Give what may stand at the caret: each with `text`, `kind`, `help`, and `back`: where the caret then is, from its end. */
  async at(text, caret) {
    const context = contextAt(text, caret);
    const after = text[caret] ?? "";
    const all = context.kind ? await this.#candidates(context, after) : [];
    const typed = context.typed?.toLowerCase() ?? "";
    const found = all.filter((each) => each.shown.toLowerCase().includes(typed));
    found.sort((a, b) => Number(b.shown.toLowerCase().startsWith(typed)) - Number(a.shown.toLowerCase().startsWith(typed)));
    return { context, found: found.slice(0, MAX_SHOWN) };
  }

  async #candidates({ kind, metric, label }, after) {
    if (kind === "duration") return DURATIONS.map((each) => ({ shown: each, text: each + (after === "]" ? "" : "]"), kind: "duration" }));
    if (kind === "label" || kind === "grouping") {
      const names = await this.#ask(`labels ${metric}`, (labels) => labelNames(metric, labels));
      const found = names.filter((each) => each !== "__name__");
      return found.map((each) => (kind === "label" ? { shown: each, text: `${each}=""`, back: 1, kind: "label" } : { shown: each, text: each, kind: "label" }));
    }
    if (kind === "value") {
      const values = await this.#ask(`values ${label} ${metric}`, (labels) => labelValues(label, metric, labels));
      return values.map((each) => ({ shown: each, text: quoted(each).slice(1), over: after === '"' ? 1 : 0, kind: "value" }));
    }
    const [names, told] = await Promise.all([
      this.#ask("names", (labels) => labelValues("__name__", "", labels)),
      this.#ask("metadata", metadata).catch(() => ({})),
    ]);
    const call = (each, kindOf, help) => ({ shown: each, text: `${each}(${after === "(" ? "" : ")"}`, back: after === "(" ? 0 : 1, kind: kindOf, help });
    return [
      ...names.map((each) => ({ shown: each, text: each, kind: "metric", help: helpOf(told, each) })),
      ...AGGREGATIONS.map((each) => call(each, "aggregation", "over series; by (label) keeps labels apart")),
      ...WITH_RANGE.map((each) => call(each, "function", "of a range: metric[1m]")),
      ...PLAIN.map((each) => call(each, "function", "")),
      ...WORDS.map((each) => ({ shown: each, text: `${each} `, kind: "word" })),
    ];
  }

  async #ask(what, call) {
    const labels = this.labels(), key = `${what} ${JSON.stringify(labels)}`;
    const kept = this.#kept.get(key);
    if (kept && Date.now() - kept.at < 30_000) return kept.answer;
    const answer = call(labels);
    this.#kept.set(key, { at: Date.now(), answer });
    answer.catch(() => this.#kept.delete(key));
    return answer;
  }
}

function helpOf(told, name) {
  const found = told[name] ?? told[name.replace(/_(sum|count|bucket|min|max)$/, "")];
  return found?.[0] ? [found[0].type, found[0].help].filter(Boolean).join(": ") : "";
}
