"""Write the parts of docs/architecture.md that the code says itself, and its pictures.

python -m scripts.make_architecture            # writes docs/architecture.md and docs/images/way-*.svg
python -m scripts.make_architecture --check    # only tells what is not as it would be written

The order of the layers is that of the contract in pyproject.toml, what a room is for is the docstring of its
`__init__`, what a module is for the first line of its docstring, and the pictures are drawn from `scripts/ways.toml`.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from scripts.made_files import write_or_check

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "scythe_cli"
PAGE = ROOT / "docs" / "architecture.md"
IMAGES = ROOT / "docs" / "images"
WAYS = ROOT / "scripts" / "ways.toml"

MAX_STEPS = 10
_SECTION = re.compile(r"(?<=<!-- made: )([a-z:-]+)( -->\n).*?(?=<!-- end of made -->)", re.DOTALL)

_LANE, _ROW, _TEXT, _WIDTH, _TOP = 78, 50, 470, 980, 46
_STYLE = """
text { font: 14px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1b2a2f }
.small { font-size: 12px; fill: #55666c } .code { font: 12px ui-monospace, Menlo, Consolas, monospace; fill: #00695c }
.lane { stroke: #c9d3d6; stroke-width: 1 } .way { fill: none; stroke: #00897b; stroke-width: 3 }
.stop { fill: #00897b } .outside { fill: #6d7b80 } .number { fill: #fff; font-size: 12px; font-weight: 600 }
@media (prefers-color-scheme: dark) {
  text { fill: #e3eaec } .small { fill: #a5b4b9 } .code { fill: #80cbc4 } .lane { stroke: #4a585d }
}
"""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a way.

    Attributes:
        lane: The room where it happens, or the name of what is not ours.
        module: Where exactly; None for what is not ours.
        does: What happens.
        passes: What goes on to the next step.
    """

    lane: str
    module: str | None
    does: str
    passes: str


@dataclass(frozen=True, slots=True)
class Way:
    """A way of data through the rooms.

    Attributes:
        title: Its heading, as Markdown.
        steps: At most ten.
    """

    title: str
    steps: Sequence[Step]

    @property
    def alt(self) -> str:
        """What the picture shows, for those who do not see it."""
        return "; ".join(f"{number}: {step.does}" for number, step in enumerate(self.steps, 1))


def read_layers() -> list[list[str]]:
    """The layers of the contract, from the top; each has one name, or several side by side."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = document["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    names = [[name.strip(" ()") for name in re.split(r"[:|]", layer)] for layer in layers]
    lowest = next(number for number, layer in enumerate(names) if "base" in layer)
    return [[name for layer in names[: lowest + 1] for name in layer], *names[lowest + 1 :]]


def read_ways() -> dict[str, Way]:
    """The ways that are to be drawn.

    Raises:
        ValueError: If one has too many steps, or a module that it names does not exist.
    """
    ways: dict[str, Way] = {}
    for name, way in tomllib.loads(WAYS.read_text(encoding="utf-8")).items():
        steps = [_step(name, step) for step in way["steps"]]
        if len(steps) > MAX_STEPS:
            raise ValueError(f"{WAYS.name}: {name} has {len(steps)} steps, at most {MAX_STEPS}")
        ways[name] = Way(way["title"], steps)
    return ways


def _step(way: str, step: Mapping[str, str]) -> Step:
    module = step.get("module")
    if module is None:
        return Step(step["outside"], None, step["does"], step["passes"])
    if not any(path.is_file() for path in (PACKAGE / f"{module}.py", PACKAGE / module / "__init__.py")):
        raise ValueError(f"{WAYS.name}: {way} goes through {module}, which does not exist")
    return Step(module.partition("/")[0], module, step["does"], step["passes"])


def docstring(path: Path) -> str:
    """The docstring of a module; empty where it has none."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def rooms_below(folder: Path) -> list[Path]:
    """A room and the rooms inside it, in the order of their names."""
    return [folder, *sorted(init.parent for init in folder.rglob("*/__init__.py") if init.parent != folder)]


def layer_line(layers: Sequence[Sequence[str]]) -> str:
    """The layers in one line, the public names as one."""
    _, *below = layers
    return " → ".join(["public names", *(", ".join(f"`{name}`" for name in layer) for layer in below)])


def public_names(layers: Sequence[Sequence[str]]) -> str:
    """What programs import, with the first line of each docstring."""
    lines = ["| name | what |", "| --- | --- |", _row("`scythe_cli`", _summary(PACKAGE / "__init__.py"))]
    lines += [_row(f"`scythe_cli.{name}`", _summary(_file(name))) for name in sorted(layers[0])]
    return "\n".join(lines)


def rooms(layers: Sequence[Sequence[str]]) -> str:
    """The rooms in the order of the layers, each with its docstring."""
    lines = ["| room | what lives there, and what it may touch |", "| --- | --- |"]
    for name in _inner(layers):
        if (PACKAGE / name).is_dir():
            text = " ".join(docstring(PACKAGE / name / "__init__.py").split())
            lines.append(_row(f"[`{name}/`](#{name})", text))
        else:
            lines.append(_row(f"`{name}`", _summary(_file(name))))
    return "\n".join(lines)


def modules(layers: Sequence[Sequence[str]]) -> str:
    """The modules of each room, each with the first line of its docstring; rooms inside a room follow it."""
    parts: list[str] = []
    for name in _inner(layers):
        if not (PACKAGE / name).is_dir():
            continue
        for folder in rooms_below(PACKAGE / name):
            inner = folder.relative_to(PACKAGE).as_posix()
            if folder == PACKAGE / name:
                parts.append(f"### {name}")
            else:
                parts.append(f"**`{inner}/`** {' '.join(docstring(folder / '__init__.py').split())}")
            files = sorted(path for path in folder.glob("*.py") if not path.stem.startswith("__"))
            rows = [_row(f"`{path.stem}`", _summary(path)) for path in files]
            if rows:
                parts.append("\n".join(["| module | what |", "| --- | --- |", *rows]))
    return "\n\n".join(parts)


def way_section(name: str, way: Way) -> str:
    """The heading and the picture of a way."""
    return f"### {way.title}\n\n![{way.alt}](images/way-{name}.svg)"


def draw(way: Way, layers: Sequence[Sequence[str]]) -> str:
    """A way as SVG: a line through the rooms, which are lanes in the order of the layers, and the steps beside it."""
    order = {name: position for position, layer in enumerate(layers) for name in layer}
    lanes = sorted({step.lane for step in way.steps}, key=lambda lane: (order.get(lane, len(order)), lane))
    at = {lane: 30 + _LANE * position for position, lane in enumerate(lanes)}
    text_x = min(_TEXT, 30 + _LANE * len(lanes))
    height = _TOP + _ROW * len(way.steps) + 6
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(way.alt)}</title>",
        f"<style>{_STYLE}</style>",
    ]
    for lane, x in at.items():
        parts.append(f'<text class="small" x="{x}" y="16" text-anchor="middle">{escape(lane)}</text>')
        parts.append(f'<line class="lane" x1="{x}" y1="24" x2="{x}" y2="{height - 4}"/>')
    points = [(at[step.lane], _TOP + _ROW * number) for number, step in enumerate(way.steps)]
    parts.append(f'<path class="way" d="{_line(points)}"/>')
    for number, (step, (x, y)) in enumerate(zip(way.steps, points, strict=True), 1):
        kind = "outside" if step.module is None else "stop"
        where = "" if step.module is None else f'<tspan class="code">{escape(step.module)}</tspan>  '
        parts += [
            f'<circle class="{kind}" cx="{x}" cy="{y}" r="11"/>',
            f'<text class="number" x="{x}" y="{y + 4}" text-anchor="middle">{number}</text>',
            f'<text x="{text_x}" y="{y - 1}">{number}  {escape(step.does)}</text>',
            f'<text class="small" x="{text_x + 18}" y="{y + 16}">{where}→ {escape(step.passes)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def _line(points: Sequence[tuple[int, int]]) -> str:
    """A path through points, which leaves and reaches each of them vertically."""
    (x, y), *rest = points
    path = f"M{x},{y}"
    for next_x, next_y in rest:
        middle = (y + next_y) // 2
        path += f"C{x},{middle} {next_x},{middle} {next_x},{next_y}"
        x, y = next_x, next_y
    return path


def texts() -> dict[Path, str]:
    """What each file should hold.

    Raises:
        KeyError: If the page asks for a section that there is not.
    """
    layers, ways = read_layers(), read_ways()
    sections: dict[str, Callable[[], str]] = {
        "layers": lambda: layer_line(layers),
        "public-names": lambda: public_names(layers),
        "rooms": lambda: rooms(layers),
        "modules": lambda: modules(layers),
        **{f"way:{name}": _bound(name, way) for name, way in ways.items()},
    }
    page = PAGE.read_text(encoding="utf-8")
    wanted = {PAGE: _SECTION.sub(lambda match: f"{match[1]}{match[2]}\n{sections[match[1]]()}\n\n", page)}
    for name, way in ways.items():
        wanted[IMAGES / f"way-{name}.svg"] = draw(way, layers)
    return wanted


def _bound(name: str, way: Way) -> Callable[[], str]:
    return lambda: way_section(name, way)


def _inner(layers: Sequence[Sequence[str]]) -> list[str]:
    return [name for layer in layers[1:] for name in layer]


def _file(name: str) -> Path:
    module = PACKAGE / f"{name}.py"
    return module if module.is_file() else PACKAGE / name / "__init__.py"


def _summary(path: Path) -> str:
    return " ".join(docstring(path).partition("\n\n")[0].split())


def _row(*cells: Any) -> str:
    """A row of a table; what Markdown would take for HTML or for a border stays text."""
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    # inside backticks, text is literal but for the borders of the table
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))


def main() -> int:
    """Write, or check."""
    wanted = texts()
    made = f"{PAGE.relative_to(ROOT)} and {len(wanted) - 1} pictures"
    return write_or_check("scripts.make_architecture", wanted, IMAGES.glob("way-*.svg"), made=made)


if __name__ == "__main__":
    sys.exit(main())
