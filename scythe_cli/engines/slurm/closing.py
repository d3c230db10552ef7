"""What the job behind an array runs: `python -m scythe_cli.engines.slurm.closing`, its assignment on standard input.

It submits what is still pending once more while there is progress, and gathers the final tables when there is nothing
left to do.
"""

from __future__ import annotations

import sys

from scythe_cli.engines.slurm.assignment import Assignment, End, read_error, read_stop
from scythe_cli.engines.slurm.commands import Slurm
from scythe_cli.engines.slurm.progress import Step, next_step, remaining, row_seconds
from scythe_cli.engines.slurm.submitting import patiently, sized, submit_wave
from scythe_cli.errors import ScytheError
from scythe_cli.run.final.gather import gather
from scythe_cli.run.ledger import Ledger
from scythe_cli.storage.base import Storage

__all__ = ["close_wave", "main"]


def close_wave(assignment: Assignment, slurm: Slurm) -> Step:
    """Do what comes after a wave; returns what was done.

    Raises:
        StorageError: If the ledger cannot be read, or tables cannot be written.
    """
    storage, run = assignment.open_storage(), assignment.layout
    todo = assignment.read_todo(storage)
    with Ledger.open(storage, run) as ledger:
        outcomes = ledger.outcomes(assignment.n_specs)
    rest = remaining(outcomes, todo)
    stopped = read_stop(storage, run, assignment.session)
    step = next_step(
        n_left=rest.height,
        n_before=assignment.n_rows,
        wave=assignment.wave,
        idle=assignment.idle,
        stopped=stopped,
        error=read_error(storage, run, assignment.session),
    )
    if step.does == "submit":
        following = assignment.model_copy(
            update={"wave": assignment.wave + 1, "idle": step.idle, "n_rows": rest.height, "is_whole": False}
        )
        try:
            following = sized(following, row_seconds(outcomes), patiently(slurm.max_array_size))
            record = patiently(lambda: submit_wave(slurm, storage, following, rest.to_arrow()))
            print(f"{rest.height:,} cases are left: submitted as {record.array}, {record.n_tasks:,} tasks", flush=True)
            return step
        except ScytheError as error:
            cases = "1 case is" if rest.height == 1 else f"{rest.height:,} cases are"
            step = Step("gather", step.idle, f"{cases} pending, and could not be submitted again: {error.message}")
    _gather(storage, assignment, step)
    return step


def _gather(storage: Storage, assignment: Assignment, step: Step) -> None:
    run = assignment.layout
    gathered = gather(storage, run)
    end = End(notices=[step.notice] if step.notice else [], n_waves=assignment.wave)
    storage.write_bytes(run.slurm(f"{assignment.session}.end"), end.model_dump_json().encode())
    print(f"gathered: {gathered.counts}", *end.notices, sep="\n", flush=True)


def main() -> int:
    """Close the wave that standard input tells of; returns the exit code."""
    assignment = Assignment.from_text(sys.stdin.buffer.read())
    try:
        close_wave(assignment, Slurm())
    except ScytheError as error:
        print(f"error: {error}", flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
