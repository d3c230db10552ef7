"""In a real kernel of Jupyter, without ipywidgets: a run, its progress, its tables, and the code of the documents."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.blocks import Block, read_blocks
from tests.docs.reader import PAGES, Reader
from tests.docs.setups import SETUPS, empty, forget_modules, make
from tests.kernel import Kernel, started

pytestmark = [
    pytest.mark.processes,
    # what Jupyter's own libraries have deprecated
    pytest.mark.filterwarnings("default"),
]

IN_EACH_SUITE = {"any-function.md", "notebooks.md"}
"""The pages for people with a notebook; the code of the others is run in one at night."""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with started(tmp_path_factory.mktemp("kernel")) as running:
        yield running


@pytest.fixture(scope="module")
def mapped(kernel: Kernel) -> Kernel:
    """A kernel with a run of 300 cases, of which one raises and one ends its process; and what its cell showed."""
    shown = kernel.run(
        "import os\nimport pandas as pd\nimport scythe_cli as scythe\n"
        "rate = 4\n"
        "def yield_of(tilt: float, site: str = 'Oslo') -> dict:\n"
        "    if tilt == 3:\n        raise ValueError('<b>no sun</b>')\n"
        "    if tilt == 5:\n        os._exit(9)\n"
        "    return {'kwh': tilt * rate}\n"
        "run = scythe.map(yield_of, pd.DataFrame({'tilt': range(300)}), workers=2, retries=0)\n"
    )
    assert shown.error is None
    # one display, whose last state stays in the notebook; no bar, no escape sequence
    assert [each.output_type for each in shown.outputs] == ["display_data", "stream"]
    assert shown.text.startswith("300/300 cases · 2 failed · ")
    assert "<progress" not in shown.html
    assert "2 of 300 cases did not succeed" in shown.text
    assert "\x1b" not in shown.text
    return kernel


def test_a_function_of_a_cell_gives_what_a_loop_gives(mapped: Kernel) -> None:
    shown = mapped.run(
        "import importlib.util\n"
        "frame = run.to_pandas()\n"
        "assert frame.index.name == 'sort_index' and list(frame) == ['tilt', 'site', 'kwh']\n"
        "assert [yield_of(tilt)['kwh'] for tilt in frame['tilt']] == frame['kwh'].to_list() and len(frame) == 298\n"
        "assert [error.sort_index for error in run.errors().errors] == [3, 5]\n"
        "assert [error.state.value for error in run.errors().errors] == ['failed', 'crashed']\n"
        "assert run.query('select count(*) as n from scalars').item() == 298\n"
        "assert importlib.util.find_spec('ipywidgets') is None\n"
    )
    assert shown.error is None


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("run", "298 succeeded, 1 failed, 1 crashed"),
        ("run.status()", "298"),
        ("run.errors()", "&lt;b&gt;no sun&lt;/b&gt;"),
        ("run.to_pandas()", "<th>tilt</th>"),
        ("run.tables()", "scalars"),
        ("run.show()", "kwh"),
        ("run.query('select max(kwh) as most from scalars')", "most"),
        ("scythe.open_project()", "runs in"),
        ("scythe.open_project().runs()", "yield_of"),
        ("scythe.open_project().versions()", "v1.0.0"),
        ("run.diff(run)", "yes"),
    ],
)
def test_records_are_tables(mapped: Kernel, code: str, expected: str) -> None:
    shown = mapped.run(code)
    assert shown.error is None
    assert expected in shown.html
    assert "<table" in shown.html
    assert "<b>no sun" not in shown.html


def test_tab_offers_what_people_need(mapped: Kernel) -> None:
    mapped.run("project = scythe.open_project()")
    offered = {name.rpartition(".")[2] for name in mapped.complete("scythe.")}
    assert {"map", "allocate", "load_run", "open_project"} <= offered
    assert not {"annotations", "Callable", "Path", "core", "services"} & offered
    offered = {name.rpartition(".")[2] for name in mapped.complete("run.")}
    assert {"scalars", "to_pandas", "errors"} <= offered
    assert not {"layout", "status_from"} & offered
    assert "settings_of" not in {name.rpartition(".")[2] for name in mapped.complete("project.")}


def test_commands_in_a_cell_print_plain_text(mapped: Kernel) -> None:
    """A cell gives a command a terminal, and asks for colours; what moves a cursor would stay there for good."""
    command = Path(sys.executable).parent / "scythe"
    shown = mapped.run(
        "open('panels.py', 'w').write('def kwh(tilt: float): return 2 * tilt')\n"
        "open('cases.csv', 'w').write('tilt\\n1\\n2\\n')\n"
        f"!'{command}' allocate cases.csv --function panels:kwh\n"
        f"import subprocess\nprint(subprocess.run(['{command}', 'runs'], capture_output=True, text=True).stdout)\n"
    )
    assert "2 succeeded" in shown.text
    assert "kwh/v1.0.0" in shown.text
    assert "\x1b" not in shown.text


class InAKernel(Reader):
    """Somebody who reads a page beside a notebook: what is Python goes into a cell."""

    def __init__(self, page: Path, kernel: Kernel) -> None:
        super().__init__(page, {})
        self.kernel = kernel
        kernel.run("import os\nshell = get_ipython()\nshell.kept = dict(shell.user_ns), os.getcwd()")
        kernel.run(f"%reset -f\nimport os\nos.chdir({os.fspath(Path.cwd())!r})")

    def leave(self) -> None:
        """Give the names and the folder back that there were before the page: other tests go on with them."""
        left = self.kernel.run(
            "%reset -f\nimport os\nshell = get_ipython()\nnames, folder = shell.kept\n"
            "shell.user_ns.update(names)\nos.chdir(folder)"
        )
        assert left.error is None

    def _python(self, block: Block) -> None:
        if block.title:
            super()._python(block)
            return
        # a module of the page before, or one that was written again
        self.kernel.run(
            "import sys\nfor _name, _module in list(sys.modules.items()):\n"
            "    if str(getattr(_module, '__file__', None)).startswith(os.getcwd()): del sys.modules[_name]\n"
            "from scythe_cli.registry import ExperimentRegistry\nExperimentRegistry.clear()"
        )
        shown = self.kernel.run(block.text)
        assert shown.error is None, f"{self.page.name}, line {block.line}: {shown.error}"
        assert "\x1b" not in shown.text


def _pages() -> list[object]:
    return [
        pytest.param(page, id=page.name, marks=[] if page.name in IN_EACH_SUITE else [pytest.mark.nightly])
        for page in PAGES
        if any(block.language == "python" and not block.title and block.skip is None for block in read_blocks(page))
    ]


@pytest.mark.parametrize("page", _pages())
def test_the_code_of_a_page(
    kernel: Kernel,
    page: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "my project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    make(SETUPS.get(page.name, empty), folder, page, tmp_path_factory)
    monkeypatch.setitem(sys.modules, "page", ModuleType("page"))
    reader = InAKernel(page, kernel)
    try:
        for block in read_blocks(page):
            if block.skip is None:
                reader.read(block)
                forget_modules()
    finally:
        reader.leave()
