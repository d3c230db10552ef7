"""`allocate --plan`, `--reuse` and `--dedupe`, and `explain`: what they do, and what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Run


def test_a_plan_says_unknown_and_writes_nothing(scythe: Run, project: Path) -> None:
    ran = scythe("allocate", "good.csv", "--plan")
    assert ran.code == 0, ran.err
    assert ran.out == (
        "squares v1.0.0: 3 cases to run; nothing has run yet\n"
        "file       good.csv\n"
        "cases      3\n"
        "defaults   mode\n"
        "uploads    none\n"
        "engine     local, 1 process\n"
        "parts      unknown\n"
        "one case   unknown\n"
        "all cases  unknown\n"
        "expected   unknown\n"
        "\n"
        "Next: add --pilot 20 to time 20 random cases\n"
    )
    assert not (project / "runs").exists()
    document = scythe("allocate", "good.csv", "--plan", "--json", "--engine", "hatchet").json
    assert document["expected_s"] is None
    assert document["tasks"] is None
    assert document["nodes"] == 1
    assert not (project / "runs").exists()


def test_a_pilot_runs_rows_and_keeps_nothing(scythe: Run, project: Path) -> None:
    ran = scythe("allocate", "bad.csv", "--plan", "--pilot", "20", "--json")
    assert ran.code == 1  # two of the four rows fail
    pilot = ran.json["pilot"]
    assert pilot["rows"] == [0, 1, 2, 3]
    assert pilot["counts"]["failed"] == 2
    assert [(f["error_type"], f["rows"]) for f in pilot["failures"]] == [("ValueError", [1, 3])]
    assert ran.json["durations"]["n"] == 4
    assert ran.json["expected_s"] > 0
    assert not (project / "runs").exists()

    ran = scythe("allocate", "good.csv", "--plan", "--pilot", "1", "--seed", "4")
    assert ran.code == 0
    assert "(1 of the pilot)" in ran.out
    assert "pilot: 1 row in " in ran.out
    assert "1 succeeded" in ran.out


def test_a_second_allocation_runs_what_is_new(scythe: Run, project: Path) -> None:
    (project / "more.csv").write_text("x\n3\n2\n7\n7\n")
    first = scythe("allocate", "good.csv", "--json").json["experiment_id"]

    plan = scythe("allocate", "more.csv", "--plan", "--reuse", "--dedupe")
    assert plan.out.startswith("squares v1.1.0: 1 case to run; nothing has run yet\n")
    assert "cases      4 (2 reused, 1 identical to an earlier one)\n" in plan.out
    assert f"(3 of {first})" in plan.out

    ran = scythe("allocate", "more.csv", "--reuse", "--dedupe")
    assert ran.code == 0, ran.err
    assert "4 succeeded" in ran.out
    assert f"note: 2 of 4 cases are taken over from {first}\n" in ran.err
    assert "note: 1 case is the same as an earlier row and gets its outcome\n" in ran.err
    summary = scythe("results", "show", "--json").json
    assert [row["square"] for row in summary["head"]] == [9, 4, 49, 49]

    told = scythe("explain", "--row", "0")
    assert told.code == 0
    assert told.out.splitlines()[0].endswith("row 0: reused")
    assert f"its outcome was taken over from row 2 of {first}, attempt 1" in told.out
    told = scythe("explain", "--row", "2")
    assert told.out.splitlines()[0].endswith("row 2: run")
    assert "from the nearest, row 2 of" in told.out
    assert told.out.splitlines()[3:] == ["field  here  there", "x      7     3"]
    assert scythe("explain", "--row", "3", "--json").json["reason"] == "duplicate"

    work = project / "work.py"
    work.write_text(work.read_text().replace("case.x**2", "case.x**3"))
    again = scythe("allocate", "good.csv", "--plan", "--reuse", "--json").json
    assert (again["n_reused"], again["n_to_run"]) == (0, 3)
    assert any("the code or the models have changed" in notice for notice in again["notices"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pilot", "3"], "--pilot needs --plan"),
        (["--ignore-code"], "--ignore-code needs --reuse"),
        (["--reuse-from", "v9"], "'v9' is not a version"),
        (["--plan", "--reuse-from", "v9.0.0"], "squares has no version v9.0.0"),
    ],
)
def test_mistakes(scythe: Run, project: Path, arguments: list[str], message: str) -> None:
    ran = scythe("allocate", "good.csv", *arguments)
    assert ran.code == 2
    assert message in ran.err
    assert not (project / "runs").exists()
