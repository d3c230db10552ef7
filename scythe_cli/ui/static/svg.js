// Pictures as SVG: what a canvas can do, as far as the pictures need it, written down as elements.

const SVG = "http://www.w3.org/2000/svg";
const ANCHOR = { left: "start", center: "middle", right: "end" };

export function element(tag, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  if (text !== null) made.textContent = text;
  return made;
}

const short = (value) => Number(value.toFixed(2));

export class SvgDrawing {
  // the part of CanvasRenderingContext2D that `Parallel` and `traced` use
  constructor(width, height, name) {
    this.root = element("svg", { xmlns: SVG, viewBox: `0 0 ${width} ${height}`, width, height, "font-family": "system-ui, sans-serif", "font-size": 12 });
    this.root.append(element("title", {}, name));
    Object.assign(this, { fillStyle: "#000", strokeStyle: "#000", globalAlpha: 1, lineWidth: 1, textAlign: "left", font: "", path: "" });
  }

  get alpha() { return this.globalAlpha < 1 ? { opacity: short(this.globalAlpha) } : {}; }

  beginPath() { this.path = ""; }

  moveTo(x, y) { this.path += `M${short(x)} ${short(y)}`; }

  lineTo(x, y) { this.path += `L${short(x)} ${short(y)}`; }

  stroke() {
    if (this.path) this.root.append(element("path", { d: this.path, fill: "none", stroke: this.strokeStyle, "stroke-width": this.lineWidth, ...this.alpha }));
  }

  fillRect(x, y, width, height) {
    this.root.append(element("rect", { x: short(x), y: short(y), width: short(Math.max(width, 0)), height: short(Math.max(height, 0)), fill: this.fillStyle, ...this.alpha }));
  }

  fillText(text, x, y) {
    this.root.append(element("text", { x: short(x), y: short(y), fill: this.fillStyle, "text-anchor": ANCHOR[this.textAlign] }, text));
  }

  blob() {
    return new Blob([new XMLSerializer().serializeToString(this.root)], { type: "image/svg+xml" });
  }
}

export function frameOf(u) {
  // the part of a plot that has the data, in pixels of the page
  const ratio = u.ctx.canvas.width / u.width;
  const [left, top, width, height] = [u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height].map((value) => value / ratio);
  return { left, top, width, height, x: (value) => left + u.valToPos(value, "x"), y: (value) => top + u.valToPos(value, "y") };
}

export function drawAxes(u, draw, colors) {
  const frame = frameOf(u);
  const [right, bottom] = [frame.left + frame.width, frame.top + frame.height];
  draw.lineWidth = 1;
  u.axes.forEach((axis, i) => {
    (axis._splits ?? []).forEach((at, k) => {
      if (at === null || at === undefined) return;
      const place = i ? frame.y(at) : frame.x(at);
      if (i ? place < frame.top - 1 || place > bottom + 1 : place < frame.left - 1 || place > right + 1) return;
      draw.strokeStyle = colors.line;
      draw.beginPath();
      draw.moveTo(i ? frame.left : place, i ? place : frame.top);
      draw.lineTo(i ? right : place, i ? place : bottom);
      draw.stroke();
      draw.fillStyle = colors.soft;
      draw.textAlign = i ? "right" : "center";
      draw.fillText(String(axis._values?.[k] ?? ""), i ? frame.left - 8 : place, i ? place + 4 : bottom + 20);
    });
  });
  return frame;
}
