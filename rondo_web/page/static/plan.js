// Plans: which charts a life's metrics get without being asked, and the PromQL behind each.

import { compact } from "./format.js";

export const TOP = 8; // as many as there are colours
const UNGROUPED = 12; // charts that need no headings
const SHARES = [0.5, 0.9, 0.99];

/** Write a text as a string of PromQL. */
export const quoted = (text) => `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;

/** Write a selector. `matchers`: labels and what they must be. */
export function selector(name, matchers) {
  const inner = Object.entries(matchers).map(([label, text]) => `${label}=${quoted(text)}`).join(",");
  return inner ? `${name}{${inner}}` : name;
}

/**
 * Gather a life's series into metrics, in the order in which they were declared.
 * Each: name, kind, unit, help, count of series, labels: the names that differ, sketch, peaks, tiers.
 */
export function metricsOf(life) {
  const schemas = new Map(life.schemas.map((each) => [each.name, each]));
  const found = new Map();
  for (const each of life.series) {
    let metric = found.get(each.name);
    if (!metric) {
      const { sketch, peaks, tiers } = schemas.get(each.schema);
      metric = { name: each.name, kind: each.kind, unit: each.unit, help: each.help, count: 0, sketch, peaks, tiers };
      found.set(each.name, metric);
    }
    metric.count += 1;
  }
  return [...found.values()].map((each) => ({ ...each, unit: each.unit || unitOf(each.name) }));
}

/** Read a unit off a metric's name, where nobody has said one. */
function unitOf(name) {
  const match = /_(bytes|seconds|ratio)(?:_total)?$/.exec(name);
  return match ? match[1] : "";
}

/** Sort metrics into groups by the first word of their names; what a program says of itself comes before what rondo says. */
export function grouped(metrics) {
  const first = (name) => name.split("_")[0];
  const many = new Map();
  for (const { name } of metrics) many.set(first(name), (many.get(first(name)) ?? 0) + 1);
  const groups = new Map();
  for (const metric of metrics) {
    const word = first(metric.name);
    const title = many.get(word) > 1 || word === "rondo" ? word : "other";
    groups.set(title, [...(groups.get(title) ?? []), metric]);
  }
  const own = groups.get("rondo") ?? [], rest = metrics.filter((each) => !own.includes(each));
  if (rest.length <= UNGROUPED) return [{ title: "charts", metrics: rest }, { title: "rondo", metrics: own }].filter((each) => each.metrics.length);
  const place = (title) => ["process", "python", "host", "cgroup", "rondo"].indexOf(title) + 1 || (title === "other" ? 0.5 : 0);
  return [...groups].sort(([a], [b]) => place(a) - place(b)).map(([title, members]) => ({ title, metrics: members }));
}

/** Name the ways in which a metric can be read, the usual one first. */
export function readings(metric) {
  if (metric.kind === "counter") return [["rate", isCpuTime(metric) ? "cores" : "per second"], ["total", "total"]];
  if (metric.kind === "gauge") return [["avg", metric.count <= 3 ? "avg, min, max" : "average"], ["max", "greatest"], ["min", "least"]];
  const shares = metric.sketch ? SHARES.map((share) => [`p${share * 100}`, `p${share * 100}`]) : [];
  const one = metric.sketch ? [["spread", "mean, quantiles"]] : [];
  const many = [["mean", "mean"], ...shares, ["rate", "per second"]];
  return metric.count === 1 ? [...one, ...many] : many;
}

/** The finest interval of a metric's tiers that still holds what lies at `from`, in ms. */
export function intervalAt(metric, from, newest) {
  const holds = metric.tiers.find((tier) => newest - tier.retention_ms <= from);
  return (holds ?? metric.tiers.at(-1)).interval_ms;
}

/**
 * Give the queries of a reading: `expression`, and `role`: "line", or "low" and "high" of a band; `tag`: what to call
 * its lines beside their labels. `context`: matchers, step, interval, from, to, all in ms; `top`: most series, 0: all.
 */
export function queries(metric, reading, context, top = TOP) {
  const { matchers, step, interval, from, to } = context;
  const window = `[${compact(step + interval)}]`, whole = `[${compact(step)}]`;
  const of = (suffix = "") => selector(metric.name + suffix, matchers);
  const limited = (expression, rank) => {
    if (!top || metric.count <= top) return expression;
    return `${expression} and topk(${top}, ${rank}[${compact(Math.max(to - from, step))}] @ ${Math.floor(to / 1000)}))`;
  };
  const line = (expression, rank, tag = "") => ({ role: "line", expression: limited(expression, rank), tag });
  const share = (text) => Number(text.slice(1)) / 100;
  if (metric.kind === "counter") {
    const rank = `increase(${of()}`;
    return [reading === "total" ? line(`last_over_time(${of()}${whole})`, rank) : line(`rate(${of()}${window})`, rank)];
  }
  if (metric.kind === "gauge") {
    const rank = `avg_over_time(${of()}`;
    if (reading === "max" || reading === "min") return [line(`${reading}_over_time(${of()}${whole})`, rank)];
    const mean = line(`avg_over_time(${of()}${whole})`, rank);
    if (metric.count > 3 || (step <= interval && interval === metric.tiers[0].interval_ms && !metric.peaks)) return [mean];
    const edge = (role, fn) => ({ ...line(`${fn}_over_time(${of()}${whole})`, rank), role });
    return [mean, edge("low", "min"), edge("high", "max")];
  }
  const rank = `increase(${of("_count")}`;
  const mean = (tag) => line(`rate(${of("_sum")}${window}) / rate(${of("_count")}${window})`, rank, tag);
  const sketches = selector(metric.name, { ...matchers, quantile: "" });
  const quantile = (at, tag) => line(`histogram_quantile(${at}, sum_over_time(${sketches}${whole}))`, rank, tag);
  if (reading === "spread") return [mean("mean"), ...SHARES.map((at) => quantile(at, `p${at * 100}`))];
  if (reading === "mean") return [{ ...mean(""), expression: limited(`(${mean("").expression.split(" and topk(")[0]})`, rank) }];
  if (reading === "rate") return [line(`rate(${of("_count")}${window})`, rank)];
  return [quantile(share(reading), "")];
}

/** Give how many lines a legend is to have room for, before any answer has come. */
export function expectedLines(metric, reading, top = TOP) {
  if (reading === "spread") return 1 + SHARES.length;
  return top ? Math.min(metric.count, top) : metric.count;
}

/** Say what a reading's values are: their unit, and whether they are per second. */
export function unitOfReading(metric, reading) {
  if (reading === "rate" && isCpuTime(metric)) return { unit: "", perSecond: false };
  return { unit: reading === "rate" && metric.kind === "summary" ? "" : metric.unit, perSecond: reading === "rate" };
}

/** Whether a metric counts CPU time, of which a second in a second is a core. */
export const isCpuTime = ({ name, kind, unit }) => kind === "counter" && unit === "seconds" && /(^|_)v?cpu(_|$)/.test(name);

/** Give the one query that stands for a metric where two lives are laid over each other. */
export function overall(metric, context) {
  const { matchers, step, interval } = context;
  const window = `[${compact(step + interval)}]`, whole = `[${compact(step)}]`;
  const of = (suffix = "") => selector(metric.name + suffix, matchers);
  if (metric.kind === "counter") return { expression: `sum(rate(${of()}${window}))`, said: `${metric.count > 1 ? "sum, " : ""}${isCpuTime(metric) ? "cores" : "per second"}` };
  if (metric.kind === "gauge") return { expression: `avg(avg_over_time(${of()}${whole}))`, said: metric.count > 1 ? "average of its series" : "average" };
  return { expression: `sum(rate(${of("_sum")}${window})) / sum(rate(${of("_count")}${window}))`, said: "mean" };
}
