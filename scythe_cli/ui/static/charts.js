// Histograms, scatter plots and lines by uPlot; parallel coordinates on a canvas.

import uPlot from "./vendor/uPlot.esm.js";
import { cell, h, save } from "./dom.js";

const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a7f00", "#7a7a7a"];
const STATES = { succeeded: "#2b9a66", failed: "#d23b30", crashed: "#9c1f6e", timeout: "#c07a00", cancelled: "#7a7f87", pending: "#a9b0b8" };
const SCALE = [[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81], [253, 231, 37]];
const OTHER = "#8b929a";

export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
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
    : column.kind === "time" ? { values: (u, splits) => splits.map((ms) => new Date(ms).toISOString().slice(11, 19)) }
      : { values: (u, splits) => splits.map((value) => cell(Number(value.toPrecision(6)))) };
  return [{ ...base, size: 34, ...labelled(x) }, { ...base, size: 56, ...labelled(y) }];
}

export class Figure {
  constructor(name, height) {
    this.height = height;
    this.tools = h("span", { class: "tools" });
    this.name = h("span", { class: "name" }, name);
    this.place = h("div");
    this.element = h("figure", {}, h("figcaption", {}, this.name, this.tools), this.place);
    this.plot = null;
  }

  width() {
    return Math.max(this.place.clientWidth || this.element.clientWidth - 18, 180);
  }

  saving(name, rows) {
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
      const [names, ...rest] = rows();
      save(new Blob([csv(names, rest)], { type: "text/csv" }), `${name}.csv`);
    } }, "CSV");
    this.tools.replaceChildren(png, data);
  }

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

function brushOf(u) {
  const { left, top, width, height } = u.select;
  return { x: width > 2 ? [u.posToVal(left, "x"), u.posToVal(left + width, "x")] : null, y: height > 2 ? [u.posToVal(top + height, "y"), u.posToVal(top, "y")] : null };
}

export class Histogram extends Figure {
  constructor(column, onbrush) {
    super(title(column), 150);
    this.column = column;
    this.onbrush = onbrush;
    this.shape = "";
  }

  draw(told, filter, overlaid = null) {
    // overlaid: an outline for each group, over each other; with sizes of groups, as shares of them
    this.told = told;
    this.filter = filter;
    if (overlaid && told.groups) return this.drawOutlines(told, filter, overlaid);
    const n = told.all.length;
    const xs = told.labels.length ? told.all.map((_, i) => i) : told.all.map((_, i) => (told.edges[i] + told.edges[i + 1]) / 2);
    const stacked = told.groups ? told.groups.length + (told.grouped.at(-1).some((v) => v) ? 1 : 0) : 0;
    const sums = [];
    for (let g = 0; g < stacked; g += 1) sums.push(told.grouped[g].map((v, i) => v + (g ? sums[g - 1][i] : 0)));
    const data = [xs, told.all, ...(stacked ? sums.reverse() : [told.chosen])];
    const shape = JSON.stringify([n, told.edges[0], told.edges[n], told.labels, told.groups, stacked, this.width(), css("--page")]);
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
    this.saving(this.column.label.replace(/[^\w.-]/g, "_"), () => [["bin", "all", "chosen", ...(told.groups ?? [])], ...told.all.map((v, i) => [told.labels.length ? told.labels[i] : `${told.edges[i]} to ${told.edges[i + 1]}`, v, told.chosen[i], ...(told.groups ?? []).map((_, g) => told.grouped[g][i])])]);
  }

  drawOutlines(told, filter, sizes) {
    const n = told.all.length;
    const edges = told.labels.length ? Array.from({ length: n + 1 }, (_, i) => i - 0.5) : told.edges;
    const data = [edges, ...told.groups.map((group, g) => {
      const size = sizes[group];
      const heights = told.grouped[g].map((v) => (size ? v / size : v));
      return [...heights, heights.at(-1)];
    })];
    const shape = JSON.stringify(["outlines", edges, told.labels, told.groups, this.width(), css("--page"), Object.keys(sizes).length]);
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
    const [low, high] = told.labels.length ? [-half, n - half] : [told.edges[0], told.edges[n]];
    const front = stacked ? data.slice(2).map((_, i) => { const g = stacked - 1 - i; return filled(g < told.groups.length ? groupColor(told.groups[g], g) : OTHER); }) : [filled(css("--accent"))];
    this.plotted([low, high], [filled(css("--behind")), ...front], data);
  }

  plotted(ends, series, data) {
    const { told, column } = this;
    this.plot = new uPlot({
      width: this.width(), height: this.height, legend: { show: false }, padding: [6, 10, 0, 0],
      scales: { x: { time: false, range: () => ends }, y: { range: (u, min, max) => [0, (max || 1) * 1.06] } },
      axes: axes(told.labels.length ? { kind: "category", values: told.labels } : column, null),
      cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false } },
      series: [{}, ...series],
      hooks: { ready: [() => this.mark(this.filter)], setSelect: [(u) => this.brushed(brushOf(u).x)] },
    }, data, this.place);
    this.plot.over.addEventListener("dblclick", () => this.onbrush(null));
  }

  brushed(ends) {
    if (!ends) return this.onbrush(null);
    if (!this.told.labels.length) return this.onbrush(ends);
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
      ends = [filter[0] ?? this.told.edges[0], filter[1] ?? this.told.edges.at(-1)];
    }
    if (ends) {
      const [left, right] = ends.map((value) => Math.min(Math.max(u.valToPos(value, "x"), 0), u.over.clientWidth));
      u.setSelect({ left, width: Math.max(right - left, 1), top: 0, height: u.over.clientHeight }, false);
    } else u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  }
}

export class Scatter extends Figure {
  constructor(x, y, onbrush, onpick) {
    super(`${title(y)} over ${title(x)}`, 340);
    Object.assign(this, { x, y, onbrush, onpick, shape: "" });
  }

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
    this.saving("scatter", () => [["case", this.x.label, this.y.label], ...told.cases.map((row, i) => [row, told.values[this.x.name][i], told.values[this.y.name][i]])]);
  }

  mark() {
    const { plot: u, filters } = this;
    const ends = (column) => (filters[column.name] && filters[column.name][0] !== "=" ? filters[column.name] : null);
    const [fx, fy] = [ends(this.x), ends(this.y)];
    if (fx || fy) {
      const within = (value, most) => Math.min(Math.max(value, 0), most);
      const [w, t] = [u.over.clientWidth, u.over.clientHeight];
      const left = fx && fx[0] !== null ? within(u.valToPos(fx[0], "x"), w) : 0;
      const right = fx && fx[1] !== null ? within(u.valToPos(fx[1], "x"), w) : w;
      const top = fy && fy[1] !== null ? within(u.valToPos(fy[1], "y"), t) : 0;
      const bottom = fy && fy[0] !== null ? within(u.valToPos(fy[0], "y"), t) : t;
      u.setSelect({ left, width: Math.max(right - left, 1), top, height: Math.max(bottom - top, 1) }, false);
    } else u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  }

  make(data) {
    const range = (column) => () => {
      if (column.kind === "category") return [-0.5, column.values.length - 0.5];
      const [low, high] = [column.low ?? 0, column.high ?? 1];
      const room = (high - low) * 0.03 || Math.abs(low) * 0.05 || 1;
      return [low - room, high + room];
    };
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
      scales: { x: { time: false, range: range(this.x) }, y: { range: range(this.y) } },
      axes: axes(this.x, this.y),
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

  ends(column) {
    return column.kind === "category" ? [0, Math.max(column.values.length - 1, 1)] : [column.low ?? 0, column.high ?? 1];
  }

  value(column, part) {
    const [low, high] = this.ends(column);
    return low + part * (high - low);
  }

  draw(told, colors, filters) {
    const width = this.width();
    const ratio = devicePixelRatio || 1;
    const draw = this.canvas.getContext("2d");
    this.canvas.width = width * ratio;
    this.canvas.height = this.height * ratio;
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${this.height}px`;
    draw.scale(ratio, ratio);
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
    this.describe(`Parallel coordinates of ${this.columns.map((column) => column.label).join(", ")}: ${told.cases.length} of the chosen cases`);
    this.saving("parallel", () => [["case", ...this.columns.map((column) => column.label)], ...told.cases.map((row, i) => [row, ...this.columns.map((column) => told.values[column.name][i])])]);
  }
}

export function lines(name, xs, ys, xName) {
  const figure = new Figure(`${name} over ${xName}`, 180);
  requestAnimationFrame(() => {
    const pairs = xs.map((x, i) => [x, ys[i]]).filter(([x]) => typeof x === "number").sort((a, b) => a[0] - b[0]);
    figure.plot = new uPlot({ width: figure.width(), height: figure.height, legend: { show: false }, padding: [6, 10, 0, 0],
      scales: { x: { time: false } }, axes: axes({}, {}), series: [{}, { stroke: css("--accent"), width: 1.5 }], cursor: { drag: { x: true, y: false } } },
    [pairs.map(([x]) => x), pairs.map(([, y]) => (typeof y === "number" ? y : null))], figure.place);
    figure.describe(`${name} over ${xName}`);
    figure.saving(name.replace(/[^\w.-]/g, "_"), () => [[xName, name], ...pairs]);
  });
  return figure.element;
}
