"""What a run costs that is too large to be tried here: messages, object requests, ledger parts, memory, time, money.

Nothing is run. The cut of rows into nodes, tasks and waves is that of the code itself (`tree`, `plan`); sizes of
messages, outcomes and files are measured on small ones that the code makes here; the few figures that need servers are
written down in `Figures`, with where they come from. Prices are assumptions: put in your own.

    python -m bench scale
    python -m bench.scale --specs 1e8 --spec-s 10 --workers 1000 --vcpu-hour 0.03
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from bench.ledgers import RUN as LEDGER_RUN
from bench.ledgers import make_scalars
from bench.measure import Record, Report
from scythe_cli.core.recursion import RecursionMap
from scythe_cli.engines.hatchet.nodes.children import MESSAGE_BYTES, MESSAGE_CHILDREN, Child, inline_specs
from scythe_cli.engines.hatchet.nodes.plan import Cut, Shape, auto_cut, count_tasks
from scythe_cli.engines.hatchet.nodes.plan import Fleet as NodeFleet
from scythe_cli.engines.hatchet.payloads import (
    LeafAssignment,
    LeafOutput,
    RowSet,
    RunPointer,
    pack_outcomes,
)
from scythe_cli.model.outcome_schema import OUTCOME_SCHEMA
from scythe_cli.model.spec_rows import with_meta
from scythe_cli.run.final.gather import gather
from scythe_cli.run.ledger import write_part
from scythe_cli.run.specs_file import write_new_specs
from scythe_cli.storage.opening import open_storage
from tests.made_runs import outcomes

TITLE = "scale: a run of 100,000,000 specs on 1,000 workers, simulated"
ORDER = 90

_RUN_ID = "energy/v1.0.0/2026-01-01_00-00-00"


@dataclass(frozen=True, slots=True)
class Prices:
    """Assumptions, in US dollars, written down in November 2026 after the list prices of large providers.

    They say nothing about what you pay: discounts, spot machines and regions change them by factors.
    """

    vcpu_hour: float = 0.04
    put_per_1000: float = 0.005  # PUT and LIST
    get_per_1000: float = 0.0004
    gb_month: float = 0.023
    engine_hour: float = 1.0  # engine and database, 8 vCPU and 32 GB for both
    egress_gb: float = 0.0  # workers beside the bucket


@dataclass(frozen=True, slots=True)
class Fleet:
    """Who runs the specs.

    Attributes:
        workers: Machines.
        slots: Specs at a time on each; a slot takes a vCPU.
        memory_gb: Of a worker, and of the machine that submits.
        disk_gb: Of a worker, for temporary files.
        engine_tasks_per_s: What the engine gets through. 75 to 80 were measured with Hatchet 0.91.5 and PostgreSQL 15
            on two cores (`bench hatchet`).
    """

    workers: int = 1000
    slots: int = 2
    memory_gb: float = 16.0
    disk_gb: float = 50.0
    engine_tasks_per_s: float = 75.0


@dataclass(frozen=True, slots=True)
class Case:
    """A run.

    Attributes:
        n: Specs.
        spec_s: Seconds that one takes.
        specs_per_task: As in experiments.toml; None for "auto".
        factor: As in experiments.toml.
        max_depth: As in experiments.toml.
        n_runs: Into how many runs the specs are divided, one after the other.
    """

    n: int = 100_000_000
    spec_s: float = 10.0
    specs_per_task: int | None = None
    factor: int = 10
    max_depth: int = 1
    n_runs: int = 1


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured. Bytes and seconds are for one row, unless they say otherwise.

    The first two are from `bench intake`, on two cores; the others are measured when this is run.
    """

    intake_s: float = 0.8e-6
    intake_bytes: float = 1.0
    gather_s: float = 0.0
    specs_pq_bytes: float = 0.0
    specs_copy_bytes: float = 0.0
    child_bytes: float = 0.0  # a task that holds its spec
    rows_child_bytes: float = 0.0  # a task that points to rows
    output_bytes: float = 0.0  # a task's answer without rows
    outcome_bytes: float = 0.0  # a row of it
    part_bytes: float = 0.0  # a part of the ledger, without rows
    part_row_bytes: float = 0.0
    node_row_bytes: float = 0.0  # of a node, for each row that it is in charge of
    spec_overhead_s: float = 0.00005  # beside the function


@dataclass(frozen=True, slots=True)
class Limit:
    """Something that there is not any amount of.

    Attributes:
        what: What it is.
        value: How much the run needs.
        most: How much there is.
        unit: Of both.
        setting: What moves it.
    """

    what: str
    value: float
    most: float
    unit: str
    setting: str

    @property
    def use(self) -> float:
        """How much of it is used; above 1 it does not fit."""
        return self.value / self.most


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would take.

    Attributes:
        nodes: Scatter/gather nodes.
        tasks: Tasks of specs.
        rows_per_task: Rows in most of them.
        parts: Parts of the ledger.
        messages: Messages between engine, nodes and workers.
        puts: Object requests that write or list.
        gets: Object requests that read.
        stored_gb: What the run's folder holds.
        database_gb: What the engine's database takes in.
        node_memory_gb: Of the largest node.
        hours: From the submission to the final tables.
        busy: The part of the fleet's time in which specs run.
        dollars: By kind.
        limits: The one that is hit first comes first.
    """

    nodes: int
    tasks: int
    rows_per_task: int
    parts: int
    messages: float
    puts: float
    gets: float
    stored_gb: float
    database_gb: float
    node_memory_gb: float
    hours: float
    busy: float
    dollars: dict[str, float]
    limits: list[Limit]


def estimate(case: Case, fleet: Fleet, figures: Figures, prices: Prices) -> Estimate:
    """Work out what a run would take; of several runs, all together, and memory and limits of one."""
    n = -(-case.n // case.n_runs)
    concurrency = fleet.workers * fleet.slots
    tree = RecursionMap(factor=case.factor, max_depth=case.max_depth)
    n_base, n_nodes = _nodes(tree, n)
    rows = -(-n // n_base)
    row_s = case.spec_s + figures.spec_overhead_s
    cut = _cut(case, rows, row_s, figures, NodeFleet(concurrency, n_base))
    tasks, parts = cut.tasks * n_base, cut.rounds * n_base
    is_fixed = case.specs_per_task is not None
    rows_per_task = cut.rows_per_task if is_fixed else n / tasks
    last_s = rows_per_task * row_s if is_fixed else max(row_s, NodeFleet(concurrency, n_base).task_s(0.0))
    inline = cut.rows_per_task == 1
    child = figures.child_bytes if inline else figures.rows_child_bytes
    output = figures.output_bytes + rows_per_task * figures.outcome_bytes
    per_message = max(1, min(MESSAGE_CHILDREN, int(MESSAGE_BYTES / (child + 200))))
    tasks_per_wave = tasks / parts
    spawns = parts * -(-tasks_per_wave // per_message) + n_nodes
    compute_s = n * row_s / concurrency
    engine_s = tasks / fleet.engine_tasks_per_s
    # the last tasks leave most of the fleet without work
    run_s = max(compute_s, engine_s) + last_s
    total_s = run_s + n * (figures.intake_s + figures.gather_s)
    pages = max(1.0, parts / 2 / 1000)  # of a list of the parts, halfway through
    looks = min(parts, n_base * run_s / 2.0) + run_s / 5.0  # by nodes, whether the run was cancelled; by who waits
    puts = (1 if is_fixed else 2) * parts + 10 + looks * pages  # of a round with `auto`, what is asked for as well
    gets = 2 * parts + fleet.workers + 20  # the gather, and who waits; the specs
    stored = n * (figures.specs_pq_bytes + 2 * figures.part_row_bytes) + parts * figures.part_bytes
    database = tasks * (child + output + 500)
    memory = (
        rows * figures.node_row_bytes
        + min(NodeFleet(concurrency, n_base).max_open, tasks / n_base) * 3 * child
        + (concurrency / n_base + tasks_per_wave) * output * 2
    )
    hours = total_s / 3600 * case.n_runs
    k = case.n_runs
    dollars = {
        "workers": fleet.workers * fleet.slots * (run_s / 3600) * k * prices.vcpu_hour,
        "requests": k * (puts * prices.put_per_1000 + gets * prices.get_per_1000) / 1000,
        "storage, a month": k * stored / 1e9 * prices.gb_month,
        "engine": hours * prices.engine_hour,
        "transfer": k * fleet.workers * n * figures.specs_pq_bytes / 1e9 * prices.egress_gb,
    }
    split = "divide the file into runs of one version: --bump keep"
    limits = [
        Limit(
            "engine: tasks a second that keep the fleet busy",
            concurrency / (row_s * rows_per_task),
            fleet.engine_tasks_per_s,
            "/s",
            "specs_per_task; cores of the engine's database",
        ),
        Limit("submitting: memory", n * figures.intake_bytes / 1e9 + 0.25, fleet.memory_gb, "GB", split),
        Limit("worker: disk for the copy of the specs", n * figures.specs_copy_bytes / 1e9, fleet.disk_gb, "GB", split),
        Limit("node: memory", memory / 1e9, fleet.memory_gb / 2, "GB", "factor and max_depth: more and smaller nodes"),
        Limit("engine: database", database / 1e9, 500.0, "GB", "specs_per_task"),
        Limit("ledger: parts, each listed again and again", parts, 1_000_000.0, "", "specs_per_task"),
        Limit("message of children", per_message * (child + 200), 4_000_000.0, "bytes", "none: it is kept by the code"),
        Limit("engine: days that it keeps a run", run_s / 86_400, 30.0, "days", split),
    ]
    return Estimate(
        nodes=n_nodes * k,
        tasks=tasks * k,
        rows_per_task=cut.rows_per_task,
        parts=parts * k,
        # a request for children; then for each task its assignment, its start, its end, and its answer to the node
        messages=k * (spawns + 4 * tasks),
        puts=k * puts,
        gets=k * gets,
        stored_gb=k * stored / 1e9,
        database_gb=k * database / 1e9,
        node_memory_gb=memory / 1e9,
        hours=hours,
        busy=compute_s / run_s,
        dollars=dollars,
        limits=sorted(limits, key=lambda limit: -limit.use),
    )


def _nodes(tree: RecursionMap, n: int) -> tuple[int, int]:
    """How many nodes run specs themselves, and how many there are in all."""
    if tree.is_base_case(n):
        return 1, 1
    level, above = 1, 0
    node = tree
    while not node.is_base_case(n):
        above += level
        level *= tree.factor
        node = node.children()[0]
    return level, above + level


def _cut(case: Case, rows: int, row_s: float, figures: Figures, fleet: NodeFleet) -> Cut:
    """How a node cuts its rows."""
    if case.specs_per_task is not None:
        return Cut(*count_tasks(rows, Shape(case.specs_per_task)), case.specs_per_task)
    return auto_cut(rows, row_s, fleet, figures.outcome_bytes)


# ------------------------------------------------------------------------------------------------------- calibration


def calibrate(n: int = 200_000) -> Figures:
    """Measure what can be measured without servers."""
    figures = Figures()
    with TemporaryDirectory(prefix="scythe-bench-") as name:
        folder = Path(name)
        draw = np.random.default_rng(0)
        inputs = pa.table(
            {"u_value": draw.random(n), "azimuth": draw.random(n) * 360, "storeys": draw.integers(1, 60, n)}
        )
        write_new_specs(folder / "specs.pq", inputs, _RUN_ID, "0" * 32, inputs.column_names, OUTCOME_SCHEMA)
        specs = with_meta(inputs, _RUN_ID, "0" * 32)
        small, large = (_part_size(folder, rows) for rows in (1_000, 100_000))
        part_row = (large - small) / 99_000
        make_scalars(folder / "ledger", n, n // 1000)
        began_s = time.perf_counter()
        gather(open_storage(folder / "ledger"), LEDGER_RUN)
        gather_s = time.perf_counter() - began_s
        figures = replace(
            figures,
            gather_s=gather_s / n,
            specs_pq_bytes=(folder / "specs.pq").stat().st_size / n,
            specs_copy_bytes=specs.nbytes / n,
            part_row_bytes=part_row,
            part_bytes=max(0.0, small - 1_000 * part_row),
        )
    one, many = _answer_size(1), _answer_size(1_000)
    tracemalloc.start()
    kept = list(range(1_000_000, 2_000_000))
    row_bytes = tracemalloc.get_traced_memory()[0] / len(kept)
    tracemalloc.stop()
    return replace(
        figures,
        child_bytes=_child_size(specs.slice(0, 1)),
        rows_child_bytes=_child_size(None),
        outcome_bytes=(many - one) / 999,
        output_bytes=one - (many - one) / 999,
        node_row_bytes=row_bytes,
    )


def _part_size(folder: Path, rows: int) -> int:
    storage = open_storage(folder / "parts")
    write_part(storage, LEDGER_RUN, f"p{rows}", outcomes(range(rows)))
    return storage.size(LEDGER_RUN.outcome_part(f"p{rows}"))


def _answer_size(rows: int) -> int:
    packed = pack_outcomes([outcomes(range(rows))])
    return len(LeafOutput(n=rows, states={"succeeded": rows}, outcomes=packed, busy_s=1.0).model_dump_json())


def _child_size(spec: pa.Table | None) -> int:
    """The size of a request for a task, as nodes make it."""
    pointer = RunPointer(
        storage="s3://a-bucket-of-some-name/scythe",
        experiment_id=_RUN_ID,
        experiment="energy",
        root_workflow_run_id="0" * 32,
        session="hatchet-20260101T000000-00000000",
        n_specs=100_000_000,
        schema_fingerprint="0" * 16,
        code_fingerprint="0" * 16,
        execution_timeout_s=3600.0,
        schedule_timeout_s=3600.0,
    )
    part = f"{pointer.session}-n0-w000000-t0000"
    if spec is None:
        rows = RowSet(start=12_345_678, step=10, n=1000)
        given = LeafAssignment(run=pointer, rows=rows, part=part).model_dump(mode="json", exclude_defaults=True)
        child = Child("energy", json.dumps({"scythe_rows": given}), dict(pointer.metadata))
    else:
        assignment = LeafAssignment(run=pointer, rows=RowSet(start=12_345_678, n=1), part=part)
        metadata = {**pointer.metadata, "sort_index": "12345678", "scythe_leaf": assignment.to_metadata()}
        child = Child("energy", inline_specs(spec)[0] or "", metadata)
    return len(child.input) + len(json.dumps(child.metadata))


# ------------------------------------------------------------------------------------------------------------ report


def run(quick: bool) -> Report:
    figures = calibrate(50_000 if quick else 200_000)
    cases: dict[str, Case] = {
        "1 ms each, auto": Case(spec_s=0.001),
        "1 s each, auto": Case(spec_s=1.0),
        "1 s each, 100 a task": Case(spec_s=1.0, specs_per_task=100),
        "10 s each, auto": Case(spec_s=10.0),
        "10 s each, 30 a task": Case(spec_s=10.0, specs_per_task=30),
        "10 s each, 30 a task, 100 nodes": Case(spec_s=10.0, specs_per_task=30, factor=100),
        "10 s each, 30 a task, 10 runs of 10,000,000": Case(spec_s=10.0, specs_per_task=30, n_runs=10),
        "1,000,000 of 10 min each, auto: 1 a task": Case(n=1_000_000, spec_s=600.0),
    }
    fleet, prices = Fleet(), Prices()
    records: list[Record] = []
    first_limits: list[str] = []
    for name, case in cases.items():
        done = estimate(case, fleet, figures, prices)
        first = done.limits[0]
        records.append(
            Record(
                case="100,000,000 specs, unless it says otherwise, on 1,000 workers of 2 slots",
                subject=name,
                seconds=done.hours * 3600,
                n=case.n,
                more={
                    "hours": round(done.hours, 1),
                    "fleet busy": f"{done.busy:.0%}",
                    "tasks": done.tasks,
                    "messages": round(done.messages),
                    "writes, lists": round(done.puts),
                    "reads": round(done.gets),
                    "parts": done.parts,
                    "node GB": round(done.node_memory_gb, 2),
                    "database GB": round(done.database_gb, 1),
                    "dollars": round(sum(done.dollars.values())),
                },
            )
        )
        first_limits.append(
            f"{name}: hit first, {first.use:.2f} of it: {first.what}, {first.value:,.4g} of {first.most:,.4g} "
            f"{first.unit}; moved by {first.setting}"
        )
    notes = [f"{field.name} = {getattr(figures, field.name):.4g}" for field in fields(figures)]
    return [*records, *first_limits, "the figures behind this: " + ", ".join(notes)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=(__doc__ or "").splitlines()[0])
    for kind in (Case, Fleet, Prices):
        for field in fields(kind):
            default: Any = field.default
            convert = float if default is None or isinstance(default, float) else lambda text: int(float(text))
            name = "specs" if field.name == "n" else field.name.replace("_", "-")
            parser.add_argument(f"--{name}", dest=field.name, type=convert, default=default, help=f"{default}")
    given = vars(parser.parse_args())
    if given["specs_per_task"] is not None:
        given["specs_per_task"] = int(given["specs_per_task"])
    case, fleet, prices = (kind(**{f.name: given[f.name] for f in fields(kind)}) for kind in (Case, Fleet, Prices))
    done = estimate(case, fleet, calibrate(), prices)
    for field in fields(done):
        value = getattr(done, field.name)
        if field.name == "dollars":
            print(
                f"{'dollars':<16}{sum(value.values()):>16,.0f}   "
                + ", ".join(f"{k} {v:,.2f}" for k, v in value.items())
            )
        elif field.name != "limits":
            print(f"{field.name:<16}{value:>16,.{0 if isinstance(value, int) or value > 1000 else 3}f}")
    print()
    for limit in done.limits:
        print(f"{limit.use:>9.2f} × {limit.what}: {limit.value:,.4g} of {limit.most:,.4g} {limit.unit}")
        print(f"{'':>12}moved by {limit.setting}")


if __name__ == "__main__":
    main()
