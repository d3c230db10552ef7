// Histograms, scatter plots and lines by uPlot; parallel coordinates on a canvas.

import uPlot from "./vendor/uPlot.esm.js";
import { cell, h, save } from "./dom.js";
import { drawAxes, element, SvgDrawing } from "./svg.js";

const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a7f00", "#7a7a7a"];
const STATES = { succeeded: "#2b9a66", failed: "#d23b30", crashed: "#9c1f6e", timeout: "#c07a00", cancelled: "#7a7f87", pending: "#a9b0b8" };
const SCALE = [[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81], [253, 231, 37]];
const OTHER = "#8b929a";

const variables = new Map();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => variables.clear());

export function css(name) {
  // a variable of the page's style; kept, as each look at it makes the browser work out all styles
  if (!variables.has(name)) variables.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return variables.get(name);
}

export const groupColor = (label, i) => STATES[label] ?? PALETTE[i % PALETTE.length];

export function scaleColor(part) {
  const at = Math.min(Math.max(part, 0), 1) * (SCALE.length - 1);
  const i = Math.min(Math.floor(at), SCALE.length - 2);
  const mixed = SCALE[i].map((low, c) => Math.round(low + (SCALE[i + 1][c] - low) * (at - i)));
  return `rgb(${mixed.join(",")})`;
}

export function colorsOf(told, column) {
  // the color of each point, and a legend
  if (!told.color) return { of: () => css("--accent"), legend: null };
  if (told.groups) {
    const names = [...told.groups, "no value"];
    return { of: (i) => (told.color[i] < told.groups.length ? groupColor(told.groups[told.color[i]], told.color[i]) : OTHER), legend: told.groups.map((label, i) => [label, groupColor(label, i)]), names };
  }
  const span = column.high - column.low || 1;
  return { of: (i) => (told.color[i] === null ? OTHER : scaleColor((told.color[i] - column.low) / span)),
    legend: [0, 0.25, 0.5, 0.75, 1].map((part) => [valueText(column, column.low + part * span), scaleColor(part)]) };
}

export const valueText = (column, value) => (column.kind === "time" ? new Date(value).toISOString().slice(0, 19).replace("T", " ") : cell(Number(value?.toPrecision?.(4) ?? value)));
export const title = (column) => (column.unit ? `${column.label} [${column.unit}]` : column.label);

function axes(x, y) {
  const base = { stroke: css("--soft"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
  const labelled = (column) => !column ? {} : column.kind === "category"
    ? { splits: (u, i, low, high) => column.values.map((_, k) => k).filter((k) => k >= low && k <= high).filter((_, k, all) => all.length <= 12 || k % Math.ceil(all.length / 12) === 0), values: (u, splits) => splits.map((k) => String(column.values[k] ?? "").slice(0, 14)) }
    : column.kind === "log" ? { splits: (u, i, low, high) => powers(low, high), values: (u, splits) => splits.map((power) => cell(Number((10 ** power).toPrecision(3)))) }
    : column.kind === "degrees" ? { values: (u, splits) => splits.map((value) => degrees(value, column.signs)) }
    : column.kind === "time" ? { values: (u, splits) => splits.map((ms) => new Date(ms).toISOString().slice(11, 19)) }
      : { values: (u, splits) => splits.map((value) => cell(Number(value.toPrecision(6)))) };
  return [{ ...base, size: 34, ...labelled(x) }, { ...base, size: 56, ...labelled(y) }];
}

function powers(low, high) {
  // where a logarithmic axis has its marks: at 1, 2 and 5, or at powers of ten
  const marks = [];
  for (let power = Math.floor(low); power <= Math.ceil(high); power += 1) {
    for (const factor of high - low > 2.5 ? [1] : [1, 2, 5]) marks.push(power + Math.log10(factor));
  }
  const shown = marks.filter((mark) => mark >= low - 1e-9 && mark <= high + 1e-9);
  return shown.length > 1 ? shown.filter((_, i) => i % Math.ceil(shown.length / 8) === 0) : [0.15, 0.5, 0.85].map((part) => low + part * (high - low));
}

function degrees(value, [plus, minus]) {
  const rounded = Number(value.toFixed(4));
  return `${Math.abs(rounded)}°${rounded > 0 ? plus : rounded < 0 ? minus : ""}`;
}

export class Figure {
  constructor(name, height) {
    this.height = height;
    this.tools = h("span", { class: "tools" });
    this.name = h("span", { class: "name" }, name);
    this.place = h("div");
    this.element = h("figure", {}, h("figcaption", {}, this.name, this.tools), this.place);
    this.plot = null;
    this.offered = 0;
    // told by the browser when it has laid out the page: to ask for it makes it lay out all anew
    this.observer = new ResizeObserver(([entry]) => { this.offered = Math.round(entry.contentRect.width); });
    this.observer.observe(this.place);
  }

  width() {
    this.offered ||= this.place.clientWidth || this.element.clientWidth - 18;
    return Math.max(this.offered, 180);
  }

  drawing() {
    const drawing = new SvgDrawing(this.width(), this.height, this.name.textContent);
    drawing.fillStyle = css("--panel");
    drawing.fillRect(0, 0, this.width(), this.height);
    return drawing;
  }

  svg() {
    const drawing = this.drawing();
    this.trace(drawing, drawAxes(this.plot, drawing, { line: css("--line"), soft: css("--soft") }));
    return drawing.blob();
  }

  saving(name, rows, ...more) {
    this.rows = rows;
    const saved = [name, ...more.map((each) => each.getAttribute("aria-pressed"))].join();
    if (saved === this.saved) return;
    this.saved = saved;
    const vector = h("button", { type: "button", "aria-label": `Save ${name} as SVG`, onclick: () => save(this.svg(), `${name}.svg`) }, "SVG");
    const png = h("button", { type: "button", "aria-label": `Save ${name} as PNG`, onclick: () => {
      const canvas = this.place.querySelector("canvas");
      const copy = document.createElement("canvas");
      [copy.width, copy.height] = [canvas.width, canvas.height];
      const drawing = copy.getContext("2d");
      drawing.fillStyle = css("--panel");
      drawing.fillRect(0, 0, copy.width, copy.height);
      drawing.drawImage(canvas, 0, 0);
      copy.toBlob((blob) => save(blob, `${name}.png`));
    } }, "PNG");
    const data = h("button", { type: "button", "aria-label": `Save ${name} as CSV`, onclick: async () => {
      const { csv } = await import("./pages.js");
      const [names, ...rest] = this.rows();
      save(new Blob([csv(names, rest)], { type: "text/csv" }), `${name}.csv`);
    } }, "CSV");
    this.tools.replaceChildren(...more, png, vector, data);
  }

  // columns as they are now: those of a live run grow

  know() {}

  describe(text) {
    for (const canvas of this.place.querySelectorAll("canvas")) {
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", text);
    }
  }

  destroy() {
    this.plot?.destroy?.();
    this.plot = null;
  }
}

// the plot without its axes; asked of the page, it would be laid out anew
const sizeOf = (u) => [u.bbox.width / devicePixelRatio, u.bbox.height / devicePixelRatio];

function brushOf(u) {
  const { left, top, width, height } = u.select;
  return { x: width > 2 ? [u.posToVal(left, "x"), u.posToVal(left + width, "x")] : null, y: height > 2 ? [u.posToVal(top + height, "y"), u.posToVal(top, "y")] : null };
}

export class Histogram extends Figure {
  constructor(column, onbrush, onlog) {
    super(title(column), 150);
    this.column = column;
    this.onbrush = onbrush;
    this.onlog = onlog;
    this.shape = "";
  }

  know(columns) { this.column = columns.get(this.column.name) ?? this.column; }

  // a logarithmic histogram is drawn over the powers of ten

  to(value) { return this.told.log ? Math.log10(value) : value; }

  from(value) { return this.told.log ? 10 ** value : value; }

  edges() { return this.told.edges.map((edge) => this.to(edge)); }

  draw(told, filter, overlaid = null) {
    // overlaid: an outline for each group, over each other; with sizes of groups, as shares of them
    this.told = told;
    this.filter = filter;
    if (overlaid && told.groups) return this.drawOutlines(told, filter, overlaid);
    const n = told.all.length;
    const edges = this.edges();
    const xs = told.labels.length ? told.all.map((_, i) => i) : told.all.map((_, i) => (edges[i] + edges[i + 1]) / 2);
    const stacked = told.groups ? told.groups.length + (told.grouped.at(-1).some((v) => v) ? 1 : 0) : 0;
    const sums = [];
    for (let g = 0; g < stacked; g += 1) sums.push(told.grouped[g].map((v, i) => v + (g ? sums[g - 1][i] : 0)));
    const data = [xs, told.all, ...(stacked ? sums.reverse() : [told.chosen])];
    const shape = JSON.stringify([n, told.log, told.edges[0], told.edges[n], told.labels, told.groups, stacked, this.width(), css("--page")]);
    if (shape !== this.shape) {
      this.destroy();
      this.shape = shape;
      this.make(data, n, stacked);
    } else {
      this.plot.setData(data);
    }
    this.after(told, filter);
  }

  after(told, filter) {
    if (this.plot.status === 1) this.mark(filter);
    const chosen = told.chosen.reduce((a, b) => a + b, 0);
    this.describe(`Histogram of ${this.column.label}: ${chosen} of ${told.all.reduce((a, b) => a + b, 0)} cases with a value are chosen`);
    this.saving(this.column.label.replace(/[^\w.-]/g, "_"), () => [["bin", "all", "chosen", ...(told.groups ?? [])], ...told.all.map((v, i) => [told.labels.length ? told.labels[i] : `${told.edges[i]} to ${told.edges[i + 1]}`, v, told.chosen[i], ...(told.groups ?? []).map((_, g) => told.grouped[g][i])])], ...this.logButton());
  }

  logButton() {
    const { column, told } = this;
    if (!this.onlog || column.kind !== "number" || !(column.high > 0)) return [];
    return [h("button", { type: "button", "aria-pressed": String(Boolean(told.log)), "aria-label": `Log scale of ${column.label}`, onclick: () => this.onlog(!told.log) }, "log")];
  }

  trace(drawing, frame) {
    const { plot: u, told } = this;
    const n = told.all.length;
    const edges = told.labels.length ? Array.from({ length: n + 1 }, (_, i) => i - 0.5) : this.edges();
    const isOutline = u.data[0].length === n + 1 && u.data[0][0] === edges[0];
    for (let s = 1; s < u.series.length; s += 1) {
      const colorOf = (what) => (typeof what === "function" ? what(u, s) : what);
      if (isOutline) {
        drawing.strokeStyle = colorOf(u.series[s].stroke);
        drawing.lineWidth = 2;
        drawing.beginPath();
        for (let i = 0; i < n; i += 1) {
          const y = frame.y(u.data[s][i]);
          if (i) drawing.lineTo(frame.x(edges[i]), y);
          else drawing.moveTo(frame.x(edges[i]), y);
          drawing.lineTo(frame.x(edges[i + 1]), y);
        }
        drawing.stroke();
      } else {
        drawing.fillStyle = colorOf(u.series[s].fill);
        for (let i = 0; i < n; i += 1) {
          const [left, right, y] = [frame.x(edges[i]), frame.x(edges[i + 1]), frame.y(u.data[s][i])];
          if (u.data[s][i]) drawing.fillRect(left + (right - left) * 0.03, y, (right - left) * 0.94, frame.top + frame.height - y);
        }
      }
    }
  }

  drawOutlines(told, filter, sizes) {
    const n = told.all.length;
    const edges = told.labels.length ? Array.from({ length: n + 1 }, (_, i) => i - 0.5) : this.edges();
    const data = [edges, ...told.groups.map((group, g) => {
      const size = sizes[group];
      const heights = told.grouped[g].map((v) => (size ? v / size : v));
      return [...heights, heights.at(-1)];
    })];
    const shape = JSON.stringify(["outlines", told.log, edges, told.labels, told.groups, this.width(), css("--page"), Object.keys(sizes).length]);
    if (shape !== this.shape) {
      this.destroy();
      this.shape = shape;
      const paths = uPlot.paths.stepped({ align: 1 });
      this.plotted([edges[0], edges[n]], told.groups.map((group, g) => {
        const color = groupColor(group, g);
        return { stroke: color, fill: `${color}26`, width: 2, paths, points: { show: false } };
      }), data);
    } else this.plot.setData(data);
    this.after(told, filter);
  }

  make(data, n, stacked) {
    const { told } = this;
    const bars = uPlot.paths.bars({ size: [n > 1 ? 0.94 : 0.5, 1000], gap: 0 });
    const filled = (color) => ({ stroke: color, fill: color, width: 0, paths: bars, points: { show: false } });
    const half = told.labels.length ? 0.5 : 0;
    const [low, high] = told.labels.length ? [-half, n - half] : [this.to(told.edges[0]), this.to(told.edges[n])];
    const front = stacked ? data.slice(2).map((_, i) => { const g = stacked - 1 - i; return filled(g < told.groups.length ? groupColor(told.groups[g], g) : OTHER); }) : [filled(css("--accent"))];
    this.plotted([low, high], [filled(css("--behind")), ...front], data);
  }

  plotted(ends, series, data) {
    const { told, column } = this;
    this.plot = new uPlot({
      width: this.width(), height: this.height, legend: { show: false }, padding: [6, 10, 0, 0],
      scales: { x: { time: false, range: () => ends }, y: { range: (u, min, max) => [0, (max || 1) * 1.06] } },
      axes: axes(told.labels.length ? { kind: "category", values: told.labels } : told.log ? { kind: "log" } : column, null),
      cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false } },
      series: [{}, ...series],
      hooks: { ready: [() => this.mark(this.filter)], setSelect: [(u) => this.brushed(brushOf(u).x)] },
    }, data, this.place);
    this.plot.over.addEventListener("dblclick", () => this.onbrush(null));
  }

  brushed(ends) {
    if (!ends) return this.onbrush(null);
    if (!this.told.labels.length) return this.onbrush(ends.map((end) => this.from(end)));
    const [from, to] = [Math.max(0, Math.round(ends[0])), Math.min(this.told.labels.length - 1, Math.round(ends[1]))];
    const kept = this.told.labels.slice(from, to + 1);
    // "(other)" stands for all categories that have no bar of their own
    const more = kept.at(-1) === "(other)" ? this.column.values.filter((value) => !this.told.labels.includes(value)) : [];
    return this.onbrush(["=", ...kept.filter((value) => value !== "(other)" || this.column.values.includes(value)), ...more]);
  }

  mark(filter) {
    const u = this.plot;
    let ends = null;
    if (filter && filter[0] === "=") {
      const at = this.told.labels.map((label, i) => (filter.includes(label, 1) ? i : -1)).filter((i) => i >= 0);
      if (at.length) ends = [Math.min(...at) - 0.5, Math.max(...at) + 0.5];
    } else if (filter && !this.told.labels.length) {
      const [low, high] = [this.told.edges[0], this.told.edges.at(-1)];
      ends = [filter[0] ?? low, filter[1] ?? high].map((end) => this.to(this.told.log ? Math.max(end, low / 2) : end));
    }
    if (ends) {
      const [width, height] = sizeOf(u);
      const [left, right] = ends.map((value) => Math.min(Math.max(u.valToPos(value, "x"), 0), width));
      u.setSelect({ left, width: Math.max(right - left, 1), top: 0, height }, false);
    } else u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  }
}

export class Scatter extends Figure {
  constructor(x, y, onbrush, onpick) {
    super(`${title(y)} over ${title(x)}`, 340);
    Object.assign(this, { x, y, onbrush, onpick, shape: "", what: "scatter" });
  }

  know(columns) { [this.x, this.y] = [this.x, this.y].map((column) => columns.get(column.name) ?? column); }

  draw(told, colors, filters) {
    this.told = told;
    this.colors = colors;
    this.filters = filters;
    const data = [null, [told.behind[this.x.name], told.behind[this.y.name]], [told.values[this.x.name], told.values[this.y.name]]];
    const shape = JSON.stringify([this.width(), this.x, this.y, css("--page")]);
    if (shape !== this.shape) {
      this.destroy();
      this.shape = shape;
      this.make(data);
    } else this.plot.setData(data);
    if (this.plot.status === 1) this.mark();
    this.describe(`${this.y.label} over ${this.x.label}: ${told.cases.length} of the chosen cases`);
    this.saving(this.what, () => [["case", this.x.label, this.y.label], ...told.cases.map((row, i) => [row, told.values[this.x.name][i], told.values[this.y.name][i]])]);
  }

  mark() {
    const { plot: u, filters } = this;
    const ends = (column) => (filters[column.name] && filters[column.name][0] !== "=" ? filters[column.name] : null);
    const [fx, fy] = [ends(this.x), ends(this.y)];
    if (fx || fy) {
      const within = (value, most) => Math.min(Math.max(value, 0), most);
      const [w, t] = sizeOf(u);
      const left = fx && fx[0] !== null ? within(u.valToPos(fx[0], "x"), w) : 0;
      const right = fx && fx[1] !== null ? within(u.valToPos(fx[1], "x"), w) : w;
      const top = fy && fy[1] !== null ? within(u.valToPos(fy[1], "y"), t) : 0;
      const bottom = fy && fy[0] !== null ? within(u.valToPos(fy[0], "y"), t) : t;
      u.setSelect({ left, width: Math.max(right - left, 1), top, height: Math.max(bottom - top, 1) }, false);
    } else u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  }

  ranges() {
    return [this.x, this.y].map((column) => {
      if (column.kind === "category") return [-0.5, column.values.length - 0.5];
      const [low, high] = [column.low ?? 0, column.high ?? 1];
      const room = (high - low) * 0.03 || Math.abs(low) * 0.05 || 1;
      return [low - room, high + room];
    });
  }

  axes() { return axes(this.x, this.y); }

  trace(drawing, frame) {
    const within = (value, from, size) => value >= from && value <= from + size;
    for (const [series, size, color] of [[1, 2.5, () => css("--behind")], [2, 4, (i) => this.colors.of(i)]]) {
      const [xs, ys] = this.plot.data[series];
      xs.forEach((x, i) => {
        if (x === null || ys[i] === null) return;
        const [left, top] = [frame.x(x), frame.y(ys[i])];
        drawing.fillStyle = color(i);
        if (within(left, frame.left, frame.width) && within(top, frame.top, frame.height)) drawing.fillRect(left - size / 2, top - size / 2, size, size);
      });
    }
  }

  make(data) {
    const [across, up] = this.ranges();
    const points = (color, size) => (u, series) => {
      const [xs, ys] = u.data[series];
      const draw = u.ctx;
      const r = size * devicePixelRatio;
      draw.save();
      draw.beginPath();
      draw.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
      draw.clip();
      for (let i = 0; i < xs.length; i += 1) {
        if (xs[i] === null || ys[i] === null) continue;
        draw.fillStyle = color(i);
        draw.fillRect(u.valToPos(xs[i], "x", true) - r / 2, u.valToPos(ys[i], "y", true) - r / 2, r, r);
      }
      draw.restore();
      return null;
    };
    const behind = css("--behind");
    this.plot = new uPlot({
      mode: 2, width: this.width(), height: this.height, legend: { show: false }, padding: [6, 10, 0, 0],
      scales: { x: { time: false, range: () => across }, y: { range: () => up } },
      axes: this.axes(),
      cursor: { points: { show: false }, drag: { x: true, y: true, setScale: false } },
      series: [{}, { paths: points(() => behind, 2.5) }, { paths: points((i) => this.colors.of(i), 4) }],
      hooks: { ready: [() => this.mark()], setSelect: [(u) => this.brushed(u)] },
    }, data, this.place);
    this.plot.over.addEventListener("dblclick", () => this.onbrush({ [this.x.name]: null, [this.y.name]: null }));
    this.plot.over.addEventListener("click", () => this.picked());
  }

  brushed(u) {
    const { x, y } = brushOf(u);
    if (!x && !y) return;
    const told = {};
    for (const [column, ends] of [[this.x, x], [this.y, y]]) {
      if (!ends) continue;
      told[column.name] = column.kind === "category" ? ["=", ...column.values.filter((_, i) => i >= ends[0] - 0.3 && i <= ends[1] + 0.3)] : ends;
    }
    this.onbrush(told);
  }

  picked() {
    const u = this.plot;
    const { left, top } = u.cursor;
    if (u.select.width > 2 || left < 0) return;
    let [best, nearest] = [100, -1];
    this.told.cases.forEach((_, i) => {
      const [x, y] = [this.told.values[this.x.name][i], this.told.values[this.y.name][i]];
      if (x === null || y === null) return;
      const d = (u.valToPos(x, "x") - left) ** 2 + (u.valToPos(y, "y") - top) ** 2;
      if (d < best) [best, nearest] = [d, i];
    });
    if (nearest >= 0) this.onpick(nearest);
  }
}

export class GeoMap extends Scatter {
  // points on a graticule, equirectangular: a degree of longitude is as long as it is at the middle of the points
  constructor(longitude, latitude, onbrush, onpick) {
    super(longitude, latitude, onbrush, onpick);
    this.name.textContent = `Map: ${latitude.label} and ${longitude.label}`;
    this.what = "map";
  }

  ranges() {
    const [plotted, high] = [this.width() - 66, this.height - 40];
    const middle = (column) => ((column.low ?? 0) + (column.high ?? 0)) / 2;
    const span = (column) => Math.max((column.high ?? 0) - (column.low ?? 0), 0.02) * 1.08;
    const narrow = Math.max(Math.cos((middle(this.y) * Math.PI) / 180), 0.05);
    const pixels = Math.min(plotted / (span(this.x) * narrow), high / span(this.y));
    return [[this.x, plotted / pixels / narrow], [this.y, high / pixels]].map(([column, size]) => [middle(column) - size / 2, middle(column) + size / 2]);
  }

  axes() { return axes({ kind: "degrees", signs: ["E", "W"] }, { kind: "degrees", signs: ["N", "S"] }); }
}

const LONGITUDES = ["lon", "lng", "long", "longitude"];
const LATITUDES = ["lat", "latitude"];

export function placesOf(columns) {
  // the first two columns that are called so, in one model, and have degrees
  const named = (column, names) => names.includes(column.label.split(/[._ ]/).at(-1).toLowerCase());
  const inside = (column, most) => column.kind === "number" && column.low >= -most && column.high <= most;
  for (const x of columns.filter((column) => named(column, LONGITUDES) && (inside(column, 180) || (column.low >= 0 && inside(column, 360))))) {
    const above = x.label.replace(/[^._ ]+$/, "");
    const y = columns.find((column) => named(column, LATITUDES) && column.label.replace(/[^._ ]+$/, "") === above && inside(column, 90));
    if (y) return [x, y];
  }
  return null;
}

export class Parallel extends Figure {
  constructor(columns, onbrush) {
    super("Parallel coordinates", 300);
    this.columns = columns;
    this.onbrush = onbrush;
    this.canvas = h("canvas", { class: "parallel" });
    this.place.append(this.canvas);
    let start = null;
    const at = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      const [x, y] = at(event);
      const i = Math.round(((x - this.left) / (this.right - this.left)) * Math.max(this.columns.length - 1, 1));
      if (i < 0 || i >= this.columns.length) return;
      start = { i, y };
      this.canvas.setPointerCapture(event.pointerId);
    });
    this.canvas.addEventListener("pointerup", (event) => {
      if (!start) return;
      const { i, y } = start;
      const end = at(event)[1];
      start = null;
      const column = this.columns[i];
      if (Math.abs(end - y) < 4) return this.onbrush({ [column.name]: null });
      const part = (pixel) => Math.min(Math.max((this.bottom - pixel) / (this.bottom - this.top), 0), 1);
      const [low, high] = [part(Math.max(y, end)), part(Math.min(y, end))].map((share) => this.value(column, share));
      const told = column.kind === "category" ? ["=", ...column.values.filter((_, k) => k >= low - 0.3 && k <= high + 0.3)] : [low, high];
      if (told.length > 1) this.onbrush({ [column.name]: told });
    });
  }

  know(columns) { this.columns = this.columns.map((column) => columns.get(column.name) ?? column); }

  ends(column) {
    return column.kind === "category" ? [0, Math.max(column.values.length - 1, 1)] : [column.low ?? 0, column.high ?? 1];
  }

  value(column, part) {
    const [low, high] = this.ends(column);
    return low + part * (high - low);
  }

  draw(told, colors, filters) {
    Object.assign(this, { told, colors, filters });
    const width = this.width();
    const ratio = devicePixelRatio || 1;
    const draw = this.canvas.getContext("2d");
    this.canvas.width = width * ratio;
    this.canvas.height = this.height * ratio;
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${this.height}px`;
    draw.scale(ratio, ratio);
    this.paintOn(draw, width);
    this.describe(`Parallel coordinates of ${this.columns.map((column) => column.label).join(", ")}: ${told.cases.length} of the chosen cases`);
    this.saving("parallel", () => [["case", ...this.columns.map((column) => column.label)], ...told.cases.map((row, i) => [row, ...this.columns.map((column) => told.values[column.name][i])])]);
  }

  svg() {
    const drawing = this.drawing();
    this.paintOn(drawing, this.width());
    return drawing.blob();
  }

  paintOn(draw, width) {
    const { told, colors, filters } = this;
    Object.assign(this, { left: 45, right: width - 45, top: 34, bottom: this.height - 24 });
    const step = (this.right - this.left) / Math.max(this.columns.length - 1, 1);
    const y = (column, value) => {
      const [low, high] = this.ends(column);
      return this.bottom - ((value - low) / (high - low || 1)) * (this.bottom - this.top);
    };
    const paths = (values, color, alpha) => {
      draw.globalAlpha = alpha;
      const n = values[this.columns[0].name].length;
      for (let k = 0; k < n; k += 1) {
        draw.strokeStyle = color(k);
        draw.beginPath();
        let isOn = false;
        this.columns.forEach((column, i) => {
          const value = values[column.name][k];
          if (value === null) isOn = false;
          else if (isOn) draw.lineTo(this.left + i * step, y(column, value));
          else { draw.moveTo(this.left + i * step, y(column, value)); isOn = true; }
        });
        draw.stroke();
      }
      draw.globalAlpha = 1;
    };
    draw.lineWidth = 1;
    const behind = css("--behind");
    paths(told.behind, () => behind, 0.5);
    paths(told.values, colors.of, Math.min(0.75, 0.12 + 60 / Math.max(told.cases.length, 1)));
    draw.font = "12px system-ui, sans-serif";
    draw.textAlign = "center";
    this.columns.forEach((column, i) => {
      const x = this.left + i * step;
      draw.strokeStyle = draw.fillStyle = css("--text");
      draw.beginPath();
      draw.moveTo(x, this.top);
      draw.lineTo(x, this.bottom);
      draw.stroke();
      const most = Math.max(Math.floor(step / 7.5), 3);
      const name = column.label.length > most ? `${column.label.slice(0, most - 1)}…` : column.label;
      const [edge, at] = i === this.columns.length - 1 ? ["right", width - 2] : i === 0 ? ["left", 2] : ["center", x];
      draw.textAlign = edge;
      draw.fillText(name, at, 12);
      draw.textAlign = "center";
      draw.fillStyle = css("--soft");
      const [low, high] = this.ends(column);
      const shown = (value) => (column.kind === "category" ? String(column.values[value] ?? "") : valueText(column, value)).slice(0, most);
      draw.fillText(shown(high), x, this.top - 7);
      draw.fillText(shown(low), x, this.bottom + 15);
      const filter = filters[column.name];
      if (filter) {
        const at = filter[0] === "=" ? column.values.map((value, k) => (filter.includes(value, 1) ? k : -1)).filter((k) => k >= 0) : [filter[0] ?? low, filter[1] ?? high];
        if (at.length) {
          const [from, to] = [y(column, Math.max(...at)) - 2, y(column, Math.min(...at)) + 2];
          draw.fillStyle = css("--accent");
          draw.globalAlpha = 0.45;
          draw.fillRect(x - 6, from, 12, Math.max(to - from, 4));
          draw.globalAlpha = 1;
        }
      }
    });
  }
}

export function legendOf(pairs) {
  // what each color stands for
  return h("ul", { class: "legend", "aria-label": "Colors" }, pairs.map(([label, color]) => {
    const swatch = element("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" });
    swatch.append(element("rect", { width: 10, height: 10, fill: color }));
    return h("li", {}, swatch, label);
  }));
}

export class Lines extends Figure {
  // curves over one number: [label, values] each
  constructor(name, xName, xs, curves, { log = false, level = null, height = 180, file = name } = {}) {
    super(name, height);
    Object.assign(this, { xName, curves, log, level });
    const order = xs.map((x, i) => [x, i]).filter(([x]) => typeof x === "number").sort((a, b) => a[0] - b[0]);
    const shown = (value) => (typeof value !== "number" || (log && value <= 0) ? null : log ? Math.log10(value) : value);
    this.data = [order.map(([x]) => x), ...curves.map(([, ys]) => order.map(([, i]) => shown(ys[i])))];
    this.rows = () => [[xName, ...curves.map(([label]) => label)], ...order.map(([x, i]) => [x, ...curves.map(([, ys]) => ys[i])])];
    this.file = file.replace(/[^\w.-]/g, "_");
    if (curves.length > 1) this.element.append(legendOf(curves.map(([label], i) => [label, this.color(i)])));
    requestAnimationFrame(() => this.element.isConnected && this.draw());
  }

  color(i) { return this.curves.length > 1 ? PALETTE[i % PALETTE.length] : css("--accent"); }

  draw() {
    const level = this.level === null ? null : this.log ? Math.log10(this.level) : this.level;
    this.at = level;
    this.plot = new uPlot({ width: this.width(), height: this.height, legend: { show: false }, padding: [6, 10, 0, 0],
      scales: { x: { time: false }, y: { range: (u, low, high) => this.range(low, high, level) } },
      axes: axes({}, this.log ? { kind: "log" } : {}),
      series: [{}, ...this.curves.map((_, i) => ({ stroke: this.color(i), width: 1.5, spanGaps: false, points: { show: this.data[0].length < 40 } }))],
      cursor: { drag: { x: true, y: false } },
      hooks: { drawAxes: [(u) => this.drawLevel(u)] } }, this.data, this.place);
    this.describe(`${this.name.textContent}: ${this.curves.map(([label]) => label).join(", ")}`);
    this.saving(this.file, this.rows);
  }

  range(low, high, level) {
    const ends = [low, high, level].filter((end) => end !== null && Number.isFinite(end));
    const [from, to] = ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1];
    const room = (to - from) * 0.08 || Math.abs(from) * 0.05 || 0.5;
    return [from - room, to + room];
  }

  drawLevel(u) {
    if (this.at === null) return;
    const y = u.valToPos(this.at, "y", true);
    u.ctx.save();
    u.ctx.strokeStyle = css("--good");
    u.ctx.lineWidth = 2 * devicePixelRatio;
    u.ctx.setLineDash([6, 4].map((length) => length * devicePixelRatio));
    u.ctx.beginPath();
    u.ctx.moveTo(u.bbox.left, y);
    u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
    u.ctx.stroke();
    u.ctx.restore();
  }

  trace(drawing, frame) {
    const curve = (xs, ys, color, width) => {
      drawing.strokeStyle = color;
      drawing.lineWidth = width;
      drawing.beginPath();
      let isOn = false;
      ys.forEach((y, i) => {
        if (y === null) isOn = false;
        else if (isOn) drawing.lineTo(frame.x(xs[i]), frame.y(y));
        else { drawing.moveTo(frame.x(xs[i]), frame.y(y)); isOn = true; }
      });
      drawing.stroke();
    };
    const { min, max } = this.plot.scales.x;
    if (this.at !== null) curve([min, max], [this.at, this.at], css("--good"), 2);
    this.curves.forEach((_, i) => curve(this.data[0], this.data[i + 1], this.color(i), 1.5));
  }
}

export const lines = (name, xs, ys, xName) => new Lines(`${name} over ${xName}`, xName, xs, [[name, ys]], { file: name }).element;
