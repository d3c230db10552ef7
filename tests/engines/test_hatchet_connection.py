"""The client is made on first use; what cannot be made is told without the token."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest

from scythe_cli.engines.hatchet import connection as module
from scythe_cli.engines.hatchet.proxy import hatchet
from scythe_cli.errors import EngineError


@pytest.fixture(autouse=True)
def no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_clients", {})


@pytest.mark.parametrize("token", [None, "", "s3cr3t", "s3c.r3t.x", "s3c.%%%.x", "s3cr3.e30.x"])
def test_a_missing_or_wrong_token(token: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if token is not None:
        monkeypatch.setenv("HATCHET_CLIENT_TOKEN", token)
    message = "Token must be a valid JWT" if token else "API token is required"
    with pytest.raises(EngineError, match=f"^no Hatchet client can be made: {message}") as caught:
        _ = hatchet.tenant_id
    assert "s3c" not in str(caught.value)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("Set HATCHET_CLIENT_TOKEN")
    assert caught.value.exit_code == 4


def test_looking_at_it_makes_no_client() -> None:
    assert repr(hatchet) == "<the Hatchet client, made on first use>"
    assert copy.copy(hatchet) is not None
    assert not hasattr(hatchet, "__wrapped__")


def test_one_client_is_made_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    import hatchet_sdk

    made: list[object] = []

    class Fake:
        name = "fake"

        def __init__(self, config: object) -> None:
            assert config == "None", "no namespace unless one is set"
            made.append(self)

    monkeypatch.setattr(hatchet_sdk, "Hatchet", Fake)
    monkeypatch.setattr("scythe_cli.engines.hatchet.sdk_patches.client_config", str)
    assert hatchet.name == "fake"
    assert module.get_hatchet() is module.get_hatchet() is made[0]
    assert len(made) == 1


@pytest.mark.processes
def test_the_sdk_is_loaded_without_warnings() -> None:
    code = (
        "from scythe_cli.hatchet import hatchet, get_hatchet\ntry: get_hatchet()\nexcept Exception as e: print(type(e))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert "EngineError" in done.stdout, done.stderr
