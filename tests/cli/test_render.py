"""What records look like: 80 columns on a terminal, nothing cut where it is piped."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from scythe_cli.analysis.records import TableColumn, TableSummary
from scythe_cli.cli.output import Output, clean
from scythe_cli.cli.render.project import checks_list, experiments_table, fields_table
from scythe_cli.cli.render.run import counts_table, error_groups, result_lines, spec_error, states_line
from scythe_cli.cli.render.runs import runs_table
from scythe_cli.cli.render.table import columns_table, head_table
from scythe_cli.cli.render.text import facts, number, place, plural
from scythe_cli.core.quantities import format_rate as rate
from scythe_cli.core.records import StateCounts
from scythe_cli.core.states import State
from scythe_cli.model.describe import ExperimentRecord, FieldRecord
from scythe_cli.run.records import ErrorGroup, RunRecord, SpecError
from scythe_cli.services.records import AllocateResult, DoctorCheck


def shown(*renderables: RenderableType, width: int = 80) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, markup=False, emoji=False, highlight=False)
    for renderable in renderables:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def column(name: str, dtype: str = "Float64", *, is_index: bool = False, **more: Any) -> TableColumn:
    return TableColumn(name=name, dtype=dtype, is_index=is_index, n_null=0, **more)


def summary(n_inputs: int = 3) -> TableSummary:
    inputs = [f"input_{n}" for n in range(n_inputs)]
    head = [
        {
            "experiment_id": "e/v1.0.0/2026-01-01_00-00-00",
            "sort_index": row,
            "workflow_run_id": "w" * 32,
            **dict.fromkeys(inputs, row * 1.5),
            "fixed": "same",
            "yield": 1234.56789 * row,
        }
        for row in range(3)
    ]
    return TableSummary(
        experiment_id="e/v1.0.0/2026-01-01_00-00-00",
        name="scalars",
        uri="/x",
        n_rows=3,
        columns=[
            column("experiment_id", "String", is_index=True, n_unique=1),
            column("sort_index", "Int64", is_index=True, n_unique=3, min=0, mean=1.0, max=2),
            column("workflow_run_id", "String", is_index=True, n_unique=3),
            column("fixed", "String", is_index=True, n_unique=1),
            *[column(name, is_index=True, n_unique=3) for name in inputs],
            column("yield", n_unique=3, min=0.0, mean=1234.56789, max=2469.13578, unit="kWh"),
        ],
        head=head,
    )


def test_the_head_shows_values_first_then_inputs_that_vary_then_the_rest() -> None:
    table, omitted = head_table(summary(), width=None)

    assert omitted == []
    assert shown(table, width=1000).splitlines()[0].split() == [
        *["sort_index", "yield", "input_0", "input_1", "input_2", "fixed"]
    ]


def test_the_head_fits_the_terminal_and_says_what_does_not() -> None:
    table, omitted = head_table(summary(n_inputs=12), width=80)

    text = shown(table)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[0].startswith("sort_index    yield  input_0")
    assert "input_11" in omitted


def test_levels_of_a_table_stand_beside_the_row() -> None:
    rows = [{"sort_index": n // 2, "a": 5.0, "month": n % 2 + 1, "energy": n * 1.0} for n in range(4)]
    names = [("sort_index", True), ("a", True), ("month", True), ("energy", False)]
    table, _ = head_table(
        TableSummary(
            experiment_id="e",
            name="monthly",
            uri="u",
            n_rows=4,
            columns=[column(name, is_index=is_index) for name, is_index in names],
            head=rows,
        ),
        80,
    )

    assert shown(table).splitlines()[0].split() == ["sort_index", "month", "energy", "a"]


def test_columns_have_type_unit_and_range() -> None:
    lines = shown(columns_table(summary())).splitlines()

    assert lines[0].split() == ["column", "type", "unit", "min", "mean", "max", "distinct"]
    assert lines[-1].split() == ["yield", "float64", "kWh", "0", "1234.57", "2469.14", "3"]


def test_a_table_without_rows_or_columns_is_no_trouble() -> None:
    empty = TableSummary(experiment_id="e", name="errors", uri="u", n_rows=0, columns=[column("a")], head=[])

    assert shown(head_table(empty, 80)[0]).split() == ["a"]
    assert shown(columns_table(empty))


@pytest.mark.parametrize("state", list(State))
def test_counts_have_all_states_and_the_total(state: State) -> None:
    lines = shown(counts_table(StateCounts(**{state.value: 7}))).splitlines()

    assert [line.split()[0] for line in lines] == [*State, "total"]
    assert f"{state.value:<9}  7  {'█' * 32}  100.0 %" in "\n".join(lines)


def test_few_among_many_are_still_seen() -> None:
    text = shown(counts_table(StateCounts(succeeded=9_999_999, failed=1)))

    assert "succeeded   9,999,999" in text
    assert "▏" in text
    assert "<0.1 %" in text
    assert "100.0 %" in text


def test_states_in_one_line() -> None:
    assert shown(states_line(StateCounts(succeeded=1200, timeout=1))) == "1,200 succeeded · 1 timeout"
    assert shown(states_line(StateCounts())) == "no cases"


def test_error_groups_show_type_message_place_and_rows() -> None:
    group = ErrorGroup(
        state=State.FAILED,
        error_type="ValueError",
        place="/a/b.py:3 in f",
        message="[red]1[/]\n2\n3\n4\n5\n6\x1b[0m",
        count=30,
        rows=list(range(20)),
    )

    assert shown(error_groups([group])) == (
        "30 × ValueError  failed\n    [red]1[/]\n    2\n    3\n    4\n    … 2 more lines\n"
        "    at /a/b.py:3 in f\n    rows 0, 1, 2, 3, 4, 5, 6, 7 and 22 more"
    )


def test_a_spec_without_a_traceback_shows_its_message() -> None:
    error = SpecError(
        sort_index=4,
        state=State.TIMEOUT,
        attempt=2,
        error_type="TimeoutError",
        message="longer than 2 s",
        traceback=None,
        duration_s=2.0,
    )

    assert shown(spec_error(error)) == "row 4  timeout, attempt 2, 2.0 s\nTimeoutError: longer than 2 s"


def test_fields_show_type_bounds_unit_and_default() -> None:
    fields = [
        FieldRecord(name="a.b", type="float", description="Width [m]", unit="m", bounds="0 ≤ x ≤ 1"),
        FieldRecord(name="c", type="text or empty", required=False, default=None),
        FieldRecord(name="long", type="int", description="many words " * 12, required=False, default=3),
    ]

    text = shown(fields_table(fields, are_inputs=True))
    assert text.startswith(
        "a.b   float, 0 ≤ x ≤ 1 [m] · required\n      Width\nc     text or empty · default empty\n"
        "long  int · default 3\n      many words"
    )
    assert max(map(len, text.splitlines())) <= 80
    assert "required" not in shown(fields_table(fields, are_inputs=False))


def test_experiments_and_runs() -> None:
    fine = ExperimentRecord(
        name="a", entrypoint="m:f", description="", kind="function", execution_timeout_s=1, retries=0
    )
    assert shown(experiments_table([fine, fine.model_copy(update={"problem": "boom"})])).splitlines()[2] == (
        "a                            m:f"
    )
    run = RunRecord(
        experiment_id="a/v1.0.0/2026-01-01_00-00-00",
        experiment="a",
        version="v1.0.0",
        timestamp=datetime(2026, 1, 1, tzinfo=UTC),
        uri="u",
        n_specs=None,
        engine=None,
        complete=False,
    )
    done = run.model_copy(
        update={
            "state": "failed",
            "counts": StateCounts(succeeded=3, failed=1),
            "duration_s": 61.0,
            "sampling_file": "cases.csv",
        }
    )
    lines = shown(*runs_table([run, done], None), width=120).splitlines()
    assert lines[1].startswith("· a/v1.0.0/2026-01-01_00-00-00  ")
    assert "✗ a/v1.0.0/2026-01-01_00-00-00  3 succeeded, 1 failed  1m 01s" in lines[2]
    assert lines[2].endswith(" d ago  cases.csv")
    narrow = shown(*runs_table([done], 40)).splitlines()
    assert narrow[0] == "✗ a/v1.0.0/2026-01-01_00-00-00"
    assert narrow[1].startswith("  3 succeeded, 1 failed · 1m 01s · ")


def test_checks_have_a_mark_and_a_remedy() -> None:
    checks = [
        DoctorCheck(name="configuration", ok=True, detail="fine"),
        DoctorCheck(name="storage", ok=False, detail="no room\nat all", remedy="Make room.", exit_code=4),
    ]

    assert shown(checks_list(checks, None)) == (
        "✓ configuration  fine\n✗ storage        no room\n                 at all\n                 → Make room."
    )


def test_checks_wrap_at_words_on_a_terminal() -> None:
    check = DoctorCheck(name="storage", ok=True, detail="a b c d e " * 5 + "/a/path/that/is/long" * 3)

    lines = shown(checks_list([check], 40), width=200).splitlines()
    assert lines[0] == "✓ storage  a b c d e a b c d e a b c d e"
    assert lines[2] == "           " + "/a/path/that/is/long" * 3


def test_facts_leave_out_what_is_not_known() -> None:
    assert shown(facts([("rate", None), ("folder", "/a b"), ("to", "x\ny")])) == "folder  /a b\nto      x\n        y"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (1 / 3, "0.333333"),
        (1e-12, "1e-12"),
        (float("nan"), "nan"),
        (12, "12"),
        ("a\nb", "a⏎b"),
    ],
)
def test_cells(value: Any, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("per_s", "text"), [(41.234, "41.2/s"), (0.5, "30/min"), (0.001, "3.6/h"), (1234.0, "1.23e+03/s")]
)
def test_rates(per_s: float, text: str) -> None:
    assert rate(per_s) == text


def test_words() -> None:
    assert [plural(n, "spec") for n in (0, 1, 12_000)] == ["0 specs", "1 spec", "12,000 specs"]
    assert clean("a\x1b[1m\tb\r\n\x9b") == "a\\x1b[1m\tb\\x0d\n\\x9b"


def test_places_below_this_folder_are_shown_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert place(str(tmp_path / "runs/a")) == "runs/a"
    assert place("/elsewhere") == "/elsewhere"
    assert place("s3://b/c") == "s3://b/c"


def test_documents_are_valid_json(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    table = summary().model_copy(
        update={
            "head": [{"a": float("nan"), "b": float("-inf"), "c": b"\xff", "d": datetime(2026, 1, 1), "e": Path("x")}]
        }
    )
    Output(as_json=True, quiet=False).document([table])

    head = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)[0]["head"][0]
    assert (head["a"], head["b"], head["d"], head["e"]) == (None, None, "2026-01-01T00:00:00", "x")


def result(counts: StateCounts, **changes: Any) -> AllocateResult:
    return AllocateResult(
        experiment_id="e/v1.0.0/2026-01-01_00-00-00",
        experiment="e",
        version="v1.0.0",
        timestamp=datetime(2026, 1, 1, tzinfo=UTC),
        uri="s3://bucket/e/v1.0.0/2026-01-01_00-00-00",
        engine="local",
        workflow_run_id="w",
        n_specs=counts.total,
        counts=counts,
        duration_s=2.0,
        tables={"scalars": "scalars.pq", "errors": "errors.pq"},
        **changes,
    )


@pytest.mark.parametrize(
    ("counts", "next_command"),
    [
        (StateCounts(succeeded=3), "scythe results show"),
        (StateCounts(succeeded=2, failed=1), "scythe errors"),
        (StateCounts(succeeded=1, failed=1, pending=1), "scythe errors"),
        (StateCounts(succeeded=2, pending=1), "scythe retry e/v1.0.0/2026-01-01_00-00-00"),
    ],
)
def test_what_came_of_a_run_ends_with_the_command_that_helps(counts: StateCounts, next_command: str) -> None:
    lines = [line for part in result_lines(result(counts)) for line in shown(part).splitlines()]

    assert lines[0] == "e v1.0.0: 3 cases in 2.0 s"
    assert "tables  scalars, errors" in lines
    assert lines[-1] == f"Next: {next_command}"


def test_failures_of_a_run_are_listed_with_it() -> None:
    group = ErrorGroup(error_type="ValueError", message="no", place=None, state=State.FAILED, count=1, rows=[7])
    lines = [shown(part) for part in result_lines(result(StateCounts(succeeded=2, failed=1), errors=[group]))]

    assert "1 case did not succeed" in lines
    assert any("1 × ValueError  failed\n    no\n    row 7" in text for text in lines)
