"""What people copy to run workers as services names things as the program does."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from scythe_cli.worker import ScytheWorkerConfig

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def _options() -> set[str]:
    from typer.main import get_command

    from scythe_cli.cli.app import app

    command: Any = get_command(app)
    return {name for parameter in command.commands["worker"].params for name in parameter.opts}


def _used_options(text: str) -> set[str]:
    (line,) = re.findall(r'(?m)^(?!#).*\bscythe"?, ?"?worker\b.*$|^ExecStart=.*$', text)
    return set(re.findall(r"--[a-z-]+", line))


@pytest.mark.parametrize("name", ["scythe-worker.service", "Dockerfile", "kubernetes.yml"])
def test_workers_are_started_with_options_that_there_are(name: str) -> None:
    text = (DEPLOY / name).read_text()
    used = _used_options(text)
    assert "--health-port" in used
    assert used <= _options()
    known = {f"SCYTHE_WORKER_{field}" for field in ScytheWorkerConfig.model_fields} | {"SCYTHE_WORKER_STORAGES"}
    assert set(re.findall(r"SCYTHE_WORKER_[A-Z_]+", text)) <= known


def test_the_manifest_of_kubernetes_refers_to_itself_rightly() -> None:
    deployment, scaler = yaml.safe_load_all((DEPLOY / "kubernetes.yml").read_text())
    assert (deployment["apiVersion"], deployment["kind"]) == ("apps/v1", "Deployment")
    assert (scaler["apiVersion"], scaler["kind"]) == ("autoscaling/v2", "HorizontalPodAutoscaler")
    spec = deployment["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    assert scaler["spec"]["scaleTargetRef"] == {
        "apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]
    }  # fmt: skip
    (container,) = spec["template"]["spec"]["containers"]
    (port,) = container["ports"]
    args = container["args"]
    assert args[args.index("--health-port") + 1] == str(port["containerPort"])
    assert container["readinessProbe"]["httpGet"] == {"path": "/health", "port": port["name"]}
    assert spec["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(port["containerPort"])


@pytest.mark.processes
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    systemd = shutil.which("systemd-analyze")
    if systemd is None:
        pytest.skip("there is no systemd here")
    unit = tmp_path / "scythe-worker.service"
    text = (DEPLOY / unit.name).read_text()
    unit.write_text(text.replace("/srv/project/.venv/bin/scythe", sys.executable))
    done = subprocess.run([systemd, "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
