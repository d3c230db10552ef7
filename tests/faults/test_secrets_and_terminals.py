"""What comes from elsewhere and is shown, kept or followed: secrets in addresses, redirections, formulas, controls."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scythe_cli.analysis.results.spreadsheets import write_csv
from scythe_cli.cli.output import CleanedStream, Output, clean
from scythe_cli.core.text import gives_access, redact_text, redact_uri
from scythe_cli.errors import StorageError
from scythe_cli.run.input_files import collect_artifacts
from scythe_cli.storage.cache import ArtifactCache
from scythe_cli.storage.download import download, reach_of, safe_name
from scythe_cli.storage.opening import open_storage
from tests.fuzzing import cases

from .conftest import Inside

SECRET = "hunter2hunter2"
ADDRESSES = [
    f"https://me:{SECRET}@host/w.epw",
    *(
        f"https://host/w.epw?{name}={SECRET}"
        for name in (
            "pwd",
            "code",
            "jwt",
            "sas",
            "token",
            "X-Amz-Signature",
            "sig",
            "s",
            "q",
            "apikey",
            "PHPSESSID",
            "",
        )
    ),
    f"https://host/w.epw?{SECRET}",
    f"https://host/w.epw#access_token={SECRET}",
    f"https://host/w.epw;jsessionid={SECRET}",
    f"https://host/a;jsessionid={SECRET}/w.epw",
    f"https://host/w.epw?format=csv&pwd={SECRET}",
    f"https://host/w.epw?format=csv;pwd={SECRET}",
    f"HTTPS://host?pwd={SECRET}",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_whatever_an_address_says_beside_host_and_path_is_a_secret(address: str) -> None:
    assert gives_access(address)
    assert SECRET not in redact_uri(address)
    assert SECRET not in redact_text(f"scythe allocate {address} --storage='{address}'")
    assert SECRET not in safe_name(address)


@pytest.mark.parametrize(
    "address", ["https://host/w.epw", "https://host/w?format=csv&year=2020", "w;x#y?pwd=1.epw", "s3://b/k?pwd=1#2;3"]
)
def test_what_is_known_to_be_no_secret_is_kept(address: str) -> None:
    assert not gives_access(address)
    assert gives_access("https://host/w?station=7")
    assert not gives_access("https://host/w?Station=7", {"station"})


def test_files_of_secret_addresses_are_copied_into_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "w.epw"
    file.write_text("sunny")
    monkeypatch.setattr(ArtifactCache, "fetch", lambda self, uri, **_: file)
    plan = collect_artifacts({"weather": pl.Series([*ADDRESSES, "https://host/plain.epw"])}, tmp_path)
    assert sorted(plan.files["weather"]) == sorted(ADDRESSES)
    assert plan.outside(tmp_path / "elsewhere") == []


@pytest.mark.parametrize(
    "reference", ["/proc/self/environ", "/dev/zero", "/sys/kernel/notes", "link", "/dev/../proc/1/maps"]
)
def test_what_the_system_tells_of_itself_is_no_input(tmp_path: Path, reference: str) -> None:
    (tmp_path / "link").symlink_to("/proc/self/environ")
    plan = collect_artifacts({"weather": pl.Series([reference])}, tmp_path)
    assert not plan.uploads
    (problem,) = plan.problems
    assert "where the system describes itself" in problem.reason


def test_files_from_elsewhere_are_told_and_stay_as_private_as_they_are(tmp_path: Path) -> None:
    secret = tmp_path / "shadow"
    secret.write_text("root:x")
    secret.chmod(0o600)
    cases_folder = tmp_path / "cases"
    cases_folder.mkdir()
    (cases_folder / "inner.epw").write_text("sunny")
    (cases_folder / "link.epw").symlink_to(secret)
    plan = collect_artifacts({"w": pl.Series(["inner.epw", "../shadow", "link.epw"])}, cases_folder)
    assert plan.problems == []
    assert plan.outside(cases_folder)
    assert not any(path.name == "inner.epw" for path in plan.outside(cases_folder))
    storage = open_storage(tmp_path / "runs")
    for target, artifact in plan.uploads.items():
        storage.put_file(artifact.path, target)
        mode = (tmp_path / "runs" / target).stat().st_mode & 0o077
        assert not mode or artifact.path.name == "inner.epw"


ADDRESS_OF = {
    "public.test": "93.184.216.34",
    "inner.test": "10.0.0.7",
    "here.test": "127.0.0.1",
    "cloud.test": "169.254.169.254",
}


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Names of hosts, and answers: from an address to where it redirects."""

    def resolve(host: str, *_: Any, **__: Any) -> list[Any]:
        return [(2, 1, 6, "", (ADDRESS_OF.get(host, host), 0))]

    redirects: dict[str, str] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        target = redirects.get(str(request.url))
        if target is None:
            return httpx.Response(200, content=iter([b"secret"]))
        return httpx.Response(302, headers={"location": target})

    real = httpx.Client
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(httpx, "Client", lambda **options: real(**options, transport=httpx.MockTransport(answer)))
    return redirects


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        ("https://public.test/a", "http://public.test/b", "from https to http"),
        ("https://public.test/a", "https://inner.test/b", "private network"),
        ("http://public.test/a", "http://here.test/b", "private network"),
        ("http://public.test/a", "http://127.0.0.1:8080/b", "private network"),
        ("http://public.test/a", "http://[::1]/b", "private network"),
        ("http://public.test/a", "http://[::ffff:10.0.0.1]/b", "private network"),
        ("http://public.test/a", "http://0.0.0.0/b", "private network"),
        ("http://here.test/a", "http://cloud.test/latest/meta-data", "private network"),
        ("http://inner.test/a", "http://169.254.169.254/latest/meta-data", "private network"),
        ("http://public.test/a", "http://public.test/b", None),
        ("http://inner.test/a", "http://inner.test/b", None),
        ("http://inner.test/a", "https://public.test/b", None),
    ],
)
def test_redirections_lead_no_further_inside(
    tmp_path: Path, web: dict[str, str], first: str, then: str, message: str | None
) -> None:
    web[first] = then
    if message is None:
        download(first, tmp_path / "x")
        assert (tmp_path / "x").read_bytes() == b"secret"
        return
    with pytest.raises(StorageError, match=message):
        download(first, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    assert reach_of("93.184.216.34") == 0


SIGNS = ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"]
BEFORE = [
    "",
    ";",
    "x;",
    "\n",
    "x\n",
    "\r",
    "\t",
    "\x0b",
    "\x0c",
    "\ufeff",
    "\u200b",
    "\xa0",
    " ",
    "x; ",
    "a|",
    "\u2028",
    "\x85",
]


def cells_of_any_reader(data: str) -> list[str]:
    """The cells that programs see, which take comma or semicolon, know quotes or not."""
    found: list[str] = []
    for delimiter in ",;\t|":
        found += [cell for row in csv.reader(io.StringIO(data, newline=""), delimiter=delimiter) for cell in row]
        found += [cell for line in re.split(r"[\r\n\x0b\x0c\x85\u2028]", data) for cell in line.split(delimiter)]
    return [cell.strip('"') for cell in found]


@given(st.sampled_from(SIGNS), st.sampled_from(BEFORE), st.sampled_from(["cmd|'/c calc'!A1", "1+f()", "SUM(1)", " x"]))
@cases(150)
def test_no_spreadsheet_sees_a_formula(
    tmp_path_factory: pytest.TempPathFactory, sign: str, before: str, rest: str
) -> None:
    text = f"{before}{sign}{rest}"
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    write_csv(pl.LazyFrame({"a": [text, "2"], text: ["-2", "x"], "n": [[text], ["y"]]}), path)
    formula = re.compile(r"[\s\x00-\x1f\x85\xa0\ufeff\u200b\u2028]*[=+\-@\uff1d\uff0b\uff0d\uff20](?![0-9.]+$)")
    bad = [cell for cell in cells_of_any_reader(path.read_text("utf-8-sig")) if formula.match(cell)]
    assert not bad, bad
    assert "-2" in cells_of_any_reader(path.read_text("utf-8-sig"))


HIDDEN = ["\x1b[2J", "\x9b2J", "\x85", "\x7f", "\u202e", "\u2066", "\u200f", "\u061c", "\ufeff", "\u2028"]


@pytest.mark.parametrize("text", HIDDEN)
def test_no_terminal_obeys_what_is_shown(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert text not in clean(text)
    Output(as_json=True, quiet=False).document({"x": text, text: 1})
    out = capsys.readouterr().out
    assert text not in out
    assert json.loads(out) == {"x": text, text: 1}
    CleanedStream(sys.stdout).write(f"a\rb\t{text}\n")
    out = capsys.readouterr().out
    assert out.startswith("a\rb\t")
    assert text not in out


def test_what_rerun_shows_is_clean(recorded: Path, inside: Inside) -> None:
    module = recorded / "models" / "building.py"
    module.write_text(module.read_text().replace("time.sleep(spec.pause_s)", 'print("\\x1b[2Jgone\\u202e")'))
    pl.DataFrame({"x": [1.0, 96.0]}).write_csv(recorded / "cases.csv")
    module.write_text(module.read_text().replace('f"bad case', 'f"\\x9b2Jbad case'))
    assert inside(recorded, "allocate", "cases.csv").code == 1
    for row in ("0", "1"):
        ran = inside(recorded, "rerun", "--row", row)
        assert "gone" in ran.out + ran.err
        assert not re.search("[\x1b\x9b\u202e]", ran.out + ran.err)
    assert os.environ["CALLS"]
