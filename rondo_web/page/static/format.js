// Numbers, times and durations, as a person reads them.

const BINARY = ["", "Ki", "Mi", "Gi", "Ti", "Pi"];
const LARGE = ["", "k", "M", "G", "T", "P"];
const pad = (number, width = 2) => String(number).padStart(width, "0");

/** Give a number in about three digits and a unit: 12.3 MiB, 45 ms, 1.2 k/s. `unit`: as the series has it. */
export function value(number, unit = "", perSecond = false) {
  if (number === null || number === undefined || Number.isNaN(number)) return "–";
  if (!Number.isFinite(number)) return number > 0 ? "∞" : "−∞";
  const after = perSecond ? "/s" : "";
  if (unit === "bytes") return scaled(number, 1024, BINARY, "B" + after);
  if (unit === "seconds" && !perSecond) return seconds(number);
  if (unit === "seconds") return `${digits(number)} s/s`;
  if (unit === "ratio") return `${digits(number * 100)} %`;
  return scaled(number, 1000, LARGE, (perSecond ? after : "") + (unit ? (perSecond ? ` ${unit}` : unit) : ""));
}

function scaled(number, base, names, unit) {
  let size = Math.abs(number), step = 0;
  while (size >= base * 0.9995 && step < names.length - 1) {
    size /= base;
    step += 1;
  }
  const text = digits(Math.sign(number) * size);
  const name = names[step] + unit;
  return name ? `${text} ${name}` : text;
}

function seconds(number) {
  const size = Math.abs(number);
  if (size === 0) return "0 s";
  if (size < 1e-3) return `${digits(number * 1e6)} µs`;
  if (size < 1) return `${digits(number * 1e3)} ms`;
  return size < 120 ? `${digits(number)} s` : duration(number * 1000);
}

/** Give a number in about three digits, without noughts that say nothing. */
export function digits(number) {
  const size = Math.abs(number);
  if (size === 0) return "0";
  if (Number.isInteger(number) && size < 1e5) return String(number).replace("-", "−");
  if (size >= 1e6 || size < 1e-4) return number.toExponential(2).replace("e+", "e");
  const decimals = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : Math.min(6, 2 - Math.floor(Math.log10(size)));
  const text = number.toFixed(decimals);
  return (decimals ? text.replace(/\.?0+$/, "") : text).replace("-", "−");
}

/** Give a duration in its two largest units: 2 h 5 min, 12 s, 340 ms. */
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 0) return `−${duration(-ms)}`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const total = Math.round(ms / 1000);
  const parts = [[Math.floor(total / 86400), "d"], [Math.floor(total / 3600) % 24, "h"], [Math.floor(total / 60) % 60, "min"], [total % 60, "s"]];
  const first = parts.findIndex(([count]) => count);
  return parts.slice(first, first + 2).filter(([count]) => count).map(([count, name]) => `${count} ${name}`).join(" ") || "0 s";
}

/** Give a duration as PromQL and the address of a view have it: 1h30m, 250ms. */
export function compact(ms) {
  const units = [[86400e3, "d"], [3600e3, "h"], [60e3, "m"], [1e3, "s"], [1, "ms"]];
  let text = "";
  for (const [size, name] of units) {
    const count = Math.floor(ms / size);
    if (count) text += count + name;
    ms -= count * size;
  }
  return text || "0s";
}

/** Read a duration such as 15m or 1h30m; null: it is none. */
export function parseDuration(text) {
  const sizes = { ms: 1, s: 1e3, m: 60e3, h: 3600e3, d: 86400e3, w: 604800e3, y: 31536e6 };
  if (!/^(?:\d+(?:ms|[smhdwy]))+$/.test(text)) return null;
  let total = 0;
  for (const [, count, name] of text.matchAll(/(\d+)(ms|[smhdwy])/g)) total += Number(count) * sizes[name];
  return total || null;
}

/** Give an instant in the browser's time zone: 14:05:09, with its day where that is another than today's. */
export function instant(ms, { day = null, fraction = false } = {}) {
  const date = new Date(ms);
  const clock = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}` + (fraction ? `.${pad(date.getMilliseconds(), 3)}` : "");
  const withDay = day ?? date.toDateString() !== new Date().toDateString();
  return withDay ? `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${clock}` : clock;
}

/** Give an instant's age: 3 min ago. */
export function ago(ms, nowMs) {
  const age = nowMs - ms;
  if (age < 2000) return "now";
  const parts = duration(age < 60e3 ? age : Math.floor(age / 60e3) * 60e3).split(" ");
  return `${parts.slice(0, age < 86400e3 ? 4 : 2).join(" ")} ago`;
}

/** Give a size in bytes: 23.3 MiB. */
export const size = (bytes) => value(bytes, "bytes");

/** Give a count with its noun: 1 series, 3 lives. */
export const counted = (count, one, many) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/**
 * Give the shortest texts that tell the label sets of a chart's lines apart: what all have is left out, and a label
 * that alone differs goes without its name.
 */
export function shortLabels(sets) {
  const names = [...new Set(sets.flatMap((labels) => Object.keys(labels)))].filter((name) => name !== "__name__");
  const differing = names.filter((name) => sets.some((labels) => labels[name] !== sets[0][name]));
  if (differing.length === 1) return withoutPrefix(sets.map((labels) => labels[differing[0]] || `no ${differing[0]}`));
  return sets.map((labels) => labelText(Object.fromEntries(Object.entries(labels).filter(([name]) => differing.includes(name)))));
}

const LONG_PREFIX = 8;

/** Leave out what long texts begin with alike, up to the end of a word: a narrow legend would show nothing else. */
function withoutPrefix(texts) {
  let length = 0;
  while (length < texts[0].length && texts.every((each) => each[length] === texts[0][length])) length += 1;
  while (length && /[\p{L}\p{N}]/u.test(texts[0][length - 1])) length -= 1;
  return length < LONG_PREFIX ? texts : texts.map((each) => `…${each.slice(length)}`);
}

/** Give labels as PromQL writes them, without the name and those left out. */
export function labelText(labels, leftOut = []) {
  const pairs = Object.entries(labels).filter(([name]) => name !== "__name__" && !leftOut.includes(name));
  return pairs.map(([name, text]) => `${name}=${JSON.stringify(text)}`).join(", ");
}
