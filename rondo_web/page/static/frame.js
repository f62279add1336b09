// Frames: series over one grid of times, as a chart draws them; a time without a point is null, and drawn as a gap.

const KEPT_STEPS = 11_000;

/** Give what tells a series from the others of an answer. */
export const keyOf = (labels) => JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));

/** Read a sample of Prometheus's JSON; null: it is not a number. */
function number(text) {
  const read = text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text);
  return Number.isFinite(read) ? read : null;
}

/** Put an answer's series on the grid from `start` to `end`, all in ms. */
export function frameOf(result, { start, end, step }) {
  const count = Math.floor((end - start) / step) + 1;
  const times = Array.from({ length: count }, (_, index) => (start + index * step) / 1000);
  const series = result.map(({ metric, values }) => {
    const column = new Array(count).fill(null);
    for (const [time, text] of values ?? []) {
      const index = Math.round((time * 1000 - start) / step);
      if (index >= 0 && index < count) column[index] = number(text);
    }
    return { key: keyOf(metric), labels: metric, values: column };
  });
  return { start, end, step, times, series };
}

/** Give a frame with what a later one of the same step adds; what lies before `from` is left out. */
export function extended(frame, later, from) {
  const { step } = frame;
  const start = Math.max(frame.start, Math.ceil((from - frame.start) / step) * step + frame.start, later.end - KEPT_STEPS * step);
  const grid = { start, end: later.end, step };
  const skip = Math.round((start - frame.start) / step);
  const count = Math.floor((later.end - start) / step) + 1;
  const place = Math.round((later.start - start) / step);
  const byKey = new Map(frame.series.map((each) => [each.key, each]));
  for (const each of later.series) if (!byKey.has(each.key)) byKey.set(each.key, each);
  const newer = new Map(later.series.map((each) => [each.key, each.values]));
  const series = [...byKey.values()].map(({ key, labels }) => {
    const column = new Array(count).fill(null);
    const old = frame.series.find((each) => each.key === key)?.values ?? [];
    for (let index = 0; index < Math.min(count, place); index += 1) column[index] = old[index + skip] ?? null;
    const fresh = newer.get(key) ?? [];
    for (let index = Math.max(0, place); index < count; index += 1) column[index] = fresh[index - place] ?? null;
    return { key, labels, values: column };
  });
  const times = Array.from({ length: count }, (_, index) => (start + index * step) / 1000);
  return { ...grid, times, series: series.filter((each) => each.values.some((value) => value !== null)) };
}

/** Say of a series' points what a legend says: the least, mean, greatest and last; null where there is none. */
export function summary(values) {
  let min = Infinity, max = -Infinity, sum = 0, count = 0, last = null;
  for (const value of values) {
    if (value === null) continue;
    if (value < min) min = value;
    if (value > max) max = value;
    sum += value;
    count += 1;
    last = value;
  }
  return count ? { min, avg: sum / count, max, last, count } : { min: null, avg: null, max: null, last: null, count: 0 };
}

/** Choose the step that a range is shown at: a round one, of about `points` points, no finer than what is kept. */
export function stepFor(rangeMs, points, finestMs) {
  const round = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 10e3, 15e3, 30e3, 60e3, 120e3, 300e3, 600e3, 900e3, 1800e3, 3600e3, 7200e3, 21600e3, 43200e3, 86400e3];
  const wanted = Math.max(rangeMs / points, finestMs);
  const fits = (each) => each >= wanted * 0.999 && (each % finestMs === 0 || finestMs > 86400e3);
  return round.find(fits) ?? Math.ceil(wanted / finestMs) * finestMs;
}
