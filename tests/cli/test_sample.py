"""`scythe sample`: what it writes, what it says, and what becomes of the design."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import yaml

import scythe_cli

from .conftest import Run


@pytest.mark.parametrize("name", ["new cases.csv", "new.parquet"])
def test_a_sampled_file_is_valid_and_its_design_is_in_the_manifest(scythe: Run, project: Path, name: str) -> None:
    ran = scythe("sample", "squares", "--design", "lhs", "-n", "6", "--seed", "3", "-o", name)
    assert ran.code == 0, ran.err
    assert ran.out.startswith(f"{name}: 6 cases for squares\ndesign  Latin hypercube, seed 3\n")
    assert "x       0 ≤ x ≤ 100" in ran.out
    assert "defaults     mode" in ran.out
    assert ran.out.endswith(f"Next: scythe allocate {name}\n")
    assert ran.err == "note: mode has no bounds: it keeps its default, and --set lets one vary\n"

    assert scythe("validate", name).code == 0
    allocated = scythe("allocate", name, "--json")
    assert allocated.code == 0
    assert allocated.json["notices"] == []
    manifest = yaml.safe_load(Path("runs", allocated.json["experiment_id"], "manifest.yml").read_bytes())
    design = manifest["design"]
    assert (design["design"], design["n"], design["seed"], design["rows"]) == ("lhs", 6, 3, 6)
    assert [field["name"] for field in design["fields"]] == ["x"]
    assert "scipy" in design["versions"]
    assert scythe_cli.load_run().manifest.design.seed == 3  # type: ignore[union-attr]


def test_a_file_that_was_edited_says_so(scythe: Run, project: Path) -> None:
    assert scythe("sample", "-n", "3", "-o", "new.csv", "-q").out == "new.csv\n"
    Path("new.csv").write_text("x\n1\n")
    allocated = scythe("allocate", "new.csv", "--json")
    assert allocated.json["notices"] == ["new.csv has changed since it was sampled, so new.csv.design.yml is ignored"]
    assert scythe_cli.load_run().manifest.design is None  # type: ignore[union-attr]


def test_a_drawn_seed_is_told(scythe: Run, project: Path) -> None:
    first = scythe("sample", "-n", "5", "-o", "a.csv", "--json").json
    seed = first["design"]["seed"]
    assert scythe("sample", "-n", "5", "-o", "b.csv", "--seed", seed, "-q").code == 0
    assert Path("a.csv").read_text() == Path("b.csv").read_text()
    assert first["design_file"] == "a.csv.design.yml"
    assert first["quality"]["max_correlation"] is None


def test_everything_that_can_be_said_of_fields(scythe: Run, project: Path) -> None:
    ran = scythe(
        "sample", "-d", "grid", "-o", "g.csv", "--set", "x=0:10", "--levels", "x=3", "--set", "mode=fine,raise"
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.err == ""
    assert "x       0, 5, 10" in ran.out
    assert "mode    fine, raise" in ran.out
    assert pl.read_csv("g.csv").rows() == [(x, m) for x in (0.0, 5.0, 10.0) for m in ("fine", "raise")]

    ran = scythe(
        "sample", "-o", "t.csv", "-n", "4", "--triangular", "x=10:20:60", "--fix", "mode=fine", "--seed", "1"
    )  # fmt: skip
    assert "x       10 ≤ x ≤ 60  triangular, peak 20" in ran.out
    assert "fixed        mode = fine" in ran.out
    ran = scythe("sample", "-o", "n.csv", "-n", "5", "--normal", "x=30:5", "--design", "sobol")
    assert "normal, mean 30, sd 5" in ran.out
    assert "note: 5 is not a power of two" in ran.err
    ran = scythe("sample", "-o", "l.csv", "--design", "oat", "--set", "x=1:100", "--log", "x", "--levels", "3")
    assert pl.read_csv("l.csv")["x"].to_list() == [10, 1, 100]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "3"], "Missing option '--output'"),
        (["-n", "3", "-o", "good.csv"], "good.csv already exists"),
        (["-n", "3", "-o", "a.xlsx"], "a.xlsx: its ending is '.xlsx'"),
        (["-o", "a.csv"], "lhs needs a number of rows"),
        (["cubes", "-n", "3", "-o", "a.csv"], "no experiment 'cubes'"),
        (["-n", "3", "-o", "a.csv", "--set", "x"], "--set x: there is no '='"),
        (["-n", "3", "-o", "a.csv", "--set", "x=1", "--set", "x=2"], "--set: x is set twice"),
        (["-d", "grid", "-o", "a.csv", "--levels", "x=many"], "--levels x=many: 'many' is not a number"),
        (["-n", "3", "-o", "a.csv", "--set", "x=0:200"], "200.0 is out of the model's bounds: 0.0 ≤ x ≤ 100.0"),
    ],
)
def test_mistakes(scythe: Run, project: Path, arguments: list[str], message: str) -> None:
    before = sorted(project.iterdir())
    ran = scythe("sample", *arguments)
    assert ran.code == 2
    assert message in ran.err
    assert ran.out == ""
    assert [p for p in sorted(project.iterdir()) if p.name != "__pycache__"] == before


def test_the_library_does_the_same(project: Path) -> None:
    result = scythe_cli.sample("a.pq", n=4, design="sobol", seed=1, set={"x": (10, 20)}, fix={"mode": "fine"})
    assert result.n_specs == 4
    assert result.columns == ["x", "mode"]
    assert pl.read_parquet("a.pq")["x"].is_between(10, 20).all()
