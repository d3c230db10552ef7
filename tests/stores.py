"""Stores of many runs, written as plain folders: below the root of an S3 server over a folder, these are objects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from scythe_cli.core.records import StateCounts
from scythe_cli.core.semver import SemVer
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.manifest import RunManifest, provenance
from scythe_cli.run.outcomes.summary import RunSummary

__all__ = ["make_store"]


def make_store(
    folder: Path,
    n_versions: int,
    *,
    runs_each: int = 1,
    files_each: int = 4,
    experiments: int = 1,
    summaries: bool = True,
) -> list[RunLayout]:
    """Make finished runs whose folders look as those of real ones; the first is the oldest.

    Args:
        folder: The storage.
        n_versions: Versions of each experiment: v1.0.0, v1.1.0, …
        runs_each: Runs of each version.
        files_each: Files in each of the folders `outcomes`, `results` and `final` of a run.
        experiments: Experiments: `energy0`, `energy1`, …
        summaries: Whether the runs have summaries; those of earlier releases have none.
    """
    runs: list[RunLayout] = []
    origin = provenance(Path.cwd())
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    for experiment in range(experiments):
        for minor in range(n_versions):
            for _ in range(runs_each):
                moment += timedelta(minutes=1)
                run = RunLayout(f"energy{experiment}", SemVer(major=1, minor=minor), moment)
                manifest = RunManifest(
                    workflow_run_id="0" * 32,
                    experiment_id=run.experiment_id,
                    experiment_name=run.experiment,
                    experiment=run.experiment,
                    version=str(run.version),
                    engine="local",
                    n_specs=len(runs),
                    provenance=origin,
                )
                if not runs:
                    text = manifest.to_yaml().decode()
                told = _told(text, runs[0] if runs else run, run, len(runs))
                if summaries:
                    summary = RunSummary(counts=StateCounts(succeeded=len(runs)), engine="local")
                    told = f"# summary {summary.model_dump_json()}\n{told}"
                _write(folder, run, told, files_each)
                runs.append(run)
    return runs


def _told(text: str, first: RunLayout, run: RunLayout, n: int) -> str:
    """The manifest of another run: to write YAML anew for each takes longer than all else."""
    for old, new in (
        (first.experiment_id, run.experiment_id),
        (f"version: {first.version}", f"version: {run.version}"),
        ("n_specs: 0\n", f"n_specs: {n}\n"),
        (f": {first.experiment}\n", f": {run.experiment}\n"),
    ):
        text = text.replace(old, new)
    return text


def _write(folder: Path, run: RunLayout, manifest: str, files_each: int) -> None:
    keys = [run.outcome_part(f"{i:06d}") for i in range(files_each)]
    keys += [run.result_file("picture", f"{i:08d}", ".png") for i in range(files_each)]
    keys += [run.table("scalars"), *(run.table(f"table{i}") for i in range(files_each - 1))]
    for parent in {(folder / key).parent for key in keys}:
        parent.mkdir(parents=True)
    for key in keys:
        (folder / key).touch()
    (folder / run.manifest).write_text(manifest)
    (folder / run.specs).touch()
