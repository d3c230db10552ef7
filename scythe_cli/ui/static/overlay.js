// Several runs laid over each other: the page of the cases, with the columns that all of them have, colored by run.

import { get } from "./api.js";
import { address } from "./app.js";
import { CasesView, pageOf, STATES } from "./cases.js";
import { count, facts, fill, h, plural, state } from "./dom.js";

const RUN = ":run";

export const overlayPage = pageOf(async (main, parameters) => {
  let runs;
  try { runs = JSON.parse(parameters.runs); } catch { runs = []; }
  return new OverlayView(main, await get("overlay", { runs: JSON.stringify(runs) }), { ...parameters, several: runs });
});

class OverlayView extends CasesView {
  get asking() { return { runs: JSON.stringify(this.several) }; }

  get summary() { return "overlay"; }

  setRun(told) {
    super.setRun(told);
    this.members = told.members;
    this.leftOut = told.left_out ?? this.leftOut;
  }

  take(parameters) {
    super.take(parameters);
    this.several = parameters.several ?? this.several;
    this.color ??= RUN;
    this.shares = parameters.n === "1";
  }

  remembered() {
    return { ...super.remembered(), c: this.color === RUN ? null : this.color, n: this.shares ? 1 : null };
  }

  here(parameters) { return address("overlay", { runs: JSON.stringify(this.several), ...parameters }); }

  caseAt(told, i) {
    return address("case", { run: this.columns.get(RUN).values[told.runs[i]], row: told.cases[i] });
  }

  caseLink(row, names) { return address("case", { run: row[names.indexOf(RUN)], row: row[names.indexOf(":case")] }); }

  firstColumns() { return [RUN, ...super.firstColumns()]; }

  overlaid() {
    // bars of several runs hide each other: outlines do not
    if (this.color !== RUN) return null;
    return this.shares ? Object.fromEntries(this.members.map((each) => [each.run, each.status.n_specs])) : {};
  }

  moreControls() {
    const box = h("input", { type: "checkbox", checked: this.shares, onchange: () => this.change({ shares: box.checked, offset: this.offset }) });
    return h("label", { class: "tick" }, h("span", {}, box, " as shares of each run"));
  }

  paintHead() {
    const rows = this.members.map(({ run, live, status }) => {
      const counts = status.counts;
      return h("li", {}, h("a", { href: address("cases", { run }) }, run), ": ", live ? [state("running"), ", "] : null,
        counts ? STATES.filter((name) => counts[name]).map((name, i) => [i ? ", " : "", `${count(counts[name])} ${name}`]) : plural(status.n_specs ?? 0, "case"));
    });
    const left = Object.entries(this.leftOut);
    fill(this.head, h("h1", {}, `${plural(this.members.length, "run")} over each other`), h("ul", {}, rows),
      left.length ? h("details", { open: this.head.querySelector("details")?.open }, h("summary", {}, `${plural(left.length, "column")} left out`), facts(left)) : null);
  }
}
