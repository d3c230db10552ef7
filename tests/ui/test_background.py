from __future__ import annotations

import socket
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scythe_cli.errors import NotFoundError, UsageError
from scythe_cli.services.project import Project, open_project
from tests.result_runs import Case, finished_run


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = open_project(storage=str(tmp_path / "runs"), start=tmp_path)
    finished_run(project.storage, tmp_path / "scratch", [Case(tilt=1.0)], [{"power": 1.0}])
    return project


def ask(url: str, **headers: str) -> tuple[int, dict[str, str]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {}


def test_a_project_shows_its_runs_until_the_page_is_closed(project: Project) -> None:
    with project.ui("solar") as page:
        status, headers = ask(page.url)
        assert status == 200
        assert ask(f"{page.url}api/runs")[0] == 200
        # a notebook of this machine may show it, and nobody else
        assert "frame-ancestors http://localhost:* http://127.0.0.1:*;" in headers["content-security-policy"]
        assert "x-frame-options" not in headers
        frame = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "iframe"}
        assert ask(page.url, **frame)[0] == 200
        assert ask(f"{page.url}api/runs", **frame)[0] == 403
        assert f'<iframe src="{page.url}"' in page._repr_html_()  # pyright: ignore[reportPrivateUsage]
    page.close()
    address = urlsplit(page.url)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname or "", address.port or 0), timeout=5)


def test_several_pages_are_open_at_once(project: Project) -> None:
    with project.ui() as one, project.ui() as other:
        assert one.url != other.url
        assert ask(one.url)[0] == ask(other.url)[0] == 200
        port = urlsplit(one.url).port or 0
        with pytest.raises(UsageError, match="cannot listen"):
            project.ui(port=port)


def test_a_run_that_is_not_there_is_told_at_once(project: Project) -> None:
    with pytest.raises(NotFoundError, match="no experiment is called 'wind'"):
        project.ui("wind")
