"""The words for how much specs share: processes, and files that they write."""

from __future__ import annotations

from typing import Literal

__all__ = ["Isolation", "KeepFiles", "StartMethod"]


Isolation = Literal["auto", "row", "process"]
"""Whether each spec has a process of its own (`row`), shares it with others (`process`), or has its own where it takes
so long that this costs next to nothing (`auto`)."""

KeepFiles = Literal["never", "failed", "always"]
"""Of which specs the files are kept that they have written into a working directory of their own."""

StartMethod = Literal["auto", "fork", "spawn"]
"""Whether processes are forked from one that has loaded the experiment (`fork`), each load it (`spawn`), or are forked
where that does no harm (`auto`)."""
