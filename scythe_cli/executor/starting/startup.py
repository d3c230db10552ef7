"""The start of processes as one run sees it: what is awaited, what has failed, and when that is hopeless."""

from __future__ import annotations

import selectors
import time

from scythe_cli.core.quantities import format_duration
from scythe_cli.errors import EntrypointError
from scythe_cli.executor.attribution import describe_exit, is_start_hopeless
from scythe_cli.executor.process import ChildProcesses
from scythe_cli.executor.rows.capture import split_fault
from scythe_cli.executor.rows.failure import cut_middle
from scythe_cli.executor.starting.template import Template, TemplateState

__all__ = ["Startup"]


class Startup:
    """What a run knows of processes that are being started.

    Args:
        processes: The processes.
        selector: Waits for the template as well, while it loads the experiment.
    """

    def __init__(self, processes: ChildProcesses, selector: selectors.BaseSelector) -> None:
        self._processes = processes
        self._selector = selector
        self._awaited: Template | None = None
        self._n_failed = 0
        self._has_started = any(child.is_ready for child in processes.all)

    @property
    def is_loading(self) -> bool:
        """Whether the template is loading the experiment."""
        return self._awaited is not None

    def awaits_template(self) -> bool:
        """Whether the template is going to be ready; one that has ended before that is replaced.

        Raises:
            EntrypointError: If that is hopeless, or the experiment cannot be loaded.
            EngineError: If no process can be started.
        """
        templates = self._processes.templates
        template = templates.current()
        if template is not None and template.state is TemplateState.LOST:
            templates.lose()
            output, stack = split_fault(template.output())
            self.note_failure(template.exit_code(), output, stack)
            template = templates.current()
        if template is None or template.state is not TemplateState.LOADING:
            return False
        if self._awaited is None:
            self._awaited = template
            self._selector.register(template, selectors.EVENT_READ, template)
        return True

    def poll(self) -> None:
        """See whether the template has loaded the experiment; another run may have seen it first.

        Raises:
            EntrypointError: If it cannot, or takes too long.
        """
        if self._awaited is None:
            return
        if self._awaited.poll() is TemplateState.LOADING:
            self.check_time(self._awaited.started_s)
            return
        self._selector.unregister(self._awaited)
        self._awaited = None

    def check_time(self, started_s: float) -> None:
        """See that a process that has been started and is not ready may still take time.

        Raises:
            EntrypointError: If not.
        """
        limit_s = self._processes.limits.startup_timeout_s
        if time.monotonic() - started_s > limit_s:
            raise EntrypointError(
                f"{self._processes.target.describe()} was not loaded within {format_duration(limit_s)}",
                hint='If loading really takes that long, allow more in experiments.toml: `startup_timeout = "30m"`.',
            )

    def note_success(self) -> None:
        """A process is ready."""
        self._has_started = True
        self._n_failed = 0

    def note_failure(self, code: int, output: str | None, stack: str | None) -> None:
        """A process has ended before it was ready.

        Args:
            code: How it ended.
            output: What it had printed.
            stack: Where it was.

        Raises:
            EntrypointError: If no further one is tried.
        """
        self._n_failed += 1
        if not is_start_hopeless(self._n_failed, has_started=self._has_started):
            return
        text = "\n".join(part.rstrip() for part in (output, stack) if part)
        raise EntrypointError(
            f"{self._processes.target.describe()} cannot be loaded: {describe_exit(code)[1]}"
            + (f"\n{cut_middle(text, 5_000)}" if text else "")
        )
