"""The README of a packed run."""

from __future__ import annotations

from scythe_cli.analysis.packing.archive import METADATA_NAME, PROJECT_FOLDER, RUNS_FOLDER, SUMS_NAME
from scythe_cli.analysis.packing.crate import CrateContent
from scythe_cli.core.distribution import DISTRIBUTION

__all__ = ["readme_of"]


def readme_of(content: CrateContent, missing: list[str]) -> bytes:
    """Write it.

    Args:
        content: What is packed.
        missing: Source files of the run that are not.
    """
    layout, manifest, origin = content.layout, content.manifest, content.manifest.provenance
    folder = f"{RUNS_FOLDER}/{layout.experiment_id}"
    facts = {
        "experiment": layout.experiment,
        "run": layout.experiment_id,
        "function": manifest.entrypoint,
        "cases": None if content.counts is None else content.counts.told(),
        "sampling file": manifest.sampling_file,
        "seed": manifest.seed,
        "Python": origin.python if origin else None,
        "scythe": origin.packages.get(DISTRIBUTION) if origin else None,
        "git commit": origin.git_commit if origin else None,
        "license": content.license or "not stated",
    }
    rows = "\n".join(f"| {name} | {_cell(value)} |" for name, value in facts.items() if value not in (None, ""))
    lacking = f"\nNot packed, since it was not available as it was then: {', '.join(missing)}.\n" if missing else ""
    return f"""\
# {content.name}

{content.description}

| | |
| --- | --- |
{rows}

## What is here

| path | what |
| --- | --- |
| `{folder}/final/scalars.pq` | the results: one row for each case that succeeded; `errors.pq` has the others |
| `{folder}/specs.pq` | the inputs of all cases |
| `{folder}/manifest.yml` | what the run is, and where it comes from |
| `{folder}/` | the whole run: outcomes, input files and output files as well |
| `{PROJECT_FOLDER}/` | the code of the run, its configuration, and the versions of the packages that it needs |
| `{METADATA_NAME}` | all of this for programs ([RO-Crate](https://www.researchobject.org/ro-crate/)) |
| `{SUMS_NAME}` | the checksum of each file |
{lacking}
Tables are Parquet files, which pandas, Polars, DuckDB, R, Julia and MATLAB read; all other files of a run are YAML.

## Checking it

    sha256sum -c {SUMS_NAME}

## Using it with scythe

    pip install {DISTRIBUTION}
    scythe results unpack FILE.zip     # check every checksum, and put the run among your own
    scythe reproduce FILE.zip -n 20    # run 20 random cases again, and compare the results
""".encode()


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
