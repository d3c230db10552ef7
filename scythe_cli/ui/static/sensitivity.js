// How closely each output follows each input, over a sample of the chosen cases.

import { get } from "./api.js";
import { address } from "./app.js";
import { count, fill, h, plural, save, table } from "./dom.js";
import { csv } from "./pages.js";
import { element } from "./svg.js";

function bar(value) {
  // a short bar from the middle, and the number that it stands for
  if (value === null) return "";
  const size = Math.min(Math.abs(value), 1) * 30;
  const drawn = element("svg", { viewBox: "0 0 64 12", width: 64, height: 12, "aria-hidden": "true", class: "bar-cell" });
  drawn.append(element("rect", { x: value < 0 ? 32 - size : 32, y: 1, width: size, height: 10, class: value < 0 ? "down" : "up" }), element("rect", { x: 31.5, y: 0, width: 1, height: 12, class: "middle" }));
  return [drawn, h("span", { class: "signed" }, `${value <= -0.005 ? "−" : ""}${Math.abs(value).toFixed(2)}`)];
}

const share = (low, value, high) => (value === null ? "" : [value.toFixed(2), " ", h("span", { class: "soft" }, `${low?.toFixed(2) ?? "?"} to ${high?.toFixed(2) ?? "?"}`)]);

export async function sensitivityPage(main, { run, w }, current) {
  const told = await get("sensitivity", { run, where: w });
  if (!current()) return;
  const strongest = (row) => Math.max(...row.values.map((value) => Math.abs(value ?? 0)));
  const rows = [...told.inputs].sort((a, b) => strongest(b) - strongest(a));
  const heads = [{ label: "input" }, ...told.outputs.map((name) => ({ label: name, number: true }))];
  const label = (row) => (row.category ? `${row.input} (η)` : row.input);
  const sample = told.used < told.n ? `${count(told.used)} of ${plural(told.n, "case")}, drawn at random` : `all ${plural(told.n, "case")}`;
  const saved = () => save(new Blob([csv(["input", ...told.outputs], rows.map((row) => [label(row), ...row.values]))], { type: "text/csv" }), "sensitivity.csv");
  const sobol = told.sobol?.length ? [h("h2", {}, "Sobol indices"),
    h("p", {}, "The shares of the variance of an output that an input explains by itself, and with all of its interactions, with 95 % intervals. The design of the run allows to say so; all cases count."),
    table("Sobol indices", [{ label: "output" }, { label: "input" }, { label: "by itself", number: true }, { label: "in all", number: true }],
      told.sobol.map((each) => [each.output, each.input, share(each.first_low, each.first, each.first_high), share(each.total_low, each.total, each.total_high)]))] : null;
  fill(main, h("h1", {}, `Sensitivity of ${run}`),
    h("p", {}, `How closely outputs follow inputs, over ${sample}`, w ? " that the filters choose" : "", ". ", h("a", { href: address("cases", { run, w }) }, "These cases")),
    rows.length && told.outputs.length ? [table("How closely outputs follow inputs", heads, rows.map((row) => [label(row), ...row.values.map(bar)])),
      h("p", { class: "soft" }, "Spearman’s rank correlation, from −1 to 1; η, for categories, is the square root of the share of the variance that lies between them, from 0 to 1. Both see what an input does by itself; they show no cause."),
      h("div", { class: "bar" }, h("button", { type: "button", onclick: saved }, "Save as CSV"))]
      : h("p", {}, "No numeric output varies with an input that varies."),
    sobol);
}
