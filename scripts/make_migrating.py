"""Write the table of docs/migrating-from-scythe-engine.md: every public name of scythe-engine, and what became of it.

python -m scripts.make_migrating                      # writes the table
python -m scripts.make_migrating --check              # only tells whether it is as it would be written
python -m scripts.make_migrating --refresh FOLDER     # reads the names again, from the folder that holds `scythe/`

The names are kept in scripts/scythe_engine_names.json, so that no network is needed; what became of them is seen in
this package. A name that is not there needs a line in `INSTEAD`.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.made_files import write_or_check

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "migrating-from-scythe-engine.md"
NAMES = ROOT / "scripts" / "scythe_engine_names.json"
_SECTION = re.compile(r"(?<=<!-- made: names -->\n).*?(?=<!-- end of made -->)", re.DOTALL)

INSTEAD = {
    "experiments.upload_input_artifacts": "`allocate` uploads input files, once for each content",
    "experiments.ExperimentRun.overwrite_spec_meta": "`allocate` sets `experiment_id` and `sort_index`",
    "experiments.ExperimentRun.construct_artifact_key": "files lie under `artifacts/<hash>/`",
    "scatter_gather.ScatterGatherInput.construct_filekey": "keys of a run are properties of `ExperimentRun`",
    "scatter_gather.ScatterGatherInput.standalone": "`ExperimentRegistry.get_runnable(name)`",
    "scatter_gather.ScatterGatherInput.specs": "`pandas.read_parquet(run.as_uri(run.specs_filekey))`",
    "scatter_gather.ScatterGatherInput.add_root_workflow_run_id": "specs have it when they are written",
    "scatter_gather.ScatterGatherInput.run_experiments": "`BaseExperiment.allocate`",
    "scatter_gather.ScatterGatherInput.create_recursion_payloads": "`RecursionMap.rows` says which rows a node has",
    "scatter_gather.ScatterGatherInput.is_root": "`RecursionMap.is_root`",
    "scatter_gather.ScatterGatherInput.is_base_case": "`RecursionMap` says how deep the tree is",
    "scatter_gather.ScatterGatherInput.run_or_recurse": "`BaseExperiment.allocate`",
    "worker.WorkerNameConfig.in_aws_batch": "`AWS_BATCH_JOB_ARRAY_INDEX is not None`",
    "worker.WorkerNameConfig.in_aws_copilot": "`COPILOT_ENVIRONMENT_NAME is not None`",
    "worker.WorkerNameConfig.in_aws": "`hosting_str` begins with `AWS`",
    "worker.WorkerNameConfig.aws_hosting_str": "`hosting_str`",
    "worker.WorkerNameConfig.in_fly": "`FLY_REGION is not None`",
    "worker.WorkerNameConfig.fly_hosting_str": "`hosting_str`",
    "worker.WorkerNameConfig.in_local": "`hosting_str` is `Local`",
}
"""What to use instead of names that are not there."""

CHANGED = {
    "base.ExperimentInputSpec.make_multiindex": "no file references; levels `wind.speed`; dates are dates",
    "base.ScalarInDataframesError": "never raised: the table is called `output_scalars`",
    "base.ResultFileRefsInDataframesError": "never raised: the table is called `output_result_file_refs`",
    "experiments.DuplicateInputArtifactsError": "never raised: files lie under the hash of their content",
    "experiments.BaseExperiment.allocate": "also `reuse=`; `s3_client` is not used",
    "experiments.ExperimentRun.as_uri": "a path where runs are kept in a folder",
    "experiments.SemVer.FromString": "`vX.Y.Z` only",
    "hatchet.hatchet": "made on first use; workflows and tasks are declared without a token",
    "scatter_gather.ScatterGatherInput": "the fields; a run's folder says all of it",
    "scatter_gather.ScatterGatherResult": "`uris` are paths where runs are kept in a folder",
    "scatter_gather.scatter_gather": "`get_result` and `aio_get_result` of an execution",
    "settings.ScytheStorageSettings": "also `URI`; no bucket is needed",
    "utils.results.save_and_upload_parquets": "tables whose names hold `error` are written too",
    "utils.s3.s3_client": "made on first use; needs the extra `boto3`",
}
"""What is different of names that are there."""


def names_in(folder: Path) -> dict[str, list[str]]:
    """The public names that the modules of a package define, with the public members of classes, by module."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*.py")):
        module = ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        names = list(dict.fromkeys(_defined(ast.parse(path.read_text()).body)))
        if names:
            found[module] = names
    return found


def _defined(body: list[ast.stmt], inside: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield f"{inside}{node.name}"
            yield from _defined(node.body, f"{inside}{node.name}.")
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names = [ast.unparse(getattr(each, "func", each)) for each in node.decorator_list]
            is_validator = any(name.endswith(("validator", "serializer")) for name in names)
            if not node.name.startswith("_") and not is_validator:
                yield f"{inside}{node.name}"
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name) and not target.id.startswith("_") and target.id != "logger":
                    yield f"{inside}{target.id}"


def there(module: str, name: str) -> bool:
    """Whether this package has the name: also a field of a model, or an attribute of its instances."""
    try:
        value: Any = importlib.import_module(f"scythe_cli.{module}" if module else "scythe_cli")
    except ImportError:
        return False
    first, _, member = name.partition(".")
    if first not in getattr(value, "__all__", ()):
        return False
    if not member:
        return True
    owner: Any = getattr(value, first)
    fields = {**getattr(owner, "model_fields", {}), **getattr(owner, "__annotations__", {})}
    return hasattr(owner, member) or member in fields


def table(names: dict[str, list[str]]) -> str:
    """The table, as Markdown.

    Raises:
        SystemExit: If a name is not there and nothing says what to use instead.
    """
    rows = ["", "| name | what became of it |", "| --- | --- |"]
    unsaid: list[str] = []
    for module, own in names.items():
        for name in own:
            full = f"{module}.{name}" if module else name
            if there(module, name):
                rows.append(f"| `{full}` | {CHANGED.get(full, 'the same')} |")
            elif full in INSTEAD:
                rows.append(f"| `{full}` | not there: {INSTEAD[full]} |")
            else:
                unsaid.append(full)
    if unsaid:
        raise SystemExit("not in this package, and nothing says what to use instead:\n  " + "\n  ".join(unsaid))
    return "\n".join([*rows, "", ""])


def page() -> str:
    """The page with its table made anew."""
    names: dict[str, list[str]] = json.loads(NAMES.read_text())
    return _SECTION.sub(lambda _: table(names), PAGE.read_text())


def main() -> int:
    """Write or check; or read the names again."""
    if "--refresh" in sys.argv:
        folder = Path(sys.argv[sys.argv.index("--refresh") + 1]) / "scythe"
        NAMES.write_text(json.dumps(names_in(folder), indent=1) + "\n")
    return write_or_check("scripts.make_migrating", {PAGE: page()}, [], made=f"wrote {PAGE.name}")


if __name__ == "__main__":
    sys.exit(main())
