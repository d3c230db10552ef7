"""A real kernel of Jupyter, cell by cell, as a notebook uses it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import scythe_cli

# whoever runs the unit tests with other versions needs no Jupyter
nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")


@dataclass
class Shown:
    """What a cell has left below itself."""

    text: str = ""
    html: str = ""
    error: str | None = None
    outputs: list[Any] = field(default_factory=list)


class Kernel:
    """A kernel that runs; what is loaded and defined stays from cell to cell."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def run(self, code: str) -> Shown:
        """Run a cell."""
        cell = nbformat.v4.new_code_cell(code)
        self.client.nb.cells.append(cell)
        self.client.execute_cell(cell, len(self.client.nb.cells) - 1)
        shown = Shown(outputs=cell.outputs)
        for output in cell.outputs:
            if output.output_type == "error":
                shown.error = f"{output.ename}: {output.evalue}"
            elif output.output_type == "stream":
                shown.text += output.text
            else:
                shown.text += output.data.get("text/plain", "")
                shown.html += output.data.get("text/html", "")
        return shown

    def complete(self, code: str) -> list[str]:
        """What the Tab key offers behind some code."""

        async def ask() -> Any:
            return await self.client.kc.complete(code, len(code), reply=True, timeout=60)

        from jupyter_core.utils import run_sync

        return run_sync(ask)()["content"]["matches"]


@contextmanager
def started(folder: Path) -> Iterator[Kernel]:
    """A kernel whose working directory is a folder, and that knows this package."""
    root = Path(scythe_cli.__file__).parent.parent
    env = {name: value for name, value in os.environ.items() if not name.startswith("SCYTHE_")}
    env |= {"SCYTHE_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(root)}
    env["IPYTHONDIR"] = str(folder / "ipython")
    client = nbclient.NotebookClient(
        nbformat.v4.new_notebook(),
        timeout=240,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
    )
    with client.setup_kernel(env=env):
        yield Kernel(client)
