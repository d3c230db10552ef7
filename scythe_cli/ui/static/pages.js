// The pages beside that of the cases: the list of runs, one case, errors, differences, SQL.

import { get, post } from "./api.js";
import { address } from "./app.js";
import { cell, copyButton, count, facts, fill, h, moment, plural, problem, save, say, state, table, time } from "./dom.js";
import { lines } from "./charts.js";

const LIMIT = 50;

export async function runsPage(main, parameters, current) {
  // the list is asked for again and again, and shown anew when it is another one and nobody is at work in it
  const again = { ...parameters, again: undefined };
  let shown = JSON.stringify((await showRuns(main, parameters, current))?.runs);
  const timer = setInterval(async () => {
    const isBusy = main.contains(document.activeElement) && document.activeElement !== main;
    if (isBusy || main.querySelector("input:checked")) return;
    const told = await get("runs", { limit: LIMIT, offset: again.offset, experiment: again.experiment }).catch(() => null);
    if (told && current() && JSON.stringify(told.runs) !== shown) {
      shown = JSON.stringify(told.runs);
      await showRuns(main, again, current);
    }
  }, 4000);
  return () => clearInterval(timer);
}

async function showRuns(main, parameters, current) {
  const offset = Number(parameters.offset ?? 0);
  const told = await get("runs", { offset, limit: LIMIT, experiment: parameters.experiment, again: parameters.again });
  if (!current()) return null;
  const ticked = new Set();
  const varied = new Map();
  const compare = h("button", { type: "button", disabled: true, onclick: () => {
    const [a, b] = [...ticked].sort();
    location.hash = address("diff", { a, b });
  } }, "Compare the two");
  const overlay = h("button", { type: "button", disabled: true, onclick: () => {
    location.hash = address("overlay", { runs: JSON.stringify([...ticked].sort()) });
  } }, "Lay over each other");
  const rows = told.runs.map((run) => {
    const id = run.experiment_id;
    const box = h("input", { type: "checkbox", "aria-label": `Choose ${id}`, onchange: () => {
      if (box.checked) ticked.add(id);
      else ticked.delete(id);
      compare.disabled = ticked.size !== 2;
      overlay.disabled = ticked.size < 2;
    } });
    const bad = run.counts ? ["failed", "timeout", "crashed", "cancelled"].filter((name) => run.counts[name]).map((name) => `${count(run.counts[name])} ${name}`) : [];
    varied.set(id, h("span", {}));
    return [box, h("a", { href: address("cases", { run: id }) }, id), state(run.state), run.n_specs, varied.get(id), bad.join(", "), time(run.duration_s), run.engine, run.sampling_file];
  });
  const heads = ["", "run", "state", "cases", "what varied", "not succeeded", "took", "engine", "sampling file"].map((label, i) => ({ label, number: i === 3, head: i ? null : h("span", { class: "hidden" }, "choose") }));
  const choice = h("select", { onchange: () => { location.hash = address("runs", { experiment: choice.value }); } },
    h("option", { value: "" }, "all"), told.experiments.map((name) => h("option", { value: name, selected: name === parameters.experiment }, name)));
  const page = (to) => () => { location.hash = address("runs", { experiment: parameters.experiment, offset: to || null }); say(`runs from ${to + 1}`); };
  fill(main, h("h1", {}, "Runs"), h("p", { class: "soft" }, `in ${told.location}`),
    h("div", { class: "bar" }, told.experiments.length > 1 ? h("label", {}, "experiment", choice) : null, compare, overlay,
      h("button", { type: "button", onclick: () => showRuns(main, { ...parameters, again: 1 }, current) }, "Refresh")),
    told.n ? table(plural(told.n, "run") + (told.n > LIMIT ? `, ${offset + 1} to ${offset + rows.length}` : ""), heads, rows)
      : h("p", {}, "There are no runs yet. `scythe allocate FILE` makes one."),
    told.n > LIMIT ? h("div", { class: "bar" },
      h("button", { type: "button", disabled: offset === 0, onclick: page(Math.max(0, offset - LIMIT)) }, "Newer"),
      h("button", { type: "button", disabled: offset + LIMIT >= told.n, onclick: page(offset + LIMIT) }, "Older")) : null);
  if (varied.size) showVaried(varied);
  return told;
}

async function showVaried(places) {
  // it is in a file of each run: the list does not wait for it
  const told = await get("varied", { runs: JSON.stringify([...places.keys()]) }).catch(() => ({ varied: {} }));
  for (const [id, place] of places) {
    const names = told.varied[id] ?? [];
    const more = names.length > 4 ? ` and ${names.length - 4} more` : "";
    place.textContent = names.slice(0, 4).join(", ") + more;
    if (more) place.title = names.join(", ");
  }
}

export async function casePage(main, { run, row }, current) {
  const told = await get("case", { run, row });
  if (!current()) return;
  const n = Number(row);
  const to = (other) => address("case", { run, row: other });
  const values = (role) => told.values.filter((each) => each.role === role && each.value !== null).map((each) => [h("span", { title: each.description }, each.name), each.value === null ? "" : [cell(each.value), each.unit ? ` ${each.unit}` : ""]]);
  const section = (title, content) => content && (!Array.isArray(content) || content.length) ? [h("h2", {}, title), content] : null;
  const both = [["Inputs", "input"], ["Features", "feature"], ["Outputs", "output"]].map(([title, role]) => {
    const pairs = values(role);
    return pairs.length ? h("section", {}, h("h2", {}, title), facts(pairs)) : null;
  });
  const attempts = told.attempts.map((each) => h("details", { open: each.counts },
    h("summary", {}, `Attempt ${each.attempt}: `, state(each.state), each.duration_s === null ? "" : `, ${time(each.duration_s)}`, each.counts ? "" : " (does not count)"),
    facts([["started", moment(each.started_at)], ["worker", each.worker], ["error", each.error_type], ["message", each.message]]),
    each.traceback ? [h("h3", {}, "Traceback"), h("pre", { class: "traceback", tabindex: "0" }, each.traceback)] : null,
    each.log ? [h("h3", {}, "Output"), h("pre", { tabindex: "0" }, each.log)] : null));
  const files = told.files.map((each) => {
    const href = `api/file?${new URLSearchParams({ run, row, key: each.key })}`;
    const isPicture = /\.(png|jpe?g|gif|webp|svg)$/i.test(each.name);
    return h("li", {}, each.field ? `${each.field}: ` : "", h("a", { href, download: isPicture ? null : each.name.split("/").pop() }, each.name),
      isPicture ? h("div", { class: "pictures" }, h("img", { src: href, alt: each.field ?? each.name, loading: "lazy" })) : null);
  });
  const commands = Object.entries(told.commands).map(([what, command]) => [h("p", { class: "soft" }, what),
    h("div", { class: "command" }, h("pre", {}, command), copyButton(command, what))]);
  fill(main, h("h1", {}, `Case ${n} of ${run}`),
    h("p", {}, told.state ? state(told.state) : null, " ", h("a", { href: address("cases", { run }) }, "all cases"), " · ",
      n > 0 ? h("a", { href: to(n - 1), rel: "prev" }, "previous") : "", " ", n + 1 < told.n_cases ? h("a", { href: to(n + 1), rel: "next" }, "next") : ""),
    h("div", { class: "wide" }, both), section("Attempts", attempts), section("Run it again", commands),
    section("Files", files.length ? h("ul", {}, files) : null),
    told.warnings ? section("Warnings", rowsOf(told.warnings)) : null,
    told.tables.map((each) => section(each.name, [seriesOf(each), rowsOf(each)])));
}

function rowsOf(each) {
  const heads = each.columns.map((label) => ({ label, number: each.numeric.includes(label), wrap: !each.numeric.includes(label) }));
  const more = each.rows.length < each.n_rows ? `, the first ${count(each.rows.length)}` : "";
  return table(`${each.name}: ${plural(each.n_rows, "row")}${more}`, heads, each.rows);
}

function seriesOf(each) {
  const numeric = each.columns.map((name, i) => [name, i]).filter(([name]) => each.numeric.includes(name));
  if (each.rows.length < 3 || !numeric.length) return null;
  const [x, ...rest] = numeric.length > 1 ? numeric : [[null, -1], ...numeric];
  return h("div", { class: "charts" }, rest.slice(0, 6).map(([name, at]) =>
    lines(name, each.rows.map((row, i) => (x[1] < 0 ? i : row[x[1]])), each.rows.map((row) => row[at]), x[0] ?? "row")));
}

export async function errorsPage(main, { run }, current) {
  const told = await get("errors", { run });
  if (!current()) return;
  const block = (title, groups, linked) => groups.length ? [h("h2", {}, title), table(title, [{ label: "cases", number: true }, { label: "state" }, { label: "error" }, { label: "place", wrap: true }, { label: "first message", wrap: true }, { label: "for example" }],
    groups.map((group) => {
      const f = { ":error": ["=", group.error_type], ":state": ["=", group.state], ":place": ["=", group.place] };
      const n = linked ? h("a", { href: address("cases", { run, w: JSON.stringify({ f }) }) }, count(group.count)) : count(group.count);
      return [n, state(group.state), group.error_type, group.place, group.message, group.rows.slice(0, 5).map((row) => [h("a", { href: address("case", { run, row }) }, `case ${row}`), " "])];
    }))] : null;
  fill(main, h("h1", {}, `Errors of ${run}`),
    told.groups.length + told.failing.length ? null : h("p", {}, "No case has failed."),
    block("Failures that are alike", told.groups, true), block("To be tried again", told.failing, false));
}

export async function diffPage(main, { a, b, rtol }, current) {
  const told = await get("diff", { a, b, rtol });
  if (!current()) return;
  const tolerance = h("input", { type: "number", min: 0, step: "any", value: rtol ?? "0" });
  const inputs = (spec) => Object.entries(spec).map(([name, value]) => `${name} ${cell(value)}`).join(", ");
  const link = (run, row) => h("a", { href: address("case", { run, row }) }, `case ${row}`);
  const cells = told.cells.map((each) => [link(a, each.row_a), link(b, each.row_b), `${each.table === "scalars" ? "" : `${each.table}.`}${each.column}`, each.old, each.new, each.absolute, each.relative, inputs(each.spec)]);
  const states = told.state_changes.map((each) => [link(a, each.row_a), link(b, each.row_b), state(each.old), state(each.new), inputs(each.spec)]);
  const columns = told.columns.map((each) => [`${each.table}.${each.column}`, each.n_compared, each.n_changed, each.max_absolute, each.max_relative]);
  const numbers = (...labels) => labels.map((label) => ({ label: label.replace("#", ""), number: label.startsWith("#") }));
  const only = (name, n, list, run) => n ? [h("h2", {}, `Only in ${name}: ${plural(n, "case")}`), table(`Cases only in ${run}`, numbers("case", "inputs"), list.map((each) => [link(run, each.row), inputs(each.spec)]))] : null;
  fill(main, h("h1", {}, "Differences"), facts([["old", a], ["new", b], ["cases with the same inputs", count(told.n_matched)], ["cells that differ", `${count(told.n_cells)}, in ${plural(told.n_changed_specs, "case")}`], ["cases that ended otherwise", count(told.n_state_changes)]]),
    h("form", { class: "bar", onsubmit: (event) => { event.preventDefault(); diffPage(main, { a, b, rtol: tolerance.value }, current).catch((error) => main.append(problem(error))); } },
      h("label", {}, "relative tolerance", tolerance), h("button", {}, "Compare")),
    columns.length ? [h("h2", {}, "Columns"), table("Columns that differ", numbers("column", "#compared", "#differ", "#most, absolute", "#most, relative"), columns)] : h("p", {}, "No cell differs."),
    cells.length ? [h("h2", {}, "Cells"), table(cells.length < told.n_cells ? `the first ${cells.length} of ${count(told.n_cells)}` : plural(cells.length, "cell"), numbers("old", "new", "column", "#old value", "#new value", "#absolute", "#relative", "inputs"), cells)] : null,
    states.length ? [h("h2", {}, "States"), table("Cases that ended otherwise", numbers("old", "new", "old state", "new state", "inputs"), states)] : null,
    only("the old run", told.n_only_a, told.only_a, a), only("the new run", told.n_only_b, told.only_b, b));
}

export async function sqlPage(main, { run, sql }) {
  const text = h("textarea", { id: "sql", spellcheck: "false", "aria-describedby": "sql-help" });
  text.value = sql ?? "select * from scalars limit 20";
  const answer = h("div", { "aria-live": "polite" });
  const button = h("button", {}, "Run");
  const ask = async (event) => {
    event?.preventDefault();
    button.disabled = true;
    fill(answer, h("p", {}, "Running …"));
    history.replaceState(null, "", address("sql", { run, sql: text.value }));
    try {
      const told = await post("sql", { runs: [run], sql: text.value });
      const shown = told.rows.length < told.n ? `, the first ${count(told.rows.length)}` : "";
      const heads = told.columns.map((each) => ({ label: each.name, number: /int|float|decimal/i.test(each.dtype), head: [each.name, h("br"), h("span", { class: "soft" }, each.dtype)] }));
      fill(answer, table(`${plural(told.n, "row")}${shown}`, heads, told.rows),
        h("div", { class: "bar" }, h("button", { type: "button", onclick: () => save(new Blob([csv(told.columns.map((each) => each.name), told.rows)], { type: "text/csv" }), "answer.csv") }, "Save these rows as CSV")));
    } catch (error) {
      fill(answer, problem(error));
    }
    button.disabled = false;
  };
  text.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask(); });
  fill(main, h("h1", {}, `SQL over ${run}`),
    h("form", { onsubmit: ask }, h("label", { for: "sql" }, "Query"), text,
      h("p", { id: "sql-help", class: "soft" }, "One SELECT over the tables of the run; `specs` has the inputs, `show tables` lists all. Ctrl+Enter runs it."), button), answer);
  if (sql) await ask();
}

export function csv(names, rows) {
  // a text that a spreadsheet would run as a formula is led in by an apostrophe, as `scythe results fetch` does it
  const shown = (value) => {
    let text = value === null || value === undefined ? "" : String(value);
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [names, ...rows].map((row) => row.map(shown).join(",")).join("\r\n") + "\r\n";
}
