from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from scythe_cli.settings import EngineSettings, ScytheStorageSettings, TimeoutSettings


def test_nothing_is_set() -> None:
    assert ScytheStorageSettings().location is None
    assert EngineSettings().ENGINE is None
    assert set(TimeoutSettings().model_dump().values()) == {timedelta(hours=1)}


@pytest.mark.parametrize(
    ("variables", "location"),
    [
        ({"BUCKET": "b"}, "s3://b/scythe"),
        ({"BUCKET": "b", "BUCKET_PREFIX": "p/q"}, "s3://b/p/q"),
        ({"BUCKET": "b", "BUCKET_PREFIX": ""}, "s3://b"),
        ({"BUCKET_PREFIX": "p"}, None),
        ({"URI": "runs"}, "runs"),
        ({"URI": "s3://x/y", "BUCKET": "b"}, "s3://x/y"),
        ({"URI": "", "BUCKET": "b"}, "s3://b/scythe"),
    ],
)
def test_where_runs_are_kept(variables: dict[str, str], location: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"SCYTHE_STORAGE_{name}", value)
    assert ScytheStorageSettings().location == location


def test_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCYTHE_ENGINE", "hatchet")
    assert EngineSettings().ENGINE == "hatchet"


@pytest.mark.parametrize("name", list(TimeoutSettings.model_fields))
def test_time_limits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("90m", "PT1H30M", "01:30:00", "1h 30m"):
        monkeypatch.setenv(f"SCYTHE_TIMEOUT_{name}", text)
        assert getattr(TimeoutSettings(), name) == timedelta(minutes=90)
    for text in ("0s", "-PT1H", "soon", "", "90"):
        monkeypatch.setenv(f"SCYTHE_TIMEOUT_{name}", text)
        with pytest.raises(ValidationError, match=name):
            TimeoutSettings()
