// Sources of panels: a metric of a life, an expression, and a metric of two lives laid over each other.

import { labelText } from "./format.js";
import { TOP, expectedLines, intervalAt, overall, queries, readings, unitOfReading } from "./plan.js";
import { el } from "./dom.js";

/**
 * The chart of a metric. `shown`: "reading" or "reading,most", as the address has it; `onShown(text)`: another was
 * chosen; `leftOut`: labels that all series of the life have.
 */
export function metricSource(metric, { shown = "", onShown, leftOut }) {
  const ways = readings(metric);
  const [asked, most] = shown.split(",");
  const reading = ways.some(([name]) => name === asked) ? asked : ways[0][0];
  const top = /^\d+$/.test(most ?? "") ? Number(most) : TOP;
  return {
    title: metric.name,
    help: metric.help,
    metric,
    shortens: true,
    readings: ways,
    reading,
    onReading: (name) => onShown(top === TOP ? name : `${name},${top}`),
    expected: () => expectedLines(metric, reading, top),
    unit: () => unitOfReading(metric, reading),
    queries: (context) => queries(metric, reading, context, top),
    label: (labels, tag) => tag || labelText(labels, leftOut) || metric.name,
    note: (count) => {
      if (metric.count <= TOP || reading === "spread") return null;
      const more = (text, next) => el("button", { class: "link", onclick: () => onShown(`${reading},${next}`) }, text);
      return el("span", {}, `${count} of ${metric.count} series${top && top < metric.count ? ", the largest" : ""}`,
        top === TOP && metric.count > 50 ? more("show 50", 50) : null,
        top && top < metric.count ? more("show all", 0) : more(`show ${TOP}`, TOP));
    },
  };
}

/** The chart of an expression. `scope`: of which lives it is asked, by `labels` or as `chosen`, and `words` for that; null: of all. */
export function expressionSource(expression, { onRemove, scope }) {
  return {
    title: expression,
    isQuery: true,
    shortens: true,
    help: scope?.words ?? "",
    onRemove,
    emptyText: `The expression gives no series in this range${scope ? `, ${scope.words}` : ""}.`,
    expected: () => 3,
    unit: () => ({ unit: "", perSecond: false }),
    queries: () => [{ role: "line", expression, tag: "", only: scope?.labels ?? {}, chosen: scope?.chosen }],
    label: (labels) => {
      const inner = labelText(labels);
      return `${labels.__name__ ?? ""}${inner ? `{${inner}}` : ""}` || expression;
    },
  };
}

/** The chart of a metric that two lives have. `pair`: for each its name, matchers and start. */
export function pairSource(metric, pair) {
  const { said } = overall(metric, { matchers: {}, step: 1000, interval: 1000 });
  return {
    title: metric.name,
    help: said,
    metric,
    expected: () => 2,
    unit: () => unitOfReading(metric, metric.kind === "counter" ? "rate" : "mean"),
    queries: (context) => pair.map(({ name, matchers, start }) => ({ role: "line", shift: start, tag: name, ...overall(metric, { ...context, matchers }) })),
    label: (_labels, tag) => tag,
    note: (count) => (count < 2 ? "only one of the two has points here" : null),
  };
}

/** The finest interval that a life's charts can be shown at, for expressions, which say of no metric which it is. */
export function finestOf(life, from, newest) {
  const all = life.schemas.map((schema) => intervalAt({ tiers: schema.tiers }, from, newest));
  return all.length ? Math.min(...all) : 1000;
}
