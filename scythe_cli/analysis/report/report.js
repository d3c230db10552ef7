// The cases of a report: a table that can be filtered and sorted, and lines over its columns that can be brushed.
"use strict";
(() => {
  const { columns } = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const n = columns[0].cells.length;
  const PAGE = 25, MAX_AXES = 14;
  const COLORS = { succeeded: "#3b7dd8", failed: "#d64545", timeout: "#d99a1c", crashed: "#b04fc0", cancelled: "#8a8f98", pending: "#8a8f98" };
  const state = columns.find((column) => column.role === "state");
  const stateOf = (i) => (state ? state.names[state.cells[i]] : "succeeded");
  const filters = columns.map(() => null); // of each column, what a row has to be
  const brushes = columns.map(() => null); // of each column, the ends that are chosen on its axis
  let order = { by: 0, descending: false };
  let first = 0;
  let chosen = [];

  const text = (column, i) => {
    const value = column.cells[i];
    if (value === null) return "";
    if (column.kind === "category") return column.names[value];
    if (column.kind === "time") return new Date(value).toISOString().slice(0, 19).replace("T", " ");
    return String(value);
  };

  function make(tag, attributes, ...inner) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value);
    }
    element.append(...inner);
    return element;
  }

  // ---- what is chosen

  function condition(column, typed) {
    const told = typed.trim();
    if (!told) return null;
    if (column.kind === "number") {
      const compared = told.match(/^(<=|>=|<|>|=)\s*(\S+)$/);
      if (compared && !Number.isNaN(Number(compared[2]))) {
        const end = Number(compared[2]);
        const test = { "<": (v) => v < end, "<=": (v) => v <= end, ">": (v) => v > end, ">=": (v) => v >= end, "=": (v) => v === end }[compared[1]];
        return (i) => column.cells[i] !== null && test(column.cells[i]);
      }
      const span = told.split("..").map((end) => (end.trim() ? Number(end) : NaN));
      if (span.length === 2 && span.some((end) => !Number.isNaN(end))) {
        return (i) => column.cells[i] !== null && !(column.cells[i] < span[0]) && !(column.cells[i] > span[1]);
      }
    }
    const part = told.toLowerCase();
    return (i) => text(column, i).toLowerCase().includes(part);
  }

  function choose() {
    const tests = filters.filter(Boolean);
    columns.forEach((column, k) => {
      const ends = brushes[k];
      if (ends) tests.push((i) => column.cells[i] !== null && column.cells[i] >= ends[0] && column.cells[i] <= ends[1]);
    });
    chosen = [];
    for (let i = 0; i < n; i += 1) if (tests.every((test) => test(i))) chosen.push(i);
    const column = columns[order.by];
    const key = column.kind === "text" ? (i) => text(column, i) : (i) => column.cells[i];
    const sign = order.descending ? -1 : 1;
    chosen.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === null || y === null) return (x === null) - (y === null) || a - b; // what has no value comes last
      return x < y ? -sign : x > y ? sign : a - b;
    });
    first = Math.min(first, Math.max(chosen.length - 1, 0));
    first -= first % PAGE;
    const count = (value) => value.toLocaleString("en");
    byId("chosen").textContent = `${count(chosen.length)} of ${count(n)} chosen.`;
    fill();
    draw();
  }

  // ---- the table

  function head() {
    const [names, fields] = byId("table").tHead.rows;
    columns.forEach((column, k) => {
      const title = column.unit ? `${column.label} [${column.unit}]` : column.label;
      const sort = make("button", { type: "button", onclick: () => {
        order = { by: k, descending: order.by === k ? !order.descending : false };
        first = 0;
        choose();
      } }, title);
      names.append(make("th", { scope: "col", class: column.kind === "number" ? "number" : "" }, sort));
      const change = (event) => {
        filters[k] = event.target.tagName === "SELECT" && event.target.value
          ? (i) => column.cells[i] === Number(event.target.value) : condition(column, event.target.tagName === "SELECT" ? "" : event.target.value);
        first = 0;
        choose();
      };
      let field = make("input", { type: "text", "aria-label": `Filter ${title}`, autocomplete: "off", oninput: change });
      if (column.kind === "category" && column.names.length <= 20) {
        field = make("select", { "aria-label": `Filter ${title}`, onchange: change }, make("option", { value: "" }, "all"));
        column.names.forEach((name, code) => field.append(make("option", { value: code }, name)));
      }
      fields.append(make("th", {}, field));
    });
  }

  function fill() {
    const body = byId("table").tBodies[0];
    body.replaceChildren();
    for (const i of chosen.slice(first, first + PAGE)) {
      const row = make("tr", {});
      for (const column of columns) {
        const cell = make("td", { class: column.kind === "number" ? "number" : "" });
        if (column.role === "state") {
          const dot = make("i", { class: "dot" });
          dot.style.background = COLORS[stateOf(i)];
          cell.append(dot);
        }
        const id = `case-${text(columns[0], i)}`;
        if (column.role === "case" && byId(id)) {
          cell.append(make("button", { type: "button", "aria-label": `Traceback of case ${text(column, i)}`, onclick: () => {
            byId(id).open = true;
            byId(id).scrollIntoView({ block: "center" });
            byId(id).querySelector("summary").focus();
          } }, text(column, i)));
        } else cell.append(text(column, i));
        if (text(column, i).length > 30) cell.title = text(column, i);
        row.append(cell);
      }
      body.append(row);
    }
    byId("table").tHead.rows[0].querySelectorAll("th").forEach((cell, k) => {
      cell.setAttribute("aria-sort", k !== order.by ? "none" : order.descending ? "descending" : "ascending");
    });
    byId("before").disabled = first === 0;
    byId("after").disabled = first + PAGE >= chosen.length;
    byId("place").textContent = chosen.length ? `${first + 1} to ${Math.min(first + PAGE, chosen.length)} of ${chosen.length}` : "none";
  }

  // ---- the lines

  const canvas = byId("lines");
  const TOP = 34, BOTTOM = 22, HEIGHT = 300, SIDE = 34;
  const spans = columns.map((column) => {
    let [low, high] = [Infinity, -Infinity];
    if (column.kind !== "text") for (const value of column.cells) if (value !== null) [low, high] = [Math.min(low, value), Math.max(high, value)];
    return column.kind === "category" ? [low - 0.5, high + 0.5] : [low, high];
  });
  // the lines of a category lie beside each other: how many there are is seen then
  const place = (k, i) => columns[k].cells[i] + (columns[k].kind === "category" ? (((i * 0.618034) % 1) - 0.5) * 0.6 : 0);
  const drawn = columns.map((column, k) => k).filter((k) => columns[k].role !== "case" && columns[k].role !== "state"
    && spans[k][0] < spans[k][1] && !(columns[k].kind === "category" && columns[k].names.length < 2));
  // half of the axes are for inputs where there are too many
  const inputs = drawn.filter((k) => columns[k].role === "input");
  const others = drawn.filter((k) => columns[k].role !== "input");
  const room = Math.max(MAX_AXES - others.length, MAX_AXES / 2);
  const axes = [...inputs.slice(0, room), ...others.slice(0, MAX_AXES - Math.min(inputs.length, room))];
  const width = () => Math.max(canvas.parentElement.clientWidth, axes.length * 74);
  const x = (axis) => SIDE + (axes.length > 1 ? (axis * (width() - 2 * SIDE)) / (axes.length - 1) : 0);
  const y = (k, value) => HEIGHT - BOTTOM - ((value - spans[k][0]) / (spans[k][1] - spans[k][0])) * (HEIGHT - TOP - BOTTOM);
  const valueAt = (k, at) => spans[k][0] + ((HEIGHT - BOTTOM - at) / (HEIGHT - TOP - BOTTOM)) * (spans[k][1] - spans[k][0]);

  function draw() {
    if (axes.length < 2) return;
    const css = getComputedStyle(document.documentElement);
    const [ink, quiet, line] = ["--ink", "--quiet", "--line"].map((name) => css.getPropertyValue(name).trim());
    const ratio = window.devicePixelRatio || 1;
    [canvas.width, canvas.height] = [width() * ratio, HEIGHT * ratio];
    [canvas.style.width, canvas.style.height] = [`${width()}px`, `${HEIGHT}px`];
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const trace = (rows, color, alpha) => {
      pen.strokeStyle = color;
      pen.globalAlpha = alpha;
      for (const i of rows) {
        pen.beginPath();
        let isOn = false;
        axes.forEach((k, axis) => {
          if (columns[k].cells[i] === null) isOn = false;
          else if (isOn) pen.lineTo(x(axis), y(k, place(k, i)));
          else { pen.moveTo(x(axis), y(k, place(k, i))); isOn = true; }
        });
        pen.stroke();
      }
      pen.globalAlpha = 1;
    };
    const kept = new Set(chosen);
    if (kept.size < n) trace(Array.from({ length: Math.min(n, 2000) }, (_, j) => Math.floor((j * n) / Math.min(n, 2000))), line, 0.5);
    const alpha = Math.min(Math.max(60 / chosen.length, 0.02), 0.8);
    const isBad = (i) => ["failed", "timeout", "crashed"].includes(stateOf(i));
    for (const name of Object.keys(COLORS).reverse()) {
      const rows = chosen.filter((i) => stateOf(i) === name && !isBad(i));
      trace(rows, COLORS[name], alpha);
    }
    // what went wrong is seen in front of all else
    for (const name of ["timeout", "crashed", "failed"]) {
      const rows = chosen.filter((i) => stateOf(i) === name);
      trace(rows, COLORS[name], Math.min(Math.max(60 / rows.length, 0.15), 0.9));
    }
    pen.font = "11px system-ui, sans-serif";
    const most = Math.max(Math.floor((width() - 2 * SIDE) / Math.max(axes.length - 1, 1) / 6.5), 4);
    const cut = (told) => (told.length > most ? `${told.slice(0, most - 1)}…` : told);
    const shown = (k, value) => (columns[k].kind === "category" ? columns[k].names[value < 0 ? 0 : columns[k].names.length - 1]
      : columns[k].kind === "time" ? new Date(value).toISOString().slice(0, 10) : String(Number(value.toPrecision(4))));
    axes.forEach((k, axis) => {
      pen.strokeStyle = quiet;
      pen.beginPath();
      pen.moveTo(x(axis), TOP);
      pen.lineTo(x(axis), HEIGHT - BOTTOM);
      pen.stroke();
      pen.textAlign = axis === 0 ? "left" : axis === axes.length - 1 ? "right" : "center";
      const at = axis === 0 ? 2 : axis === axes.length - 1 ? width() - 2 : x(axis);
      pen.fillStyle = ink;
      pen.fillText(cut(columns[k].label), at, 12);
      pen.fillStyle = quiet;
      pen.fillText(cut(shown(k, spans[k][1])), at, 27);
      pen.fillText(cut(shown(k, spans[k][0])), at, HEIGHT - 6);
      if (brushes[k]) {
        pen.fillStyle = COLORS.succeeded;
        pen.globalAlpha = 0.45;
        const [low, high] = brushes[k].map((value) => Math.min(Math.max(y(k, value), TOP), HEIGHT - BOTTOM));
        pen.fillRect(x(axis) - 6, high - 2, 12, Math.max(low - high + 4, 4));
        pen.globalAlpha = 1;
      }
    });
  }

  function nearest(event) {
    const far = axes.map((_, axis) => Math.abs(x(axis) - event.offsetX));
    return axes[far.indexOf(Math.min(...far))];
  }

  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    held = { k: nearest(event), from: event.offsetY };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held || Math.abs(event.offsetY - held.from) < 3) return;
    brushes[held.k] = [held.from, event.offsetY].map((at) => valueAt(held.k, at)).sort((a, b) => a - b);
    draw();
  });
  canvas.addEventListener("pointerup", () => {
    if (held && brushes[held.k]) { first = 0; choose(); }
    held = null;
  });
  canvas.addEventListener("dblclick", (event) => {
    brushes[nearest(event)] = null;
    choose();
  });

  byId("before").addEventListener("click", () => { first -= PAGE; fill(); });
  byId("after").addEventListener("click", () => { first += PAGE; fill(); });
  byId("reset").addEventListener("click", () => {
    filters.fill(null);
    brushes.fill(null);
    for (const field of byId("table").querySelectorAll("input, select")) field.value = "";
    first = 0;
    choose();
  });
  for (const name of state?.names ?? []) {
    const dot = make("i", {});
    dot.style.background = COLORS[name];
    byId("lines-keys").append(make("span", {}, dot, name));
  }
  byId("views").hidden = false;
  if (axes.length < 2) canvas.parentElement.hidden = true;
  head();
  choose();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new ResizeObserver(draw).observe(canvas.parentElement);
})();
