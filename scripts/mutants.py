"""What mutants there are, and which nobody noticed: `python -m scripts.mutants [--write]`, after `mutmut run`.

Prints the score of each module, and each mutant that survived without a reason in `tests/mutants.toml`. With
`--write`, scores and survivors go into docs/mutants.md.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.made_files import ROOT

REASONS = ROOT / "tests" / "mutants.toml"
PAGE = ROOT / "docs" / "mutants.md"
LEAST_PERCENT = 90.0
_MARKS = ("<!-- made: mutants -->", "<!-- end of made -->")
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A small change of one function.

    Attributes:
        module: Where it is, as `run.lease`.
        function: In which function or method.
        name: What mutmut calls it.
        status: What came of it, in the words of mutmut.
        was: The lines that it changes; known of those that were not killed.
        now: What it makes of them.
    """

    module: str
    function: str
    name: str
    status: str
    was: str = ""
    now: str = ""

    @property
    def is_killed(self) -> bool:
        """Whether a test failed, or did not end."""
        return self.status in ("killed", "timeout")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why some mutants may survive.

    Attributes:
        where: Module and function, as `run.lease Lease.release`; anywhere unless given.
        now: What they make of a line.
        without: An expression: what is the same as before but for what it matches; instead of `now`.
        why: The reason.
    """

    where: str | None
    now: frozenset[str]
    without: str | None
    why: str

    def fits(self, mutant: Mutant) -> bool:
        """Whether it is about this one."""
        if self.where not in (None, f"{mutant.module} {mutant.function}"):
            return False
        if self.without is None:
            return mutant.now in self.now
        return re.sub(self.without, "", mutant.was) == re.sub(self.without, "", mutant.now)


def reasons_of(document: dict[str, Any]) -> list[Reason]:
    """The reasons that a file gives."""
    return [
        Reason(
            each.get("where"),
            frozenset(_plain(line) for line in each.get("now", [])),
            each.get("without"),
            each["why"],
        )
        for each in document["survivors"]
    ]


def changed_lines(diff: str) -> tuple[str, str]:
    """What a diff takes away and what it puts there, each in one line."""
    lines = [line for line in diff.splitlines() if not line.startswith(("+++", "---"))]
    was, now = (_plain(" ".join(line[1:] for line in lines if line.startswith(sign))) for sign in "-+")
    return was, now


def _plain(text: str) -> str:
    return _SPACES.sub(" ", text).strip()


def read_mutants() -> Iterator[Mutant]:
    """The mutants of the last run of mutmut."""
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code
    from mutmut.utils.file_utils import walk_mutatable_files
    from mutmut.utils.format_utils import orig_function_and_class_names_from_key

    for path in sorted(walk_mutatable_files()):
        data = SourceFileMutationData(path=path)
        data.load()
        module = ".".join(path.with_suffix("").parts[1:])
        for name, code in data.exit_code_by_key.items():
            function, owner = orig_function_and_class_names_from_key(name)
            status = status_by_exit_code[code]
            mutant = Mutant(module, f"{owner}.{function}" if owner else function, name, status)
            if mutant.is_killed or code is None:  # or it was not tried
                yield mutant
            else:
                was, now = changed_lines(get_diff_for_mutant(name, path=path))
                yield Mutant(module, mutant.function, name, status, was, now)


def score_lines(mutants: Iterable[Mutant]) -> list[str]:
    """The table of scores, in Markdown."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for mutant in mutants:
        for place in (mutant.module, "all"):
            counts[place]["killed" if mutant.is_killed else "survived"] += 1
    lines = ["| module | mutants | killed | survived | score |", "| --- | ---: | ---: | ---: | ---: |"]
    for module, found in sorted(counts.items(), key=lambda each: (each[0] == "all", each[0])):
        name = module if module == "all" else f"`{module}`"
        n, killed, survived = found.total(), found["killed"], found["survived"]
        lines.append(f"| {name} | {n:,} | {killed:,} | {survived:,} | {100 * killed / n:.1f} % |")
    return lines


def survivor_lines(mutants: Iterable[Mutant], reasons: Sequence[Reason]) -> list[str]:
    """The list of survivors with their reasons, in Markdown."""
    lines: list[str] = []
    place = ""
    for mutant in mutants:
        if mutant.is_killed:
            continue
        if place != (place := f"{mutant.module} {mutant.function}"):
            lines += ["", f"`{place}`", ""]
        why = next((reason.why for reason in reasons if reason.fits(mutant)), "no reason is known")
        lines.append(f"- {_code(mutant.now or f'{mutant.was} (removed)')} — {why}.")
    return lines


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def main() -> int:
    """Print scores and what has no reason, and write the page."""
    reasons = reasons_of(tomllib.loads(REASONS.read_text(encoding="utf-8")))
    there = list(read_mutants())
    mutants = [mutant for mutant in there if mutant.status != "not checked"]
    if not mutants:
        print("there are no results: `make mutants` makes them", file=sys.stderr)
        return 1
    scores = score_lines(mutants)
    if len(mutants) < len(there):
        scores += ["", f"{len(mutants):,} of {len(there):,} mutants were tried."]
    print("\n".join(scores))
    living = [mutant for mutant in mutants if not mutant.is_killed]
    unexplained = [mutant for mutant in living if not any(reason.fits(mutant) for reason in reasons)]
    for mutant in unexplained:
        print(f"\n{mutant.module} {mutant.function}: {mutant.status} ({mutant.name})")
        print(f"  was {mutant.was}\n  now {mutant.now}")
    for reason in reasons:
        if not any(reason.fits(mutant) for mutant in living):
            print(f"\n{REASONS.name} has a reason that is not needed any more: {reason.where or reason.without}")
    if "--write" in sys.argv[1:]:
        _write(PAGE, [*scores, *survivor_lines(mutants, reasons)])
    percent = 100 * (1 - len(living) / len(mutants))
    if percent < LEAST_PERCENT:
        print(f"\n{percent:.1f} % were noticed; {LEAST_PERCENT:.0f} % have to be", file=sys.stderr)
    return 1 if percent < LEAST_PERCENT else 0


def _write(page: Path, lines: Iterable[str]) -> None:
    before, _, rest = page.read_text(encoding="utf-8").partition(_MARKS[0])
    after = rest.partition(_MARKS[1])[2]
    text = "\n".join(lines)
    page.write_text(f"{before}{_MARKS[0]}\n\n{text}\n\n{_MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
