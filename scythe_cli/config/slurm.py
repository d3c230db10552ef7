"""The table `[slurm]`, and `[experiments.<name>.slurm]`, which says what is not the same for one experiment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from scythe_cli.config.values import ConfigDuration, ConfigSize, Section

__all__ = ["SlurmConfig"]


_Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s-][^\s]*$")]


class SlurmConfig(Section):
    """What Slurm is asked for; what is None is left to the cluster."""

    partition: _Name | None = Field(default=None, description="The partition; else the default one of the cluster.")
    account: _Name | None = Field(default=None, description="Whose budget the jobs use.")
    qos: _Name | None = Field(default=None, description="The quality of service.")
    time: ConfigDuration | None = Field(
        default=None, description="The time limit of one task: `30m`, `4h`; else that of the partition."
    )
    cpus: int = Field(default=1, ge=1, le=4096, description="Cores of one task, each of which runs one case at a time.")
    memory: ConfigSize | None = Field(default=None, description="Memory of one task, for all of its cores: `8GB`.")
    gpus: Annotated[int, Field(ge=1, le=64)] | Annotated[str, Field(pattern=r"^[\w.-]+(:\d+)?$")] | None = Field(
        default=None, description="GPUs of one task: a number, or a kind and a number such as `a100:2`."
    )
    array_limit: int | None = Field(default=None, ge=1, description="Tasks that run at the same time.")
    setup: list[str] = Field(default=[], description="Lines of the shell before the worker: `module load energyplus`.")
    extra: list[str] = Field(default=[], description="Other options of sbatch, such as `--constraint=avx2`.")
    task_minutes: float = Field(default=15.0, gt=0, le=10_000, description="How many minutes one task should take.")

    @property
    def n_gpus(self) -> int:
        """How many GPUs a task has."""
        if isinstance(self.gpus, str):
            kind, _, n = self.gpus.rpartition(":")
            return int(n) if kind else 1
        return self.gpus or 0

    @field_validator("extra")
    @classmethod
    def _check_extra(cls, value: list[str]) -> list[str]:
        for option in value:
            if not option.startswith("-") or any(character in option for character in "\n\0"):
                raise ValueError(f"{option!r} is no option of sbatch; write each as one text, such as '--nice=100'")
            name = option.partition("=")[0]
            if name in _OURS:
                raise ValueError(f"{name} is set by scythe")
        return value

    @field_validator("time")
    @classmethod
    def _check_time(cls, value: ConfigDuration | None) -> ConfigDuration | None:
        if value is not None and value.total_seconds() < 60:
            raise ValueError("it should be a minute or more")
        return value


_OURS = {"-a", "--array", "-d", "--dependency", "-J", "--job-name", "-o", "--output", "-e", "--error", "--parsable"}
