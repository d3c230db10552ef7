// A study: how it came nearer to its targets from round to round, and which cases are next.

import { get } from "./api.js";
import { address } from "./app.js";
import { Lines } from "./charts.js";
import { cell, copyButton, count, facts, fill, h, plural, table } from "./dom.js";

const PENDING = JSON.stringify({ f: { ":state": ["=", "pending"] } });
const NEXT = 20;

export async function studyPage(main, { run }, current) {
  let shown = await showStudy(main, run, current);
  const timer = setInterval(async () => {
    if (shown?.end || main.contains(document.activeElement) && document.activeElement !== main) return;
    const told = await get("study", { run }).catch(() => null);
    if (told && current() && JSON.stringify(told.study) !== JSON.stringify(shown)) shown = await showStudy(main, run, current);
  }, 5000);
  return () => clearInterval(timer);
}

async function showStudy(main, run, current) {
  const [{ study }, known] = await Promise.all([get("study", { run }), get("run", { run })]);
  if (!current()) return null;
  if (!study) {
    fill(main, h("h1", {}, `Study of ${run}`), h("p", {}, known.study ? "No round has ended yet." : "This run is of no study."));
    return null;
  }
  const inputs = known.columns.filter((column) => column.role === "input" && column.kind !== "other").map((column) => column.name).slice(0, 12);
  const next = await get("views", { run, where: PENDING, want: JSON.stringify({ table: { columns: [":case", ...inputs], limit: NEXT } }) });
  if (!current()) return null;
  const { rounds } = study;
  fill(main, h("h1", {}, `Study ${study.study}`), h("p", {}, h("a", { href: address("cases", { run }) }, run), study.reason ? `: ${study.reason}` : ": it goes on, or was stopped"),
    facts(Object.entries(study.targets).map(([output, targets]) => [output, targets.join(", ")])),
    h("div", { class: "wide" }, figures(study).map((figure) => figure.element)),
    h("h2", {}, "Rounds"), roundsTable(rounds, run),
    study.failures.length ? [h("h2", {}, "Where cases fail"), h("ul", {}, study.failures.map((text) => h("li", {}, text)))] : null,
    nextCases(study, next, inputs, run));
  return study;
}

const nameOf = (standing) => [`${standing.output} ${standing.target}`, ...standing.stratum.map(String)].join(", ");

function figures({ rounds, targets }) {
  const cases = rounds.map((round) => round.cases);
  const names = [...new Set(rounds.flatMap((round) => round.standings.map(nameOf)))];
  const made = [];
  if (names.length) {
    const curves = names.slice(0, 8).map((name) => [name, rounds.map((round) => round.standings.find((each) => nameOf(each) === name)?.ratio ?? null)]);
    const log = curves.every(([, ratios]) => ratios.every((ratio) => ratio === null || ratio > 0));
    made.push(new Lines("Error / target over cases, reached at 1", "cases", cases, curves, { log, level: 1, height: 280, file: "convergence" }));
  }
  for (const output of Object.keys(targets)) {
    const best = rounds.map((round) => round.best[0]?.outputs[output] ?? null);
    if (best.some((value) => value !== null)) made.push(new Lines(`Best ${output} over cases`, "cases", cases, [[output, best]], { height: 280, file: `best-${output}` }));
  }
  return made;
}

function roundsTable(rounds, run) {
  const names = [...new Set(rounds.flatMap((round) => round.standings.map(nameOf)))].slice(0, 12);
  const hasBest = rounds.some((round) => round.best.length);
  const heads = [...["round", "cases", "succeeded", "failed"].map((label) => ({ label, number: true })), ...names.map((label) => ({ label, number: true })), ...(hasBest ? [{ label: "best case", number: true }, { label: "its outputs" }] : [])];
  const rows = rounds.map((round) => [round.round, round.cases, round.succeeded, round.failed,
    ...names.map((name) => {
      const standing = round.standings.find((each) => nameOf(each) === name);
      return standing ? h("span", { class: standing.ratio !== null && standing.ratio <= 1 ? "succeeded" : null }, standing.shown) : "";
    }),
    ...(hasBest ? [round.best.length ? h("a", { href: address("case", { run, row: round.best[0].sort_index }) }, String(round.best[0].sort_index)) : "",
      Object.entries(round.best[0]?.outputs ?? {}).map(([name, value]) => `${name} ${cell(value)}`).join(", ")] : [])]);
  return table(plural(rounds.length, "round"), heads, rows.reverse());
}

function nextCases(study, told, inputs, run) {
  if (!told.chosen) {
    const command = `scythe study ${/^[\w.-]+$/.test(study.study) ? study.study : `'${study.study.replaceAll("'", "'\\''")}'`} --plan`;
    return study.end ? null : [h("h2", {}, "The next cases"), h("p", {}, "None is chosen yet. This says what the study would do:"),
      h("div", { class: "command" }, h("pre", {}, command), copyButton(command, "what the study would do"))];
  }
  const rows = told.table.rows.map(([row, ...rest]) => [h("a", { href: address("case", { run, row }) }, String(row)), ...rest]);
  return [h("h2", {}, "The next cases"), table(`${rows.length < told.chosen ? `the first ${count(rows.length)} of ` : ""}${plural(told.chosen, "case")} that ${told.chosen === 1 ? "has" : "have"} no outcome yet`,
    ["case", ...inputs].map((label) => ({ label, number: label === "case" })), rows), h("p", {}, h("a", { href: address("cases", { run, w: PENDING }) }, "All of them"))];
}
