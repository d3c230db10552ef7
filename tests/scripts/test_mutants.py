"""What is told of mutants: scores, and survivors with their reasons."""

from __future__ import annotations

import tomllib

from scripts.mutants import REASONS, Mutant, changed_lines, reasons_of, score_lines, survivor_lines

DIFF = """--- a.py
+++ a.py
@@ -1,4 +1,4 @@
 def f(a, b):
-    if a <  b:
-        return zip(a, b, strict=True)
+    if a <= b:
+        return zip(a, b, strict=True)
     return None
"""
MUTANTS = [
    Mutant("run.lease", "Lease.release", "m1", "killed"),
    Mutant("run.lease", "Lease.release", "m2", "timeout"),
    Mutant("run.lease", "f", "m3", "survived", "zip(a, b, strict=True)", "zip(a, b, strict=None)"),
    Mutant("run.lease", "f", "m4", "survived", "zip(a, b, strict=True)", "zip(a, b, )"),
    Mutant("run.lease", "f", "m5", "no tests", "a < b", "a <= b"),
    Mutant("run.ledger", "g", "m6", "survived", "a < b", "a <= b"),
]
DOCUMENT = {
    "survivors": [
        {"without": r",? ?strict=(True|False|None)|, (?=\))", "why": "equivalent"},
        {"where": "run.lease f", "now": ["a  <=  b"], "why": "they are never the same"},
    ]
}


def test_what_a_diff_changes() -> None:
    assert changed_lines(DIFF) == (
        "if a < b: return zip(a, b, strict=True)",
        "if a <= b: return zip(a, b, strict=True)",
    )


def test_a_reason_is_about_the_mutants_that_it_names() -> None:
    general, own = reasons_of(DOCUMENT)
    assert [general.fits(mutant) for mutant in MUTANTS[2:]] == [True, True, False, False]
    assert [own.fits(mutant) for mutant in MUTANTS[2:]] == [False, False, True, False]


def test_scores_are_those_of_tests_and_survivors_have_their_reasons() -> None:
    reasons = reasons_of(DOCUMENT)
    assert score_lines(MUTANTS)[2:] == [
        "| `run.lease` | 5 | 2 | 3 | 40.0 % |",
        "| `run.ledger` | 1 | 0 | 1 | 0.0 % |",
        "| all | 6 | 2 | 4 | 33.3 % |",
    ]
    assert survivor_lines(MUTANTS, reasons) == [
        "",
        "`run.lease f`",
        "",
        "- `zip(a, b, strict=None)` — equivalent.",
        "- `zip(a, b, )` — equivalent.",
        "- `a <= b` — they are never the same.",
        "",
        "`run.ledger g`",
        "",
        "- `a <= b` — no reason is known.",
    ]


def test_each_reason_names_mutants_in_one_way() -> None:
    for each in tomllib.loads(REASONS.read_text(encoding="utf-8"))["survivors"]:
        assert ("without" in each) != ("now" in each and "where" in each), each
        assert each["why"].strip().rstrip(".") == each["why"]
