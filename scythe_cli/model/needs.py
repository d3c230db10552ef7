"""What a spec takes of a machine while it runs: cores, memory, GPUs, and tokens for what there are only some of.

A need is a number, or the name of an input field that has the number for each spec. What there is of each is the
capacity; specs run at the same time as long as their needs fit into it together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from scythe_cli.core.cores import usable_gpus, usable_memory_bytes
from scythe_cli.core.quantities import format_size, parse_size
from scythe_cli.errors import ConfigError, InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["LEARNED", "Need", "Needs", "needs_of", "parse_need"]


Need = int | str
"""How much one spec takes: a number, or the name of the input field that says it."""

LEARNED = "auto"
"""What `memory` is said to be where it is learned from earlier runs; no input field can be meant by it."""

_CPUS, _MEMORY, _GPUS = "cpus", "memory", "gpus"


@dataclass(frozen=True, slots=True)
class Needs:
    """What one spec takes.

    Attributes:
        cpus: Cores.
        memory: Bytes; None where nobody has said it, or nothing has been learned.
        gpus: GPUs, each of which one spec at a time has for itself.
        tokens: By the name of what there are only some of: how many of them.
        totals: How many of each there are.
        learns_memory: Whether `memory` is what earlier runs have taken.
        learned_from: The run that has told it; None where none has.
    """

    cpus: Need = 1
    memory: Need | None = None
    gpus: Need = 0
    tokens: Mapping[str, Need] = field(default_factory=dict[str, Need])
    totals: Mapping[str, int] = field(default_factory=dict[str, int])
    learns_memory: bool = False
    learned_from: str | None = None

    def updated(
        self,
        cpus: Need | None,
        memory: Need | None,
        gpus: Need | None,
        tokens: Mapping[str, Need],
        *,
        totals: Mapping[str, int],
    ) -> Needs:
        """The same with what is not None, and with what there is of tokens."""
        learns = self.learns_memory if memory is None else memory == LEARNED
        return Needs(
            cpus=self.cpus if cpus is None else cpus,
            memory=None if learns else self.memory if memory is None else memory,
            gpus=self.gpus if gpus is None else gpus,
            tokens={**self.tokens, **tokens},
            totals=totals,
            learns_memory=learns,
        )

    def learned(self, memory_bytes: int, run: str) -> Needs:
        """The same with the memory that a run has told."""
        return replace(self, memory=memory_bytes, learned_from=run)

    @property
    def is_plain(self) -> bool:
        """Whether nothing is said: each spec takes one core."""
        return self == Needs(totals=self.totals)

    @property
    def is_fixed(self) -> bool:
        """Whether all specs take the same."""
        return not self.fields

    @property
    def fields(self) -> list[str]:
        """The input fields that say a need."""
        return sorted({need for need in self._by_name().values() if isinstance(need, str)})

    def _by_name(self) -> dict[str, Need]:
        memory: dict[str, Need] = {} if self.memory is None else {_MEMORY: self.memory}
        gpus: dict[str, Need] = {_GPUS: self.gpus} if self.gpus else {}
        return {_CPUS: self.cpus, **memory, **gpus, **{f"token {name}": need for name, need in self.tokens.items()}}

    def names(self) -> list[str]:
        """What `of_rows` and `capacity` tell, in their order."""
        return list(self._by_name())

    def gpus_of(self, rows: pa.RecordBatch) -> int:
        """How many GPUs each of some rows takes that take the same; there must be one."""
        if isinstance(self.gpus, int):
            return self.gpus
        return int(self.of_rows(rows.slice(0, 1))[0][self.names().index(_GPUS)])

    def capacity(self, workers: int, memory_bytes: int | None = None, n_gpus: int | None = None) -> list[int]:
        """What there is of each.

        Args:
            workers: The number of processes that were asked for, each of which stands for a core.
            memory_bytes: The memory that there is; None for what this process may use.
            n_gpus: The GPUs that there are; None for those that this process may use.

        Raises:
            ConfigError: If it is not said how many tokens there are.
        """
        missing = [name for name in self.tokens if name not in self.totals]
        if missing:
            raise ConfigError(
                f"tokens: it is not said how many {missing[0]!r} there are",
                hint=f"Say it in experiments.toml, such as [scythe] tokens = {{ {missing[0]} = 3 }}.",
            )
        memory = [] if self.memory is None else [memory_bytes or usable_memory_bytes()]
        if self.learns_memory and isinstance(self.memory, int):  # one at least has run
            memory = [max(memory[0], self.memory)]
        gpus = [] if not self.gpus else [len(usable_gpus().ids) if n_gpus is None else n_gpus]
        return [workers, *memory, *gpus, *(self.totals[name] for name in self.tokens)]

    def at_once(self, workers: int) -> int:
        """How many specs can run at the same time at most, and at least one.

        Raises:
            ConfigError: If there are fewer tokens than one takes, or it is not said how many.
        """
        if self.is_plain:
            return workers
        fits = [workers]
        for (name, need), there in zip(self._by_name().items(), self.capacity(workers), strict=True):
            if isinstance(need, int) and need:
                fits.append(there // need)
                if need > there and name not in (_CPUS, _MEMORY, _GPUS):
                    raise ConfigError(f"a case takes {_told(name, need)}, and there {_there(name, there)}")
        return max(1, min(fits))

    def of_rows(self, rows: pa.RecordBatch | pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
        """What each row takes: an array of int64 with a row for each, and a column for each of `names`."""
        import numpy as np

        columns: list[Any] = []
        for need in self._by_name().values():
            if isinstance(need, int):
                columns.append(np.full(rows.num_rows, need, np.int64))
            else:
                columns.append(np.asarray(rows.column(need).to_numpy(zero_copy_only=False), np.int64))
        return np.stack(columns, axis=1) if columns else np.zeros((rows.num_rows, 0), np.int64)

    def check(
        self,
        inputs: pa.Table,
        workers: int,
        *,
        memory_bytes: int | None = None,
        n_gpus: int | None = None,
        label: Callable[[int], str] = "row {}".format,
        remedy: str = "",
    ) -> None:
        """See that every spec can run on a machine.

        Args:
            inputs: The inputs of the specs.
            workers: See `capacity`.
            memory_bytes: See `capacity`.
            n_gpus: See `capacity`.
            label: Names a row for a person.
            remedy: What to do where a spec takes too much.

        Raises:
            ConfigError: If it is not said how many tokens there are, or a need names no input field of whole numbers.
            InvalidInputError: If a spec takes more than there is.
        """
        if self.is_plain:
            return
        capacity = self.capacity(workers, memory_bytes, n_gpus)
        for name, need in self._by_name().items():
            if isinstance(need, str):
                self._check_field(name, need, inputs, label)
        for name, there, column in zip(self._by_name(), capacity, self.of_rows(inputs).T, strict=True):
            if len(column) and int(column.max()) > there:
                row = int((column > there).argmax())
                raise InvalidInputError(
                    f"{label(row)} takes {_told(name, int(column[row]))}, and there {_there(name, there)}",
                    hint=remedy or _REMEDIES.get(name, "[scythe] tokens in experiments.toml says how many there are."),
                )

    def _check_field(self, name: str, need: str, inputs: pa.Table, label: Callable[[int], str]) -> None:
        import pyarrow as pa

        if need not in inputs.column_names or not pa.types.is_integer(inputs.schema.field(need).type):
            raise ConfigError(
                f'{name} = "{need}" is no input field of whole numbers',
                hint=f"It can be {_among(inputs)}, or a number.",
            )
        column: Any = inputs.column(need)
        least = 1 if name == _CPUS else 0
        if column.null_count:
            row = column.is_null().to_numpy().argmax()
            raise InvalidInputError(f"{label(int(row))}: {need} is empty, which says what the case takes ({name})")
        low = column.to_numpy() < least
        if low.any():
            raise InvalidInputError(
                f"{label(int(low.argmax()))}: {need} is less than {least}, which says what the case takes"
            )


def _among(inputs: pa.Table) -> str:
    import pyarrow as pa

    names = [f.name for f in inputs.schema if pa.types.is_integer(f.type)]
    return ", ".join(map(repr, names)) or "no field of this experiment"


def _told(name: str, n: int) -> str:
    if name == _CPUS:
        return f"{n} core{'s' * (n != 1)}"
    if name == _GPUS:
        return f"{n} GPU{'s' * (n != 1)}"
    if name == _MEMORY:
        return f"{format_size(n)} of memory"
    return f"{n} of the {name.replace('token ', 'tokens ', 1)}"


def _there(name: str, n: int) -> str:
    if name == _GPUS and not n:
        return "is none to use"
    return f"{'is' if n == 1 or name == _MEMORY else 'are'} {format_size(n) if name == _MEMORY else n}"


_REMEDIES = {
    _CPUS: "--workers says how many cores are used.",
    _GPUS: "Run it on a machine that has as many; `scythe doctor` shows those that can be used, and why.",
    _MEMORY: "Run it on a larger machine, or see `memory` in experiments.toml.",
}


def parse_need(name: str, value: Any, *, least: int = 0, is_size: bool = False) -> Need:
    """Check what a need is said to be: a number, or the name of an input field.

    Args:
        name: The option, for messages.
        value: What it is.
        least: The least number.
        is_size: Whether it is an amount of memory, such as `4GB`.

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    if isinstance(value, str) and value.isidentifier():
        return value
    if isinstance(value, str) and is_size:
        return parse_size(value)
    kind = "a size such as '4GB'" if is_size else f"a whole number from {least} on"
    raise ValueError(f"{name}={value!r} is neither {kind} nor the name of an input field")


def needs_of(cpus: Any, memory: Any, gpus: Any, tokens: Mapping[str, Any] | None) -> Needs:
    """Check the options of an experiment that say what a spec takes.

    Raises:
        ValueError: If one is not allowed.
    """
    names: Sequence[str] = list(tokens or {})
    return Needs(
        cpus=1 if cpus is None else parse_need(_CPUS, cpus, least=1),
        memory=None if memory in (None, LEARNED) else parse_need(_MEMORY, memory, least=1, is_size=True),
        gpus=0 if gpus is None else parse_need(_GPUS, gpus),
        tokens={name: parse_need(f"tokens.{name}", (tokens or {})[name]) for name in names},
        learns_memory=memory == LEARNED,
    )
