"""How long the commands take that do next to nothing, beside `import typer`, without which there is no command line."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import Record, Report, check_ratio, clean_environment, interleave, measure, median_of, runs_or
from bench.projects import SCYTHE, make_project
from bench.rivals import OURS, RivalMissingError, rival_python
from tests.stores import make_store

TITLE = "start-up: commands that do next to nothing"
ORDER = 5

_BASE = "python -c 'import typer'"
_LIMITED = ("scythe --help", "scythe versions")


def run(quick: bool) -> Report:
    notes: list[str] = []
    with TemporaryDirectory(prefix="scythe-bench-") as name:
        folder = make_project(Path(name))
        (folder / "simulate.csv").write_text("x,k,label\n0.5,1,a\n")
        make_store(folder / "runs", 5, runs_each=2)
        env = clean_environment()
        # of Python: what is not compiled yet is compiled by the first run
        commands: dict[str, list[str | Path]] = {
            _BASE: [OURS, "-c", "import typer"],
            "scythe --help": [SCYTHE, "--help"],
            "scythe versions": [SCYTHE, "versions"],
            "scythe runs": [SCYTHE, "runs"],
            "scythe experiments": [SCYTHE, "experiments"],
            "scythe validate, 1 row": [SCYTHE, "validate", "simulate.csv", "--experiment", "simulate"],
            "python -c 'import scythe_cli'": [OURS, "-c", "import scythe_cli"],
            "python -c 'import scythe_cli.base'": [OURS, "-c", "import scythe_cli.base"],
        }
        if not quick:  # it takes as long as all the others
            try:
                python = rival_python("scythe-engine")
                # it makes its client when it is imported, which needs a token
                commands["scythe-engine: python -c 'import scythe.base'"] = [python, "-c", "import scythe.base"]
            except RivalMissingError as error:
                notes.append(str(error))
        subjects = {name: partial(measure, command, cwd=folder, env=env) for name, command in commands.items()}
        for subject in subjects.values():
            subject()
        taken = interleave(subjects, runs_or(2 if quick else 9))
    records: list[Record] = [
        median_of("start to end of the process", name, runs, is_base=name == _BASE) for name, runs in taken.items()
    ]
    seconds = {record.subject: record.seconds for record in records}
    checks = [
        check_ratio(f"{name}, beside {_BASE}", seconds[name], seconds[_BASE], 2.5, at_least=False) for name in _LIMITED
    ]
    return [*records, *checks, *notes]
