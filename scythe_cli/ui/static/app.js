// Which page is shown, by what the address says after `#`: `#cases?run=…&x=…`.

import { get } from "./api.js";
import { fill, h, problem } from "./dom.js";
import { casesPage } from "./cases.js";
import { overlayPage } from "./overlay.js";
import { sensitivityPage } from "./sensitivity.js";
import { studyPage } from "./study.js";
import { casePage, diffPage, errorsPage, runsPage, sqlPage } from "./pages.js";

const PAGES = { runs: runsPage, cases: casesPage, overlay: overlayPage, sensitivity: sensitivityPage, study: studyPage, case: casePage, errors: errorsPage, diff: diffPage, sql: sqlPage };
const main = document.getElementById("main");
let leave = null;
let shown = null;

export function address(page, parameters) {
  const known = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return `#${page}?${new URLSearchParams(known)}`;
}

function read() {
  const [page, rest] = location.hash.slice(1).split(/\?(.*)/s);
  return { page: page in PAGES ? page : "runs", parameters: Object.fromEntries(new URLSearchParams(rest ?? "")) };
}

function navigation(page, { run, a, b, runs, w }) {
  const links = [["Runs", "runs", {}]];
  const one = run ?? a;
  if (one) {
    links.push(["Cases", "cases", { run: one }], ["Errors", "errors", { run: one }], ["Sensitivity", "sensitivity", { run: one, w: page === "sensitivity" ? w : null }], ["SQL", "sql", { run: one }]);
  }
  if (page === "study") links.push(["Study", "study", { run }]);
  if (runs) links.push(["Overlay", "overlay", { runs }]);
  if (a && b) links.push(["Overlay", "overlay", { runs: JSON.stringify([a, b]) }], ["Differences", "diff", { a, b }]);
  const current = page === "case" ? "cases" : page;
  fill(document.getElementById("nav"), links.map(([label, to, parameters]) =>
    h("a", { href: address(to, parameters), "aria-current": to === current ? "page" : null }, label)));
}

async function show() {
  const { page, parameters } = read();
  const key = `${page} ${parameters.run ?? ""} ${parameters.row ?? ""} ${parameters.a ?? ""} ${parameters.b ?? ""} ${parameters.runs ?? ""}`;
  if (key === shown && PAGES[page].update?.(parameters)) return;
  leave?.();
  leave = null;
  shown = key;
  navigation(page, parameters);
  document.title = `${page} · ${parameters.run ?? "scythe"}`;
  fill(main, h("p", { role: "status" }, "Loading …"));
  try {
    const left = await PAGES[page](main, parameters, () => key === shown);
    if (key === shown) leave = left ?? null;
    else left?.();
  } catch (error) {
    if (key === shown) fill(main, h("h1", {}, "This cannot be shown"), problem(error));
    if (!(error.hint !== undefined)) console.error(error);
  }
}

window.addEventListener("hashchange", show);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
if (!location.hash) {
  try {
    const start = await get("start");
    if (start.run) history.replaceState(null, "", address("cases", { run: start.run }));
  } catch { /* the page itself tells */ }
}
await show();
