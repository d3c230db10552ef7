// Draws SPEC in the colors of THEMES: as large as the window, light or dark, and with the keyboard as with the pointer.
"use strict";
const place = document.getElementById("plot");
const marked = document.getElementById("marked");
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 700px)");
const columns = SPEC.concat ? SPEC.columns : 0;
let shown = null;
let isDrawing = false;

function room() {
  return [document.documentElement.clientWidth - (columns ? 4 : 0), window.innerHeight - document.querySelector("p").offsetHeight - (columns ? 4 : 0)];
}

function drawn(chart) {
  // points are as large as the window makes them visible
  if (chart.mark?.type !== "circle") return chart;
  const larger = Math.min(Math.max(Math.sqrt((innerWidth * innerHeight) / 250_000), 1), 3);
  return { ...chart, mark: { ...chart.mark, size: chart.mark.size * larger } };
}

function sized(width, height) {
  const cells = SPEC.concat.map((cell) => ({ ...drawn(cell), width, height }));
  return { ...SPEC, concat: cells, title: { ...SPEC.title, limit: document.documentElement.clientWidth - 40 } };
}

async function embed(spec) {
  const config = structuredClone(THEMES[dark.matches ? "dark" : "light"]);
  if (narrow.matches) Object.assign(config.legend, { orient: "bottom", columns: 3, labelLimit: 100 });
  shown?.finalize();
  const actions = { export: true, source: false, compiled: false, editor: false };
  shown = await vegaEmbed(place, spec, { mode: "vega-lite", renderer: "canvas", config, actions });
  marked.textContent = "";
  try {
    shown.view.addSignalListener("brush", (name, value) => tell(value));
  } catch {
    // nothing can be marked in it
  }
}

async function draw() {
  isDrawing = true;
  await fill();
  isDrawing = false;
}

async function fill() {
  const [width, height] = room();
  if (!columns) {
    place.style.height = `${Math.max(height, SPEC.usermeta.leastHeight)}px`;
    return embed(drawn(SPEC));
  }
  // what axes and titles take is known once they are drawn
  let [wide, high] = [width / columns - 30, height / columns - 30].map((side) => Math.max(side, 40));
  for (let round = 0; round < 2; round += 1) {
    await embed(sized(wide, high));
    const canvas = place.querySelector("canvas");
    wide = Math.max(wide + (width - canvas.offsetWidth) / columns, 40);
    high = Math.max(high + (height - canvas.offsetHeight) / columns, 40);
  }
  return embed(sized(wide, high));
}

function tell(ends) {
  const fields = Object.entries(ends ?? {}).filter(([, span]) => Array.isArray(span) && span.length === 2);
  const all = SPEC.data.values;
  const inside = ([field, span]) => (row) => row[field] >= Math.min(...span) && row[field] <= Math.max(...span);
  const chosen = fields.reduce((rows, each) => rows.filter(inside(each)), all);
  marked.textContent = fields.length ? `${chosen.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} points marked.` : "";
}

function send(type, Kind, options, target = null) {
  const canvas = place.querySelector("canvas");
  const box = canvas.getBoundingClientRect();
  const at = { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2 };
  const moved = { clientX: at.clientX + (options.dx ?? 0), clientY: at.clientY + (options.dy ?? 0) };
  (target ?? canvas).dispatchEvent(new Kind(type, { bubbles: true, cancelable: true, ...moved, ...options }));
}

const STEP = 40;
const MOVES = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !SPEC.params && !SPEC.layer?.[0].params) return;
  send("pointermove", PointerEvent, {});
  if (event.key === "+" || event.key === "-") {
    send("wheel", WheelEvent, { deltaY: event.key === "+" ? -150 : 150 });
  } else if (event.key === "Escape") {
    send("dblclick", MouseEvent, {});
  } else if (MOVES[event.key] && !columns) {
    const [dx, dy] = MOVES[event.key];
    send("pointerdown", PointerEvent, { pointerId: 1 });
    send("pointermove", PointerEvent, { pointerId: 1, dx, dy }, window);
    send("pointerup", PointerEvent, { pointerId: 1, dx, dy }, window);
    event.preventDefault();
  }
});

let waiting = 0;
function again() {
  clearTimeout(waiting);
  waiting = setTimeout(draw, 100);
}
dark.addEventListener("change", draw);
narrow.addEventListener("change", draw);
window.addEventListener("resize", () => {
  if (columns) again();
  else place.style.height = `${Math.max(room()[1], SPEC.usermeta.leastHeight)}px`;
});
draw();
