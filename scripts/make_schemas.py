"""Write the JSON schemas of what commands print with `--json`, with their list in docs/json.md, and of a run's files.

python -m scripts.make_schemas            # writes docs/schemas/*.json and the table in docs/json.md
python -m scripts.make_schemas --check    # only tells what is not as it would be written
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pydantic import BaseModel

from scripts.made_files import write_or_check
from scythe_cli.run.input_files import InputArtifact
from scythe_cli.run.manifest import RunManifest
from scythe_cli.run.outcomes.verification import Verification
from scythe_cli.services.json_documents import DOCUMENTS, schema_of

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "schemas"
PAGE = ROOT / "docs" / "json.md"
FILES: dict[str, type[BaseModel]] = {
    "run-manifest": RunManifest,
    "run-input-file": InputArtifact,
    "run-verification": Verification,
}
"""The YAML files of a run, for docs/formats.md."""
BEGIN, END = "<!-- documents -->", "<!-- end of documents -->"


def texts() -> dict[Path, str]:
    """What each file should hold."""
    wanted = {
        FOLDER / f"{document.schema}.json": json.dumps(schema_of(document), indent=2, ensure_ascii=False) + "\n"
        for document in DOCUMENTS
    }
    wanted |= {
        FOLDER / f"{name}.json": json.dumps(model.model_json_schema(), indent=2, ensure_ascii=False) + "\n"
        for name, model in FILES.items()
    }
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    wanted[PAGE] = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    return wanted


def table() -> str:
    """The commands, and the schema of what each prints."""
    lines = ["| command | prints | schema |", "| --- | --- | --- |"]
    for document in DOCUMENTS:
        origin = getattr(document.type, "__origin__", document.type)
        what = "a list" if origin is list else "an object"
        if document.lines:
            what += " on each line"
        command = document.command if document.schema == "error" else f"`{document.command}`"
        lines.append(f"| {command} | {what} | [{document.schema}.json](schemas/{document.schema}.json) |")
    return "\n".join(lines)


def main() -> int:
    """Write, or check."""
    wanted = texts()
    made = f"{len(wanted) - 1} schemas in {FOLDER.relative_to(ROOT)}"
    return write_or_check("scripts.make_schemas", wanted, FOLDER.glob("*.json"), made=made)


if __name__ == "__main__":
    sys.exit(main())
