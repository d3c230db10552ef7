"""Tables and output files in a folder: whole, safe, and gone on with after an interrupt."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import polars as pl
import pytest

from scythe_cli.analysis.results import spreadsheets
from scythe_cli.analysis.results.fetching import FetchProgress
from scythe_cli.analysis.run import Run
from scythe_cli.errors import NotFoundError, StorageError, UsageError
from scythe_cli.storage.opening import open_storage
from tests.projects import tree
from tests.result_runs import Case, finished_run, layout


@pytest.fixture
def run(tmp_path: Path) -> Run:
    storage = open_storage(tmp_path / "runs")
    where = layout()
    answers = []
    for i in range(4):
        key = where.result_file("picture", f"root-{i:08d}", ".txt")
        storage.write_bytes(key, f"picture {i}".encode())
        answers.append({"power": i * 1.5, "note": ["=1+1", "-5", "@x", "plain"][i], "picture": storage.uri(key)})
    return finished_run(storage, tmp_path / "scratch", [Case(tilt=i) for i in range(4)], answers, where)


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))


def test_output_files_are_copied_beside_the_tables(run: Run, tmp_path: Path) -> None:
    seen: list[FetchProgress] = []
    fetched = run.fetch(tmp_path / "out", tables=["scalars"], files=True, progress=seen.append)

    assert names(tmp_path / "out") == [*(f"files/picture/root-{i:08d}.txt" for i in range(4)), "scalars.pq"]
    assert (tmp_path / "out" / "files" / "picture" / "root-00000002.txt").read_text() == "picture 2"
    assert [file.name for file in fetched][:2] == ["scalars", "picture/root-00000000.txt"]
    assert (seen[-1].done, seen[-1].total) == (4, 4)


def test_a_second_fetch_copies_only_what_is_missing_or_new(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run.fetch(out, files=True)
    (out / "files" / "picture" / "root-00000001.txt").unlink()
    before = tree(out)

    again = run.fetch(out, files=True)

    assert [file.name for file in again if not file.skipped] == ["picture/root-00000001.txt"]
    after = tree(out)
    assert {path for path in after if before.get(path) != after[path]} == {
        "files/picture/root-00000001.txt",
        ".scythe-fetched",
    }


def test_a_fetch_that_was_cut_off_goes_on(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def stop(progress: FetchProgress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.fetch(out, progress=stop)
    receipts = out / ".scythe-fetched"
    receipts.write_text(receipts.read_text()[:-20])  # a process that was killed while it wrote
    run.fetch(out, overwrite=True)
    assert names(out) == ["errors.pq", "result_file_refs.pq", "scalars.pq"]
    assert pl.read_parquet(out / "scalars.pq").equals(run.scalars())
    assert all(file.skipped for file in run.fetch(out))


def test_files_whose_receipts_were_lost_are_known_by_what_is_in_them(run: Run, tmp_path: Path) -> None:
    """After a loss of power, files may be in place and what was noted of them not on the disk."""
    out = tmp_path / "out"
    run.fetch(out)
    (out / ".scythe-fetched").unlink()
    assert {file.name for file in run.fetch(out)} == {"errors", "result_file_refs", "scalars"}
    assert all(file.skipped for file in run.fetch(out))
    (out / ".scythe-fetched").unlink()
    data = (out / "scalars.pq").read_bytes()
    (out / "scalars.pq").write_bytes(data[:-1] + b"?")
    with pytest.raises(UsageError, match="from elsewhere or changed since"):
        run.fetch(out)
    assert names(out) == ["errors.pq", "result_file_refs.pq", "scalars.pq"], "nothing else is left there"


def test_other_files_are_not_replaced_unasked(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "scalars.pq").write_text("mine")
    with pytest.raises(UsageError, match=r"already has scalars\.pq, from elsewhere or changed since"):
        run.fetch(out, tables=["scalars"])
    assert (out / "scalars.pq").read_text() == "mine"
    run.fetch(out, tables=["scalars"], overwrite=True)
    # a file of the same size that was changed since is told from the one that was fetched
    data = (out / "scalars.pq").read_bytes()
    (out / "scalars.pq").write_bytes(data[::-1])
    with pytest.raises(UsageError, match="changed since"):
        run.fetch(out, tables=["scalars"])


def test_tables_of_another_run_are_not_taken_for_this_one(run: Run, tmp_path: Path) -> None:
    other = finished_run(run.storage, tmp_path / "s2", [Case(tilt=9)], [{"power": 1.0}], layout("v1.1.0", 7))
    run.fetch(tmp_path / "out", tables=["scalars"])
    with pytest.raises(UsageError, match="has scalars"):
        other.fetch(tmp_path / "out", tables=["scalars"])


def test_csv_with_and_without_its_formulas(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run.fetch(out, tables=["scalars"], format="csv")
    text = (out / "scalars.csv").read_text()
    assert "'=1+1" in text
    assert "'@x" in text
    assert ",-5," in text
    with pytest.raises(UsageError, match="already"):
        run.fetch(out, tables=["scalars"], format="csv", raw_cells=True)
    run.fetch(out, tables=["scalars"], format="csv", raw_cells=True, overwrite=True)
    assert "'" not in (out / "scalars.csv").read_text()


def test_a_workbook_has_a_sheet_for_each_table(run: Run, tmp_path: Path) -> None:
    (fetched,) = run.fetch(tmp_path / "out", format="xlsx")
    assert names(tmp_path / "out") == ["results.xlsx"]
    with ZipFile(fetched.path) as book:
        listed = book.read("xl/workbook.xml").decode()
        sheet = book.read("xl/worksheets/sheet3.xml").decode()
        styles = book.read("xl/styles.xml").decode()
    assert [f'name="{name}"' in listed for name in ("errors", "result_file_refs", "scalars")] == [True] * 3
    assert "<f>" not in sheet  # no formula
    assert "=1+1" in sheet
    assert 'quotePrefix="1"' in styles
    assert "<v>4.5</v>" in sheet
    assert run.fetch(tmp_path / "out", format="xlsx")[0].skipped
    (one,) = run.fetch(tmp_path / "out", format="xlsx", tables=["scalars"])
    assert Path(one.path).name == "scalars.xlsx"


def test_a_table_that_no_sheet_holds(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreadsheets, "MAX_SHEET_ROWS", 4)
    with pytest.raises(UsageError, match=r"has 4 rows; a sheet of an Excel workbook takes 3 rows") as caught:
        run.fetch(tmp_path / "out", format="xlsx")
    assert "--format csv" in (caught.value.hint or "")
    assert names(tmp_path / "out") == []


def test_partial_tables_with_files(run: Run, tmp_path: Path) -> None:
    run.storage.delete_tree(run.layout.final)
    fetched = run.fetch(tmp_path / "out", partial=True, files=["picture"])
    assert len(fetched) == 3 + 4


def test_mistakes(run: Run, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="has no table 'scaler'") as caught:
        run.fetch(tmp_path / "out", tables=["scaler"])
    assert caught.value.hint == "Did you mean 'scalars'?"
    with pytest.raises(NotFoundError, match="has no output files 'pictures'") as caught:
        run.fetch(tmp_path / "out", files=["pictures"])
    assert caught.value.hint == "Did you mean 'picture'?"
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is not a folder"):
        run.fetch(tmp_path / "file")


# --- references that are out to harm ------------------------------------------------------------------------------


def with_references(run: Run, tmp_path: Path, references: list[str | None]) -> Run:
    answers = [{"power": 1.0, "picture": reference} for reference in references]
    cases = [Case(tilt=i) for i in range(len(references))]
    return finished_run(run.storage, tmp_path / "s3", cases, answers, layout("v3.0.0", 9))


def test_files_outside_the_results_of_the_run_are_never_read(run: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("a-canary")
    where = layout("v3.0.0", 9)
    results = Path(run.storage.uri(where.key("results", "picture")))
    results.mkdir(parents=True)
    (results / "link.txt").symlink_to(secret)
    (results / "good.txt").write_text("good")
    hostile = with_references(
        run,
        tmp_path,
        [
            str(secret),
            f"file://{secret}",
            f"{results}/../../../../../../secret.txt",
            str(results / "link.txt"),
            run.storage.uri(run.layout.manifest),
            run.storage.uri(where.specs),
            "s3://elsewhere/x.txt",
            "http://127.0.0.1:9/x.txt",
            "",
            str(results / "gone.txt"),
            str(results / "good.txt"),
        ],
    )
    with pytest.raises(StorageError, match=r"10 output files of .* cannot be fetched") as caught:
        hostile.fetch(tmp_path / "out", files=True)
    assert "1 others are in" in (caught.value.hint or "")
    assert names(tmp_path / "out" / "files") == ["picture/good.txt"]
    kept = [p for p in (tmp_path / "out").rglob("*") if p.is_file() and p.suffix != ".pq"]
    assert not any("a-canary" in p.read_text() for p in kept)


@pytest.mark.parametrize("name", ["a:b.txt", "con.txt", "x" * 240 + ".txt", "ends. .", "-rf", "a|b?.txt", "é.txt"])
def test_names_that_some_system_does_not_take(run: Run, tmp_path: Path, name: str) -> None:
    where = layout("v3.0.0", 9)
    key = where.key("results", "picture", name)
    run.storage.write_bytes(key, b"x")
    hostile = with_references(run, tmp_path, [run.storage.uri(key)])
    hostile.fetch(tmp_path / "out", files=True)
    (placed,) = (tmp_path / "out" / "files" / "picture").iterdir()
    assert not set(placed.name) & set('<>:"/\\|?*')
    assert len(placed.name.encode()) <= 200
    assert placed.name == placed.name.strip(" .")
    assert placed.stem != "con"


def test_names_that_differ_in_case_only(run: Run, tmp_path: Path) -> None:
    where = layout("v3.0.0", 9)
    keys = [where.key("results", "picture", name) for name in ("a.txt", "A.txt", "a?.txt", "a|.txt")]
    for key in keys:
        run.storage.write_bytes(key, key.encode())
    with_references(run, tmp_path, [run.storage.uri(key) for key in keys]).fetch(tmp_path / "out", files=True)
    placed = names(tmp_path / "out" / "files")
    assert len({name.casefold() for name in placed}) == 4


def test_a_link_in_the_folder_does_not_lead_out(run: Run, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "files").symlink_to(elsewhere, target_is_directory=True)
    with pytest.raises(UsageError, match="leads outside"):
        run.fetch(out, files=True)
    (out / "files").unlink()
    (elsewhere / "kept.txt").write_text("kept")
    (out / "scalars.csv").symlink_to(elsewhere / "kept.txt")
    run.fetch(out, tables=["scalars"], format="csv", overwrite=True)
    assert (elsewhere / "kept.txt").read_text() == "kept"
    assert not (out / "scalars.csv").is_symlink()


def test_a_run_that_was_copied_to_another_place(run: Run, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    Path(run.storage.location).rename(copied)
    fetched = Run(open_storage(copied), run.layout).fetch(tmp_path / "out", files=True)
    assert sum("/" in file.name for file in fetched) == 4


def test_hostile_receipts_do_no_harm(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    lines = [
        "[]",
        "null",
        "{",
        '{"file": ["x"]}',
        json.dumps({"file": "scalars.pq", "placed": "x"}),
        "\x00",
        "9" * 5000,
    ]
    (out / ".scythe-fetched").write_text("\n".join(lines))
    run.fetch(out)
    assert names(out) == ["errors.pq", "result_file_refs.pq", "scalars.pq"]
