from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scythe_cli.analysis.run import Run
from scythe_cli.analysis.surrogate.history import StudyHistory, StudyRound, write_history
from scythe_cli.storage.local import LocalStorage
from scythe_cli.ui import server
from scythe_cli.ui.endpoints import Endpoints
from scythe_cli.ui.guard import HEADERS
from scythe_cli.ui.server import make_app
from scythe_cli.ui.store import RunStore
from tests.result_runs import Case, finished_run, layout

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it asks for another client than the one that the package has
    from starlette.testclient import TestClient

TOKEN = "secret-token"
HOST = "127.0.0.1:8000"
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"
STATIC = Path(server.__file__).parent / "static"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStorage:
    """Two runs with markup wherever text is; each has a picture."""
    folder = tmp_path_factory.mktemp("store")
    storage = LocalStorage(folder / "runs")
    for version, shift in (("v1.0.0", 0.0), ("v1.1.0", 1.0)):
        run = layout(version)
        cases = [Case(tilt=i, site=MARKUP if i % 2 else "Oslo") for i in range(6)]
        answers: list[dict[str, Any]] = [
            {"power": i * 2.0 + shift, "note": MARKUP, "months": [1.0, 2.0, 3.0]} for i in range(5)
        ]
        for number, name in enumerate(("p.png", "p.svg", "p.html")):
            key = run.key("results", "picture", name)
            storage.write_bytes(key, b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
            answers[number]["picture"] = storage.uri(key)
        answers[3]["picture"] = "/etc/passwd"
        answers[4]["picture"] = f"{storage.uri(run.key('results'))}/../manifest.yml"
        finished_run(storage, folder / "scratch", cases, [*answers, {"state": "failed", "message": MARKUP}], run)
    return storage


@pytest.fixture(scope="module")
def client(store: LocalStorage) -> Iterator[TestClient]:
    app = make_app(Endpoints(RunStore(store), " --storage x"), TOKEN, (HOST,))
    with TestClient(app, base_url=f"http://{HOST}", root_path="") as client:
        yield client


RUN = layout("v1.0.0").experiment_id
OTHER = layout("v1.1.0").experiment_id


def ask(client: TestClient, name: str, status: int = 200, **parameters: Any) -> Any:
    answer = client.get(f"/{TOKEN}/api/{name}", params=parameters)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def sql(client: TestClient, text: str, status: int = 200) -> Any:
    answer = client.post(f"/{TOKEN}/api/sql", json={"runs": [RUN], "sql": text})
    assert answer.status_code == status, answer.text
    return answer.json()


def test_runs_are_listed_newest_first(client: TestClient) -> None:
    told = ask(client, "runs")
    assert [run["experiment_id"] for run in told["runs"]] == [OTHER, RUN]
    assert told["n"] == 2
    assert ask(client, "runs", offset=1, limit=1)["runs"][0]["experiment_id"] == RUN
    assert ask(client, "runs", experiment="other")["n"] == 0


def test_a_run_tells_its_columns_and_counts(client: TestClient) -> None:
    told = ask(client, "run", run=RUN)
    assert told["status"]["counts"]["failed"] == 1
    assert not told["live"]
    columns = {column["name"]: column for column in told["columns"]}
    assert columns["power"]["unit"] == "kWh"
    assert columns["wall.u_value"]["role"] == "input"
    assert ask(client, "live", run=RUN)["stamp"] == told["stamp"]


def test_one_question_gets_all_views(client: TestClient) -> None:
    want = {
        "histograms": ["tilt", ":state"],
        "scatter": ["tilt", "power"],
        "parallel": ["tilt", "site"],
        "color": ":state",
        "table": {"columns": [":case", "note"], "sort": "tilt", "descending": True, "limit": 2},
    }
    told = ask(client, "views", run=RUN, where='{"f":{"tilt":[0,3]}}', want=json.dumps(want))
    assert told["chosen"] == 4
    assert told["table"]["rows"] == [[3, MARKUP], [2, MARKUP]]
    assert told["scatter"]["groups"] == ["succeeded", "failed"]
    assert len(told["histograms"]) == 2


def test_a_case_has_all_that_is_known(client: TestClient) -> None:
    told = ask(client, "case", run=RUN, row=5)
    assert told["state"] == "failed"
    assert told["attempts"][0]["message"] == MARKUP
    assert told["commands"]["Run it again in the debugger"] == f"scythe rerun {RUN} 5 --storage x --pdb"
    good = ask(client, "case", run=RUN, row=0)
    assert good["tables"][0]["rows"] == [[1, 1.0], [2, 2.0], [3, 3.0]]
    assert [file["name"] for file in good["files"]] == ["p.png"]


def test_errors_and_differences(client: TestClient) -> None:
    assert ask(client, "errors", run=RUN)["groups"][0]["count"] == 1
    told = ask(client, "diff", a=RUN, b=OTHER)
    assert told["n_cells"] == 5
    assert ask(client, "diff", a=RUN, b=OTHER, atol=2)["n_cells"] == 0


def test_runs_are_laid_over_each_other(client: TestClient) -> None:
    runs = json.dumps([OTHER, RUN])
    told = ask(client, "overlay", runs=runs)
    assert [member["run"] for member in told["members"]] == [OTHER, RUN]
    assert told["n"] == 12
    assert told["left_out"] == {}
    assert ask(client, "live", runs=runs)["stamp"] == told["stamp"]
    want = {"histograms": ["tilt"], "scatter": ["tilt", "power"], "color": ":run", "table": {"columns": [":run"]}}
    where = json.dumps({"f": {"tilt": [4, 4]}})
    views = ask(client, "views", runs=runs, want=json.dumps(want), where=where)
    assert views["chosen"] == 2
    assert sorted(views["table"]["rows"]) == [[RUN], [OTHER]]
    assert views["scatter"]["cases"] == [4, 4]
    # as codes of the runs, in the order in which they were asked for
    assert views["scatter"]["runs"] == [0, 1]
    assert views["scatter"]["values"]["power"] == [9.0, 8.0]
    assert sorted(views["histograms"][0]["groups"]) == [RUN, OTHER]


@pytest.mark.parametrize("runs", ["", "3", '"x"', "[]", "[1]", json.dumps([RUN]), json.dumps([RUN] * 3), "[" * 5000])
def test_an_overlay_is_of_several_runs(client: TestClient, runs: str) -> None:
    assert ask(client, "overlay", 400, runs=runs)["error"]
    assert ask(client, "overlay", 404, runs=json.dumps([RUN, "../x"]))["error"]
    assert ask(client, "overlay", 400, run=RUN)["error"]


def test_sensitivity_and_what_varied_are_told(client: TestClient) -> None:
    told = ask(client, "sensitivity", run=RUN)
    assert (told["n"], told["used"], told["sobol"]) == (6, 6, None)
    assert told["outputs"] == ["power"]
    rows = {row["input"]: row for row in told["inputs"]}
    assert rows["tilt"]["values"] == [1.0]
    assert rows["site"]["category"]
    some = ask(client, "sensitivity", run=RUN, where='{"f":{"tilt":[0,2]}}')
    assert some["n"] == 3
    assert ask(client, "sensitivity", runs=json.dumps([RUN, OTHER]))["n"] == 12
    told = ask(client, "varied", runs=json.dumps([RUN, "solar", "../x", "a/../b/v1.0.0/2026-01-01_00-00-00"]))
    assert told["varied"] == {
        RUN: ["tilt", "site"],
        "solar": None,
        "../x": None,
        "a/../b/v1.0.0/2026-01-01_00-00-00": None,
    }
    assert ask(client, "varied", 400, runs="3")["error"]


def test_a_study_tells_its_rounds(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "runs")
    run = finished_run(storage, tmp_path / "scratch", [Case(tilt=1.0)], [{"power": 1.0}])
    with TestClient(make_app(Endpoints(RunStore(storage)), TOKEN, (HOST,)), base_url=f"http://{HOST}") as client:
        assert ask(client, "study", run=run.experiment_id) == {"study": None}
        rounds = [StudyRound(round=0, cases=9, succeeded=8, failed=1, hypervolume=float("inf"))]
        write_history(storage, run.layout, StudyHistory(study=MARKUP, rounds=rounds, failures=["x\x1b[2J"]))
        told = ask(client, "study", run=run.experiment_id)["study"]
        assert told["study"] == MARKUP
        assert told["rounds"][0]["cases"] == 9
        assert "\x1b" not in json.dumps(told["failures"]).replace("\\\\x1b", "")
        storage.write_bytes(run.layout.study("history.json"), b"{")
        assert ask(client, "study", run=run.experiment_id) == {"study": None}


def test_numbers_are_counted_on_a_logarithmic_scale(client: TestClient) -> None:
    want = {"histograms": ["tilt", ":duration", ":state"], "log": ["tilt", ":duration", ":state"]}
    tilt, duration, state = ask(client, "views", run=RUN, want=json.dumps(want))["histograms"]
    assert tilt["log"]
    assert tilt["edges"][0] == pytest.approx(1.0)
    assert sum(tilt["all"]) == 5  # zero has no logarithm
    assert sum(duration["all"]) == 6
    assert not state["log"]


def test_sql_answers(client: TestClient) -> None:
    told = sql(client, "select count(*) as n, max(power) from scalars")
    assert told["rows"] == [[5, 8.0]]
    assert [column["name"] for column in told["columns"]] == ["n", "max(power)"]


# what is refused, by whom


@pytest.mark.parametrize("path", ["/", "/api/runs", "/wrong/", "/wrong/api/runs", "/secret-toke/", "/secret-tokenn/"])
def test_nothing_is_told_without_the_token(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert TOKEN not in answer.text
    assert "solar" not in answer.text


@pytest.mark.parametrize("host", ["evil.example:8000", "127.0.0.1", "127.0.0.1:9", "127.0.0.1:8000.evil.example", ""])
def test_another_name_is_refused(client: TestClient, host: str) -> None:
    assert client.get(f"/{TOKEN}/api/runs", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:8000", "http://127.0.0.1:8001"])
def test_another_origin_is_refused(client: TestClient, origin: str) -> None:
    assert client.get(f"/{TOKEN}/api/runs", headers={"origin": origin}).status_code == 403
    assert client.post(f"/{TOKEN}/api/sql", headers={"origin": origin}, json={}).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_another_page_asks_is_refused_and_a_link_is_not(client: TestClient, site: str) -> None:
    headers = {"sec-fetch-site": site, "sec-fetch-dest": "document"}
    assert client.get(f"/{TOKEN}/", headers=headers).status_code == 200
    assert client.get(f"/{TOKEN}/api/runs", headers=headers).status_code == 403
    assert client.get(f"/{TOKEN}/app.js", headers={**headers, "sec-fetch-dest": "script"}).status_code == 403


def test_a_query_has_to_be_json(client: TestClient) -> None:
    body = json.dumps({"runs": [RUN], "sql": "select 1"})
    answer = client.post(f"/{TOKEN}/api/sql", content=body, headers={"content-type": "text/plain"})
    assert answer.status_code == 415
    assert client.post(f"/{TOKEN}/api/sql", json={"sql": "x" * 200_000}).status_code == 413


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_written(client: TestClient, method: str) -> None:
    assert client.request(method, f"/{TOKEN}/api/runs").status_code == 405


@pytest.mark.parametrize("path", ["", "app.js", "api/runs", "api/run?run=x", "nothing", "../"])
def test_every_answer_has_the_policy_and_no_cookie(client: TestClient, path: str) -> None:
    answer = client.get(f"/{TOKEN}/{path}")
    for name in HEADERS.keys() - {"cache-control"}:
        assert answer.headers[name] == HEADERS[name]
    assert "set-cookie" not in answer.headers
    assert "'unsafe" not in answer.headers["content-security-policy"]


def test_the_page_asks_nobody_else_and_makes_no_markup() -> None:
    for path in STATIC.rglob("*"):
        if path.suffix not in (".js", ".html", ".css") or path.parent.name == "vendor":
            continue
        text = path.read_text(encoding="utf-8")
        outside = set(re.findall(r"(?:https?:)?//[a-z][\w.-]+\.[a-z]+", text)) - {"http://www.w3.org"}
        assert not outside, path.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
        assert not re.search(r"\son\w+=\"|style=\"|<script>|<style>", text)


def test_text_that_is_markup_stays_text(client: TestClient) -> None:
    for name in ("case", "errors", "run"):
        answer = client.get(f"/{TOKEN}/api/{name}", params={"run": RUN, "row": 5})
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("row", "name", "kind"), [(0, "p.png", "image/png"), (1, "p.svg", "image/svg+xml"), (2, "p.html", None)]
)
def test_files_are_pictures_or_to_be_saved_and_run_nothing(
    client: TestClient, row: int, name: str, kind: str | None
) -> None:
    key = layout("v1.0.0").key("results", "picture", name)
    answer = client.get(f"/{TOKEN}/api/file", params={"run": RUN, "row": row, "key": key})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == (kind or "application/octet-stream")
    assert answer.headers["content-disposition"].startswith("inline" if kind else "attachment")
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("row", "key"),
    [
        (3, "/etc/passwd"),
        (4, f"{RUN}/manifest.yml"),
        (4, f"{RUN}/results/../manifest.yml"),
        (0, f"{RUN}/manifest.yml"),
        (0, f"{OTHER}/results/picture/p.png"),
        (0, f"{RUN}/results/picture/p.svg"),
        (0, ""),
        (0, "\x00"),
    ],
)
def test_only_the_files_of_a_case_are_served(client: TestClient, row: int, key: str) -> None:
    assert ask(client, "file", 404, run=RUN, row=row, key=key)["error"] == "the case has no such file"


@pytest.mark.parametrize("path", ["../server.py", "%2e%2e/server.py", "vendor/../../server.py", "__init__.py", "//etc"])
def test_only_the_pages_own_files_are_served(client: TestClient, path: str) -> None:
    assert client.get(f"/{TOKEN}/{path}").status_code in (404, 400)


@pytest.mark.parametrize(
    "text",
    [
        "select * from read_csv('/etc/passwd')",
        "copy scalars to '/tmp/x'",
        "select 1; select 2",
        "install httpfs",
        "set enable_external_access = true",
        "create table t as select 1",
        "select getenv('HOME')",
        "attach '/tmp/x.db'",
    ],
)
def test_a_query_reads_the_tables_of_the_run_alone(client: TestClient, text: str) -> None:
    assert sql(client, text, 400)["error"]


def test_an_endless_query_is_ended(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scythe_cli.ui.endpoints._SQL_S", 0.05)
    told = sql(client, "select count(*) from range(100000000000) a, scalars", 400)
    assert "takes too long" in told["error"]


@pytest.mark.parametrize("name", ["run", "live", "views", "case", "errors", "file", "diff"])
@pytest.mark.parametrize(
    "run", ["", "..", "../..", "solar", "/etc/v1.0.0/2026-01-01_00-00-00", "a/../b/v1.0.0/2026-01-01_00-00-00", "\x00",
            "solar/v1.0.0/2026-01-01_00-00-09", "a\x00b/v1.0.0/2026-01-01_00-00-00"]
)  # fmt: skip
def test_a_run_that_is_none_is_not_found(client: TestClient, name: str, run: str) -> None:
    assert "there is no run" in ask(client, name, 404, run=run, a=run, b=run)["error"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"want": "["},
        {"want": "3"},
        {"want": '{"histograms":3}'},
        {"want": '{"histograms":["steps"]}'},
        {"want": '{"scatter":["steps"]}'},
        {"want": '{"table":{"columns":[":case"],"sort":"steps"}}'},
        {"want": '{"table":{"columns":[":case"],"limit":"x"}}'},
        {"where": '{"f":{"tilt":[1]}}'},
        {"where": "[" * 5000},
    ],
)
def test_questions_of_wrong_shape_are_refused(client: TestClient, parameters: dict[str, str]) -> None:
    assert ask(client, "views", 400, run=RUN, **parameters)["error"]


def test_what_is_not_expected_is_told_in_the_log_alone(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Run, limit: int) -> None:
        raise RuntimeError("a secret path")

    monkeypatch.setattr(Run, "errors", broken)
    assert "secret" not in str(ask(client, "errors", 500, run=RUN))
    assert "a secret path" in caplog.text


def test_a_hostile_store_breaks_nothing(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "runs")
    run = layout(experiment="sölar <b>")
    long = "😀" * 50_000
    answers: list[dict[str, Any]] = [{"note": long, "power": float("nan")}, {"state": "failed", "message": long}]
    finished_run(storage, tmp_path / "scratch", [Case(tilt=float(i), site=long) for i in range(2)], answers, run)
    storage.write_bytes(run.key("outcomes", "broken.pq"), b"PAR1 nothing PAR1")
    storage.write_bytes(run.table("broken"), b"PAR1")
    app = make_app(Endpoints(RunStore(storage)), TOKEN, (HOST,))
    with TestClient(app, base_url=f"http://{HOST}") as client:
        (told,) = ask(client, "runs")["runs"]
        name = told["experiment_id"]
        assert "of the ledger cannot be read" in ask(client, "run", run=name)["status"]["notice"]
        want = json.dumps({"table": {"columns": ["note", ":message"]}})
        answer = client.get(f"/{TOKEN}/api/views", params={"run": name, "want": want})
        assert len(answer.content) < 20_000
        assert client.get(f"/{TOKEN}/api/case", params={"run": name, "row": 0}).status_code in (200, 502)
        assert ask(client, "errors", run=name)["groups"]
