"""What every engine must do, on a real Slurm."""

from __future__ import annotations

import pytest

from scythe_cli.engines.base import Engine
from scythe_cli.engines.slurm.engine import SlurmEngine
from scythe_cli.testing.engines import EngineContract
from tests.slurm_cluster import SlurmCluster


class TestSlurm(EngineContract):
    """One task at a time."""

    @pytest.fixture
    def engine(self, cluster: SlurmCluster) -> Engine:
        del cluster
        return SlurmEngine({"partition": "main", "array_limit": 1})
