"""The S3 client of a process: s3fs with bounded patience, and with all repetition in one place."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from fsspec.asyn import sync
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential, wait_random

from scythe_cli.storage.base import TransferInterruptedError
from scythe_cli.storage.s3_faults import CLIENT_ERRORS, FaultKind, clock_difference, diagnose, server_time

__all__ = ["RecentKeys", "S3Client", "client_of_process", "plain_tag"]


CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 30
SLOWEST_BYTES_PER_S = 50_000
"""What is sent more slowly than this is given up, and sent again."""
PATIENCE_S = 30.0
"""How long a fault that can pass is waited for."""
FIRST_CONTACT_S = 3.5
"""The same for a server that has never answered: a wrong endpoint should be told at once."""

CLOCKS_DIFFER_S = 300.0
"""Clocks that differ by less are not worth a word."""

REMEMBERED_S = 900.0
"""For how long a process remembers what it has written."""

_MAX_CONNECTIONS = 32
_SIGNED_S = 300
_FIRST_WAIT_S = 0.2
_SPREAD_S = 0.3
_T = TypeVar("_T")

_latest: tuple[dict[str, str], S3Client] | None = None


def client_of_process() -> S3Client:
    """The client of all storages of this process; another one where the AWS_ variables have changed.

    To make a client takes 0.3 s of a core, and each has connections of its own.
    """
    global _latest
    variables = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    if _latest is None or _latest[0] != variables:
        _latest = variables, S3Client()
    return _latest[1]


class RecentKeys:
    """What this process has written and deleted of late, by bucket and name; for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tags: dict[tuple[str, str], tuple[float, str | None]] = {}

    def wrote(self, bucket: str, name: str, tag: object) -> None:
        """Remember that an object was written; `tag` is the ETag that the store gave it, if it did."""
        self._note(bucket, name, plain_tag(tag))

    def deleted(self, bucket: str, name: str) -> None:
        """Remember that an object was deleted."""
        self._note(bucket, name, None)

    def _note(self, bucket: str, name: str, tag: str | None) -> None:
        now_s = time.monotonic()
        with self._lock:
            self._tags.pop((bucket, name), None)  # the newest are the last
            self._tags[bucket, name] = now_s, tag
            while now_s - self._tags[oldest := next(iter(self._tags))][0] > REMEMBERED_S:
                del self._tags[oldest]

    def below(self, bucket: str, start: str) -> list[tuple[str, str | None]]:
        """The names that begin with something, each with its ETag, or None where it was deleted."""
        since_s = time.monotonic() - REMEMBERED_S
        with self._lock:
            return [
                (name, tag)
                for (where, name), (noted_s, tag) in self._tags.items()
                if where == bucket and name.startswith(start) and noted_s >= since_s
            ]

    def after_fork(self) -> None:
        """In a child process: the lock may have been held by another thread at the moment of the fork."""
        self._lock = threading.Lock()


def plain_tag(tag: object) -> str:
    """An ETag without quotes; "" where there is none."""
    return str(tag or "").strip('"')


class S3Client:
    """Calls of S3 operations, from any thread and after a fork.

    Attributes:
        recent: What this process has written and deleted of late.
        keeps: The buckets that have refused to delete something.
        exclusive: The buckets of which it is known that they create exclusively.
    """

    def __init__(self) -> None:
        self.recent = RecentKeys()
        self.exclusive: set[str] = set()
        self.keeps: set[str] = set()
        self._pid = 0
        self._fs: Any = None
        self._lock = threading.Lock()
        self._answered = False
        self._off_s: float | None = None  # how far this machine's clock is ahead of the server's
        self._generation = 0
        self._retired: list[Any] = []
        # clients of a parent process: closing them in the child would wait for a thread that is not there
        self._inherited: list[Any] = []

    def prepare(self, place: str) -> None:
        """Load now what the first call would have to wait for; no bucket is asked.

        Args:
            place: Where the calls will go, for the message.

        Raises:
            StorageError: If the configuration of AWS is not right.
        """
        filesystem = self._filesystem()
        self.patiently("open", place, lambda: sync(filesystem.loop, filesystem.set_session))

    def call(self, operation: str, **parameters: Any) -> Any:
        """One operation, once."""
        filesystem = self._filesystem()
        limit_s = READ_TIMEOUT_S + len(parameters.get("Body") or b"") / SLOWEST_BYTES_PER_S

        async def bounded() -> Any:
            # the client's own limit begins when all is sent: it waits for ever for a server that takes no body
            return await asyncio.wait_for(filesystem._call_s3(operation, **parameters), limit_s)

        answer: Any = sync(filesystem.loop, bounded)
        self._answered = True
        if self._off_s is None and (now := server_time(answer)) is not None:
            self._off_s = (datetime.now(UTC) - now).total_seconds()
        return answer

    def fetch_many(self, operation: str, requests: Sequence[dict[str, Any]], most_bytes: int) -> list[bytes | None]:
        """The bodies of the answers to many requests that read, several at once and each asked for once.

        Through the client, a request takes 1.2 ms of a core; a URL that it has signed, fetched over its connections, a
        third of that.

        Args:
            operation: The operation, such as `get_object`.
            requests: The parameters of each; with `Range`, so much is read.
            most_bytes: The largest body that is taken.

        Returns:
            The bodies; None for an answer that is anything but a success, or longer.
        """
        filesystem = self._filesystem()

        async def all_of_them() -> list[bytes | None]:
            client: Any = await filesystem.set_session()
            client.meta.events.register_first("choose-signer.s3", _newest_signature, unique_id="scythe-signature")
            limit = asyncio.Semaphore(_MAX_CONNECTIONS)

            async def one(parameters: dict[str, Any]) -> bytes | None:
                async with limit:
                    try:
                        return await asyncio.wait_for(
                            _fetched(client, operation, parameters, most_bytes), READ_TIMEOUT_S
                        )
                    except (*CLIENT_ERRORS, TimeoutError):
                        return None

            return await asyncio.gather(*map(one, requests))

        bodies: Any = sync(filesystem.loop, all_of_them)
        return list(bodies)

    def clock_notices(self) -> list[str]:
        """What is to be said of the clock of this machine; nothing where it agrees with that of the server."""
        if self._off_s is None or abs(self._off_s) < CLOCKS_DIFFER_S:
            return []
        return [f"the clock of this machine is {clock_difference(self._off_s)}: runs may be listed in a wrong order"]

    def read_body(self, body: Any, n_bytes: int) -> bytes:
        """Read on in the body of an answer."""
        chunk: Any = sync(self._filesystem().loop, body.read, n_bytes)
        return bytes(chunk)

    def patiently(self, action: str, place: str, once: Callable[[], _T]) -> _T:
        """Call again while a fault can pass, and turn what remains into StorageError.

        Args:
            action: What is done, for the message.
            place: Where, for the message.
            once: What to call.

        Raises:
            StorageError: `cannot <action> <place>: <reason>`.
        """
        generation = self._generation
        try:
            try:
                return self._retried(once)
            except CLIENT_ERRORS as error:
                if diagnose(error).kind is not FaultKind.CREDENTIALS or not self._renew(generation):
                    raise
                return self._retried(once)
        except TransferInterruptedError:
            raise
        except CLIENT_ERRORS as error:
            raise diagnose(error).error(action, place) from error

    def _retried(self, once: Callable[[], _T]) -> _T:
        retrying = Retrying(
            retry=retry_if_exception(_can_pass),
            wait=wait_exponential(multiplier=_FIRST_WAIT_S, max=5) + wait_random(0, _SPREAD_S),
            stop=self._out_of_patience,
            reraise=True,
        )
        return retrying(once)

    def _renew(self, generation: int) -> bool:
        """Read the credentials again, unless another thread has done so since; False where they have never been good.

        The client reads ~/.aws/credentials once, and no more after it was written anew.
        """
        with self._lock:
            if not self._answered:
                return False
            if self._generation == generation:
                self._generation += 1
                # other threads are still using it
                self._retired.append(self._fs)
                self._fs = None
            return True

    def _out_of_patience(self, state: RetryCallState) -> bool:
        waited_s = state.seconds_since_start or 0.0
        error = state.outcome.exception() if state.outcome else None
        if error is not None and diagnose(error).kind is FaultKind.UNREACHABLE and not self._answered:
            return waited_s > FIRST_CONTACT_S
        return waited_s > PATIENCE_S

    def _filesystem(self) -> Any:
        """The client of this process."""
        if self._pid != os.getpid():
            # the lock may have been held by another thread at the moment of the fork
            self._lock = threading.Lock()
            self.recent.after_fork()
            if self._fs is not None:
                self._inherited.append(self._fs)
            self._fs, self._pid = None, os.getpid()
        with self._lock:
            if self._fs is None:
                self._fs = _make_filesystem()
            return self._fs


def _newest_signature(signature_version: str, **_: Any) -> str | None:
    """Signed URLs by version 4 as well, like all other requests; the client's default for them is version 2."""
    return "s3v4-query" if signature_version in ("v4-query", "s3v4-query") else None


async def _fetched(client: Any, operation: str, parameters: dict[str, Any], most_bytes: int) -> bytes | None:
    from botocore.awsrequest import AWSRequest

    # its own connections, with their proxies and certificates; another version may keep them elsewhere
    session = getattr(getattr(client, "_endpoint", None), "http_session", None)
    if session is None:
        return None
    url = await client.generate_presigned_url(operation, Params=parameters, ExpiresIn=_SIGNED_S)
    headers = {"Range": parameters["Range"]} if "Range" in parameters else {}
    answer = await session.send(AWSRequest("GET", url, headers).prepare())
    size = answer.headers.get("Content-Length")
    if answer.status_code not in (200, 206) or size is None or int(size) > most_bytes:
        answer.raw.close()
        return None
    return await answer.content


def _can_pass(error: BaseException) -> bool:
    return isinstance(error, (*CLIENT_ERRORS, TransferInterruptedError)) and diagnose(error).passing


def _make_filesystem() -> Any:
    from s3fs import S3FileSystem

    # botocore knows AWS_ENDPOINT_URL but not AWS_REGION
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    filesystem: Any = S3FileSystem(
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None,
        client_kwargs={"region_name": region} if region else {},
        config_kwargs={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "max_pool_connections": _MAX_CONNECTIONS,
            # repeated here and not there: a creation must know whether an earlier try may have done it
            "retries": {"total_max_attempts": 1, "mode": "standard"},
        },
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    filesystem.retries = 1
    return filesystem
