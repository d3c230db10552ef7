// The cases of a run: progress, filters, histograms, scatter plot, parallel coordinates and table; each brush filters all.

import { get } from "./api.js";
import { address } from "./app.js";
import { cell, count, facts, fill, h, moment, plural, problem, say, state, table, time } from "./dom.js";
import { colorsOf, GeoMap, Histogram, legendOf, Parallel, placesOf, Scatter, title, valueText } from "./charts.js";

const PAGE = 50;
const DRAWN = ["number", "category", "time"];
const LOG = [":duration", ":memory"];
export const STATES = ["succeeded", "failed", "timeout", "crashed", "cancelled", "pending"];
let open = null;

export function pageOf(make) {
  const page = async (main, parameters, current) => {
    const place = h("div");
    const view = await make(place, parameters);
    if (!current()) {
      view.close();
      return null;
    }
    fill(main, [...place.childNodes]);
    view.main = main;
    open = view;
    await view.load();
    view.follow();
    return () => {
      view.close();
      if (open === view) open = null;
    };
  };
  page.update = (parameters) => {
    if (!open) return false;
    open.take(parameters);
    open.load();
    return true;
  };
  return page;
}

export const casesPage = pageOf(async (main, parameters) => new CasesView(main, await get("run", { run: parameters.run }), parameters));

export class CasesView {
  constructor(main, told, parameters) {
    this.main = main;
    this.run = parameters.run;
    this.pending = null;
    this.figures = [];
    this.take(parameters);
    this.setRun(told);
    this.head = h("div");
    this.chips = h("ul", { class: "chips", "aria-label": "Filters" });
    this.answer = h("p", { role: "status" });
    this.legend = h("ul", { class: "legend", "aria-label": "Colors" });
    this.charts = h("div", { class: "charts" });
    this.wide = h("div", { class: "wide" });
    this.rows = h("div");
    fill(main, this.head, h("div", { id: "controls" }), this.chips, this.answer, this.legend, this.wide, this.charts, this.rows);
    this.released = null;
    for (const place of [this.charts, this.wide]) place.addEventListener("pointerdown", () => this.hold());
    this.paintHead();
    this.paintControls();
    this.resized = () => { clearTimeout(this.timer); this.timer = setTimeout(() => this.paint(), 150); };
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    window.addEventListener("resize", this.resized);
    this.scheme.addEventListener("change", this.resized);
  }

  setRun(told) {
    this.status = told.status;
    this.live = told.live;
    this.stamp = told.stamp;
    this.notes = told.notes;
    this.study = told.study;
    this.columns = new Map(told.columns.map((column) => [column.name, column]));
  }

  take(parameters) {
    let where = {};
    try { where = JSON.parse(parameters.w || "{}"); } catch { /* an address that was cut */ }
    this.filters = where.f ?? {};
    this.search = where.q ?? "";
    this.x = parameters.x;
    this.y = parameters.y;
    this.color = parameters.c;
    this.shown = parameters.h ? parameters.h.split(",").map(decodeURIComponent) : null;
    this.log = parameters.l === undefined ? LOG : parameters.l.split(",").filter(Boolean).map(decodeURIComponent);
    this.sort = parameters.s ?? ":case";
    this.descending = parameters.d === "1";
    this.offset = Number(parameters.o ?? 0) || 0;
  }

  hold() {
    // what a live run brings is not painted into a brush that is being drawn: its pictures would be made anew under it
    this.released ??= new Promise((resolve) => {
      const end = () => {
        for (const name of ["pointerup", "pointercancel"]) window.removeEventListener(name, end);
        // the mouse's own events, which set the brush, come right after the pointer's
        setTimeout(() => { this.released = null; resolve(); });
      };
      for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, end);
    });
  }

  where() {
    return JSON.stringify({ f: this.filters, ...(this.search ? { q: this.search } : {}) });
  }

  remember() {
    const isFree = Object.keys(this.filters).length === 0 && !this.search;
    const to = this.here({ w: isFree ? null : this.where(), ...this.remembered() });
    if (to !== location.hash) history.pushState(null, "", to);
  }

  // what several runs laid over each other do in another way

  get asking() { return { run: this.run }; }

  get summary() { return "run"; }

  remembered() {
    return { x: this.x, y: this.y, c: this.color, h: this.shown?.map(encodeURIComponent).join(","), l: this.log.join() === LOG.join() ? null : this.log.map(encodeURIComponent).join(",") || ",",
      s: this.sort === ":case" ? null : this.sort, d: this.descending ? 1 : null, o: this.offset || null };
  }

  here(parameters) { return address("cases", { run: this.run, ...parameters }); }

  caseAt(told, i) { return address("case", { run: this.run, row: told.cases[i] }); }

  caseLink(row, names) { return address("case", { run: this.run, row: row[names.indexOf(":case")] }); }

  firstColumns() { return [":case", ":state", ":duration"]; }

  overlaid() { return null; }

  moreControls() { return null; }

  change(changes) {
    Object.assign(this, changes);
    if (!("offset" in changes)) this.offset = 0;
    const loading = this.load(); // the server works while the address is written
    this.remember();
    return loading;
  }

  brush(brushed) {
    const filters = { ...this.filters };
    for (const [name, value] of Object.entries(brushed)) {
      if (value) filters[name] = value;
      else delete filters[name];
    }
    if (JSON.stringify(filters) === JSON.stringify(this.filters)) return null;
    performance.mark("brush");
    return this.change({ filters });
  }

  setLog(name, on) {
    const log = on ? [...this.log, name] : this.log.filter((each) => each !== name);
    return this.change({ log, offset: this.offset }).then(() => this.histograms.find((each) => each.column.name === name)?.tools.querySelector("[aria-pressed]")?.focus());
  }

  drawable(role) {
    return [...this.columns.values()].filter((column) => DRAWN.includes(column.kind) && (!role || column.role === role));
  }

  chosen() {
    // what is drawn, unless the address says otherwise
    const varied = (column) => column.kind === "category" ? column.values.length > 1 : column.low !== null && column.high > column.low;
    const inputs = this.drawable("input").filter(varied);
    const outputs = [...this.drawable("output"), ...this.drawable("feature")].filter(varied);
    const names = this.shown?.filter((name) => this.columns.has(name)) ?? [":state", ":duration", ":memory", ...inputs.slice(0, 6).map((c) => c.name), ...outputs.slice(0, 4).map((c) => c.name)];
    const numbers = (some) => some.filter((column) => column.kind !== "category");
    const known = (name) => (this.columns.has(name) && DRAWN.includes(this.columns.get(name).kind) ? name : null);
    const x = known(this.x) ?? (numbers(inputs)[0] ?? inputs[0])?.name ?? ":case";
    const y = known(this.y) ?? numbers(outputs)[0]?.name ?? ":duration";
    const axes = names.filter((name) => this.columns.has(name) && ![":state", ...LOG].includes(name)).slice(0, 12);
    const places = placesOf([...this.columns.values()]);
    return { names: names.filter((name) => known(name)), x, y: known(y) ?? x, axes: axes.length > 1 ? axes : [], places: places?.map((column) => column.name) ?? null };
  }

  async load() {
    const picked = this.chosen();
    const shown = this.tableColumns();
    const color = this.color && this.columns.has(this.color) ? this.color : null;
    const want = { histograms: picked.names, scatter: [...new Set([picked.x, picked.y])], parallel: picked.axes, log: this.log, map: picked.places, color,
      table: { columns: shown, sort: this.sort, descending: this.descending, offset: this.offset, limit: PAGE } };
    this.pending?.abort();
    const pending = this.pending = new AbortController();
    try {
      this.told = await get("views", { ...this.asking, where: this.where(), want: JSON.stringify(want) }, { signal: pending.signal });
    } catch (error) {
      if (error.name !== "AbortError") fill(this.answer, problem(error));
      return;
    }
    await this.released;
    if (pending !== this.pending || this.isClosed) return;
    this.picked = picked;
    this.paint();
    if (performance.getEntriesByName("brush").length) {
      performance.measure("brushed", "brush");
      performance.clearMarks("brush");
    }
    say(`${count(this.told.chosen)} of ${plural(this.told.n, "case")}`);
  }

  tableColumns() {
    const all = [...this.columns.values()];
    const first = this.firstColumns();
    const more = all.filter((column) => column.role !== "case").map((column) => column.name);
    return [...first, ...more.slice(0, 24), ...[":error", ":message"]].filter((name) => this.columns.has(name));
  }

  paint() {
    const { told, picked } = this;
    if (!told) return;
    const key = JSON.stringify([picked.names, picked.x, picked.y, picked.axes, picked.places]);
    if (key !== this.key) {
      this.key = key;
      for (const figure of this.figures) figure.destroy();
      this.histograms = picked.names.map((name) => new Histogram(this.columns.get(name), (value) => this.brush({ [name]: value }), (on) => this.setLog(name, on)));
      this.scatter = new Scatter(this.columns.get(picked.x), this.columns.get(picked.y), (value) => this.brush(value), (i) => { location.hash = this.caseAt(this.told.scatter, i); });
      this.parallel = picked.axes.length ? new Parallel(picked.axes.map((name) => this.columns.get(name)), (value) => this.brush(value)) : null;
      this.map = picked.places ? new GeoMap(...picked.places.map((name) => this.columns.get(name)), (value) => this.brush(value), (i) => { location.hash = this.caseAt(this.told.map, i); }) : null;
      this.figures = [...this.histograms, this.scatter, this.map, this.parallel].filter(Boolean);
      fill(this.charts, this.histograms.map((figure) => figure.element));
      fill(this.wide, this.scatter.element, this.map?.element, this.parallel?.element);
    }
    for (const figure of this.figures) figure.know(this.columns);
    this.histograms.forEach((figure, i) => figure.draw(told.histograms[i], this.filters[figure.column.name], this.overlaid()));
    const colors = colorsOf(told.scatter, this.columns.get(this.color));
    this.scatter.draw(told.scatter, colors, this.filters);
    this.map?.draw(told.map, colorsOf(told.map, this.columns.get(this.color)), this.filters);
    this.parallel?.draw(told.parallel, colorsOf(told.parallel, this.columns.get(this.color)), this.filters);
    fill(this.legend, colors.legend ? [...legendOf(colors.legend).childNodes] : null);
    this.paintChips();
    const sampled = told.scatter.cases.length < told.chosen ? `; the pictures show ${count(told.scatter.cases.length)} of them as points, drawn at random, and count all in bars` : "";
    fill(this.answer, `${count(told.chosen)} of ${plural(told.n, "case")}${told.chosen === told.n ? "" : " chosen"}${sampled}.`);
    this.paintTable();
  }

  paintHead() {
    const { status } = this;
    const counts = status.counts;
    const done = counts ? status.n_specs - counts.pending : null;
    const word = this.live ? "running" : counts?.pending ? "stopped" : counts && STATES.slice(1, 5).some((name) => counts[name]) ? "failed" : counts ? "succeeded" : "unknown";
    fill(this.head, h("h1", {}, this.run),
      h("p", {}, state(word), counts ? [": ", STATES.filter((name) => counts[name]).map((name, i) => [i ? ", " : "", h("span", { class: "count" }, `${count(counts[name])} ${name}`)])] : null,
        this.live && status.rate_per_s ? `; ${cell(Number(status.rate_per_s.toPrecision(3)))} cases/s` : "", this.live && status.eta_s ? `, ${time(status.eta_s)} left` : ""),
      counts?.pending ? h("progress", { max: status.n_specs, value: done, "aria-label": `${count(done)} of ${count(status.n_specs)} cases have ended` }) : null,
      status.notice ? h("p", { class: "soft" }, status.notice) : null,
      this.study ? h("p", {}, h("a", { href: address("study", { run: this.run }) }, `Rounds of the study ${this.study}`)) : null,
      h("details", { open: this.head.querySelector("details")?.open }, h("summary", {}, "About this run"), facts([...Object.entries(this.notes), ["last outcome", moment(status.last_outcome_at)], ["tables", status.tables.join(", ")]])));
  }

  select(label, value, columns, onchange, none) {
    const options = [none ? h("option", { value: "" }, none) : null, columns.map((column) => h("option", { value: column.name, selected: column.name === value }, title(column)))];
    const choice = h("select", { onchange: () => onchange(choice.value || undefined) }, options);
    return h("label", {}, label, choice);
  }

  choices() { return JSON.stringify([this.drawable().map((column) => [column.name, column.label, column.unit]), this.chosen().names]); }

  paintControls() {
    const all = this.drawable();
    const picked = this.chosen();
    this.offered = this.choices();
    const search = h("input", { type: "search", value: this.search });
    const column = h("select", {}, all.map((each) => h("option", { value: each.name }, title(each))));
    const [low, high] = [h("input", { type: "text", inputmode: "decimal" }), h("input", { type: "text", inputmode: "decimal" })];
    const filter = (event) => {
      event.preventDefault();
      const each = this.columns.get(column.value);
      const [from, to] = [low.value.trim(), high.value.trim()];
      if (each.kind === "category") this.brush({ [each.name]: from ? ["=", ...from.split(",").map((text) => text.trim())] : null });
      else if (from === "" && to === "") this.brush({ [each.name]: null });
      else {
        const read = (text) => (text === "" ? null : each.kind === "time" ? Date.parse(text) : Number(text));
        const ends = [read(from), read(to)];
        if (ends.some((end) => Number.isNaN(end))) fill(this.answer, problem(new Error("A limit is a number.")));
        else this.brush({ [each.name]: ends });
      }
    };
    const ticks = all.map((each) => {
      const box = h("input", { type: "checkbox", checked: picked.names.includes(each.name), onchange: () => {
        const names = new Set(this.chosen().names);
        if (box.checked) names.add(each.name);
        else names.delete(each.name);
        this.change({ shown: all.map((some) => some.name).filter((name) => names.has(name)), offset: this.offset });
      } });
      return h("label", {}, box, " ", title(each));
    });
    fill(this.main.querySelector("#controls"),
      h("div", { class: "bar" },
        h("form", { role: "search", onsubmit: (event) => { event.preventDefault(); this.change({ search: search.value.trim() }); } }, h("label", {}, "search", search)),
        this.select("x", picked.x, all, (x) => this.change({ x, offset: this.offset })), this.select("y", picked.y, all, (y) => this.change({ y, offset: this.offset })),
        this.select("color", this.color, all, (color) => this.change({ color, offset: this.offset }), "none"), this.moreControls()),
      h("details", {}, h("summary", {}, "Filter by value, choose what is drawn"),
        h("form", { class: "bar", onsubmit: filter }, h("label", {}, "column", column), h("label", {}, "from, or these categories", low), h("label", {}, "to", high), h("button", {}, "Filter")),
        h("fieldset", {}, h("legend", {}, "Drawn columns"), h("div", { class: "ticks" }, ticks))));
  }

  offerMore() {
    // a live run may bring columns; what is open or was typed stays
    const place = this.main.querySelector("#controls");
    if (this.offered === this.choices() || place.contains(document.activeElement)) return;
    const fields = () => [...place.querySelectorAll("input:not([type=checkbox])")];
    const [texts, isOpen] = [fields().map((field) => field.value), place.querySelector("details").open];
    this.paintControls();
    fields().forEach((field, i) => { field.value = texts[i]; });
    place.querySelector("details").open = isOpen;
  }

  paintChips() {
    const chip = (text, off) => h("li", {}, text, h("button", { type: "button", "aria-label": `Remove the filter ${text}`, onclick: off }, "×"));
    const told = Object.entries(this.filters).map(([name, value]) => {
      const column = this.columns.get(name) ?? { label: name, kind: "number" };
      const end = (each, none) => (each === null ? none : valueText(column, each));
      const what = value[0] === "=" ? value.slice(1, 6).map((each) => each ?? "nothing").join(", ") + (value.length > 6 ? " …" : "") : `${end(value[0], "…")} to ${end(value[1], "…")}`;
      return chip(`${column.label}: ${what}`, () => this.brush({ [name]: null }));
    });
    if (this.search) told.push(chip(`search: ${this.search}`, () => this.change({ search: "" })));
    if (told.length > 1) told.push(h("li", {}, h("button", { type: "button", onclick: () => this.change({ filters: {}, search: "" }) }, "Remove all")));
    fill(this.chips, told);
  }

  paintTable() {
    const { told } = this;
    const names = this.tableColumns();
    const heads = names.map((name) => {
      const column = this.columns.get(name);
      const isSorted = this.sort === name;
      const sort = () => this.change({ sort: name, descending: isSorted && !this.descending }).then(() => this.rows.querySelector(`[data-column="${CSS.escape(name)}"]`)?.focus());
      return { number: column.kind === "number", sorted: isSorted ? (this.descending ? "descending" : "ascending") : null,
        head: column.kind === "other" ? title(column) : h("button", { type: "button", "data-column": name, title: column.description, onclick: sort }, title(column), isSorted ? (this.descending ? " ▼" : " ▲") : "") };
    });
    const rows = told.table.rows.map((row) => row.map((value, i) => names[i] === ":case" ? h("a", { href: this.caseLink(row, names) }, String(value))
      : names[i] === ":state" ? state(value) : names[i] === ":duration" ? time(value) : value));
    const to = (offset) => () => this.change({ offset });
    const last = told.table.offset + rows.length;
    const active = this.rows.contains(document.activeElement) ? document.activeElement : null;
    fill(this.rows, h("h2", {}, "Cases"), table(rows.length ? `cases ${count(told.table.offset + 1)} to ${count(last)} of ${count(told.table.n)}` : "no case is chosen", heads, rows),
      told.table.n > PAGE ? h("div", { class: "bar" },
        h("button", { type: "button", disabled: this.offset === 0, onclick: to(0) }, "First"),
        h("button", { type: "button", disabled: this.offset === 0, onclick: to(Math.max(0, this.offset - PAGE)) }, "Previous"),
        h("button", { type: "button", disabled: last >= told.table.n, onclick: to(this.offset + PAGE) }, "Next")) : null);
    if (active) [...this.rows.querySelectorAll("a, button")].find((each) => each.textContent === active.textContent)?.focus({ preventScroll: true });
  }

  follow() {
    this.poll = setTimeout(async () => {
      try {
        const told = await get("live", this.asking);
        if (this.isClosed) return;
        const { stamp, ...more } = told;
        const changed = stamp !== this.told?.stamp;
        Object.assign(this, more);
        this.paintHead();
        if (changed) {
          this.setRun(await get(this.summary, this.asking));
          if (this.isClosed) return;
          this.offerMore();
          await this.load();
        }
      } catch { /* it is asked again */ }
      if (!this.isClosed) this.follow();
    }, this.live ? 1500 : 10000);
  }

  close() {
    this.isClosed = true;
    clearTimeout(this.poll);
    this.pending?.abort();
    for (const figure of this.figures) figure.destroy();
    window.removeEventListener("resize", this.resized);
    this.scheme.removeEventListener("change", this.resized);
  }
}
