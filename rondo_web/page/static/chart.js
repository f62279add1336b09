// A chart: uPlot with gaps, bands, runs and marks drawn in, zoomed by dragging, with cursors that move in step.

import { duration, instant, value } from "./format.js";
import { zoomByTouch } from "./touch.js";

const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
const COLOURS = 8;
// Lines that are dashed, or wider than a pixel, take a browser ten times as long to paint: those of many points are not.
const FEW_POINTS = 4800;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** The colour of a line, and its dashes once the colours are used up. */
export const colourOf = (index) => css(`--line-${index % COLOURS}`);

/** Which dashes a line has beside its colour, once the colours are used up; 0: none. */
export const dashOf = (index, points) => (points <= FEW_POINTS ? Math.floor(index / COLOURS) % DASHES.length : 0);

/**
 * A chart in an element.
 * `options`: height; unit, perSecond: of the values; sync: key of the charts whose cursors move in step; relative:
 * whether times are seconds from a start; onZoom(from, to), onReset(), onCursor(index or null), overlay(): what lies
 * in time beside the points.
 */
export class Chart {
  #plot = null;
  #shape = "";
  #observer;

  constructor(host, options) {
    this.host = host;
    this.options = options;
    this.#observer = new ResizeObserver(() => this.#fit());
    this.#observer.observe(host);
  }

  /** Draw. `lines`: values, label, role, hidden; `times`: in s; `from`, `to`: what the axis shows, in s. */
  draw({ times, lines, from, to, step }) {
    this.range = [from, to];
    this.step = step;
    this.lines = lines;
    const data = [times, ...lines.map((line) => line.values)];
    const points = lines.length * times.length;
    const shape = JSON.stringify(lines.map((line) => [line.key, line.role, line.colour, points > FEW_POINTS]));
    if (this.#plot && shape === this.#shape) {
      this.#plot.setData(data);
    } else {
      this.destroyPlot();
      this.#shape = shape;
      this.#plot = new uPlot(this.#options(), data, this.host);
      this.#touch(this.#plot);
    }
    lines.forEach((line, index) => {
      if (this.#plot.series[index + 1].show === Boolean(line.hidden)) this.#plot.setSeries(index + 1, { show: !line.hidden });
    });
  }

  /** Show or hide a line. */
  show(index, shown) {
    this.#plot?.setSeries(index + 1, { show: shown });
  }

  /** Make one line stand out; null: none. */
  focus(index) {
    this.#plot?.setSeries(index === null ? null : index + 1, { focus: index !== null });
  }

  /** Draw again what does not come from the points. */
  redraw() {
    this.#plot?.redraw(false);
  }

  /** Move the cursor by so many points, as the arrow keys do; give the index it is at. */
  move(by) {
    const plot = this.#plot;
    if (!plot) return null;
    const last = plot.data[0].length - 1;
    const index = Math.max(0, Math.min(last, (plot.cursor.idx ?? (by < 0 ? last + 1 : -1)) + by));
    plot.setCursor({ left: plot.valToPos(plot.data[0][index], "x"), top: plot.over.clientHeight / 2 }, true, true);
    return index;
  }

  #touch(plot) {
    let shown = null;
    zoomByTouch(plot, {
      preview: (from, to) => {
        shown ??= this.range;
        this.range = from === null ? shown : [from, to];
        if (from === null) shown = null;
        plot.redraw();
      },
      zoom: (from, to) => {
        shown = null;
        this.options.onZoom(from, to);
      },
    });
  }

  destroyPlot() {
    this.#plot?.destroy();
    this.#plot = null;
    this.#shape = "";
  }

  destroy() {
    this.#observer.disconnect();
    this.destroyPlot();
  }

  #fit() {
    const width = this.host.clientWidth;
    if (this.#plot && width && width !== this.#plot.width) this.#plot.setSize({ width, height: this.options.height });
  }

  #options() {
    const { height, unit, perSecond, sync, relative, onZoom, onReset, onCursor } = this.options;
    const quiet = css("--quiet"), rule = css("--rule"), font = `11px ${css("--sans")}`;
    const bands = [];
    this.lines.forEach((line, index) => {
      if (line.role === "high") bands.push({ series: [index + 1, index], fill: css(`--band-${line.colour % COLOURS}`) });
    });
    return {
      width: this.host.clientWidth || 300,
      height,
      padding: [10, 40, 0, 0], // on the right half a time is written, beyond where the points end
      legend: { show: false },
      cursor: {
        sync: { key: sync, setSeries: false, scales: ["x", null], filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } },
        drag: { x: true, y: false, setScale: false },
        points: { size: 7, width: 2 },
        focus: { prox: -1 },
        bind: { dblclick: () => () => onReset() },
      },
      focus: { alpha: 0.25 },
      scales: {
        x: { time: false, range: () => this.range },
        y: { range: (_plot, least, greatest) => verticalRange(least, greatest) },
      },
      axes: [
        { stroke: quiet, font, size: 30, gap: 8, space: 76, grid: { stroke: rule, width: 1 }, ticks: { show: false },
          incrs: INCREMENTS, values: (_plot, splits, _axis, _space, step) => splits.map((each) => timeText(each, step, relative)),
          splits: (plot, _axis, least, greatest, step) => timeSplits(least, greatest, step, relative) },
        { stroke: quiet, font, gap: 6, space: 34, ...(unit === "bytes" ? { incrs: BINARY } : {}),
          size: (_plot, texts) => Math.max(60, 14 + 7 * Math.max(0, ...(texts ?? []).map((each) => each.length))),
          grid: { stroke: rule, width: 1 }, ticks: { show: false },
          values: (_plot, splits) => splits.map((each) => value(each, unit, perSecond)) },
      ],
      series: [{}, ...this.lines.map((line) => this.#series(line))],
      bands,
      hooks: {
        drawClear: [(plot) => drawUnrecorded(plot, this.options.overlay?.() ?? {})],
        draw: [(plot) => drawInstants(plot, this.options.overlay?.() ?? {})],
        setSelect: [(plot) => {
          const { left, width } = plot.select;
          if (width < 4) return;
          const from = plot.posToVal(left, "x"), to = plot.posToVal(left + width, "x");
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          onZoom(from, to);
        }],
        setCursor: [(plot) => onCursor?.(plot.cursor.left < 0 ? null : plot.cursor.idx)],
      },
    };
  }

  #series(line) {
    const edge = line.role !== "line";
    const points = this.lines.length * line.values.length;
    const stroke = edge ? "transparent" : colourOf(line.colour);
    return {
      label: line.key,
      stroke,
      width: edge ? 0 : points > FEW_POINTS ? 1 : line.values.length > 400 ? 1.25 : 1.75,
      dash: DASHES[line.dash ?? dashOf(line.colour, points)],
      show: !line.hidden,
      points: edge ? { show: false } : { size: 4, fill: stroke },
      gaps: (plot, index, _first, _last, gaps) => wideGaps(plot, index, gaps, this.step),
    };
  }
}

/** Leave out the gaps that are only the pace at which a series is recorded: one of a point each ten seconds has none. */
function wideGaps(plot, index, gaps, step) {
  if (!gaps.length) return gaps;
  const values = plot.data[index], apart = [];
  let before = -1;
  for (let at = 0; at < values.length && apart.length < 400; at += 1) {
    if (values[at] === null) continue;
    if (before >= 0) apart.push(at - before);
    before = at;
  }
  if (!apart.length) return gaps;
  const usual = apart.sort((a, b) => a - b)[Math.floor(apart.length / 2)];
  if (usual <= 1) return gaps;
  const perStep = Math.abs(plot.valToPos(plot.data[0][0] + step, "x", true) - plot.valToPos(plot.data[0][0], "x", true));
  return gaps.filter(([from, to]) => Math.abs(to - from) > perStep * usual * 1.6);
}

/** Choose what a vertical axis shows: from nought, unless the values lie far above it. */
function verticalRange(least, greatest) {
  if (least === null || greatest === null || !Number.isFinite(least)) return [0, 1];
  if (least === greatest) return least === 0 ? [0, 1] : least > 0 ? [0, least * 1.25] : [least * 1.25, 0];
  const room = (greatest - least) * 0.08;
  const low = least >= 0 && least < greatest * 0.6 ? 0 : least - room;
  return [low, greatest > 0 || least < 0 && greatest !== 0 ? greatest + room : greatest];
}

const BINARY = Array.from({ length: 60 }, (_, power) => 2 ** power); // as bytes are written
const INCREMENTS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000];

/** Give the times that are written on an axis: round ones in the browser's time zone. */
function timeSplits(least, greatest, step, relative) {
  const shift = relative ? 0 : new Date(least * 1000).getTimezoneOffset() * 60;
  const found = [];
  for (let at = Math.ceil((least - shift) / step) * step + shift; at <= greatest + step * 1e-6; at += step) found.push(Math.round(at * 1000) / 1000);
  return found;
}

function timeText(seconds, step, relative) {
  if (relative && step < 1) return seconds.toFixed(step < 0.01 ? 3 : step < 0.1 ? 2 : 1) + " s";
  if (relative) return seconds === 0 ? "0" : duration(seconds * 1000);
  const text = instant(seconds * 1000, { day: step >= 86400, fraction: step < 1 });
  return step >= 86400 ? text.slice(5, 10) : step >= 60 ? text.slice(0, 5) : text;
}

/** Shade the time in which nobody recorded. */
function drawUnrecorded(plot, { unrecorded = [] }) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const [from, to] of unrecorded) {
    const left = plot.valToPos(Math.max(from, plot.scales.x.min), "x", true), right = plot.valToPos(Math.min(to, plot.scales.x.max), "x", true);
    if (!(right - left > 0.5)) continue;
    ctx.fillStyle = css("--unrecorded");
    ctx.fillRect(left, bbox.top, right - left, bbox.height);
    ctx.beginPath();
    ctx.rect(left, bbox.top, right - left, bbox.height);
    ctx.save();
    ctx.clip();
    ctx.strokeStyle = css("--hatch");
    ctx.lineWidth = devicePixelRatio;
    ctx.beginPath();
    const gap = 9 * devicePixelRatio;
    for (let x = left - bbox.height - (left % gap); x < right; x += gap) {
      ctx.moveTo(x, bbox.top + bbox.height);
      ctx.lineTo(x + bbox.height, bbox.top);
    }
    ctx.stroke();
    ctx.restore();
  }
  ctx.restore();
}

/** Draw a line at each instant that is worth one: starts, ends, marks. */
function drawInstants(plot, { instants = [] }) {
  const { ctx, bbox } = plot, ratio = devicePixelRatio;
  ctx.save();
  for (const { at, colour, dashed } of instants) {
    if (at < plot.scales.x.min || at > plot.scales.x.max) continue;
    const x = Math.round(plot.valToPos(at, "x", true)) + 0.5;
    ctx.strokeStyle = ctx.fillStyle = css(colour);
    ctx.lineWidth = ratio * (dashed ? 1 : 1.5);
    ctx.setLineDash(dashed ? [3 * ratio, 3 * ratio] : []);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.beginPath();
    ctx.moveTo(x - 4 * ratio, bbox.top - 5 * ratio);
    ctx.lineTo(x + 4 * ratio, bbox.top - 5 * ratio);
    ctx.lineTo(x, bbox.top + ratio);
    ctx.fill();
  }
  ctx.restore();
}
