"""Who works on a run: an object `<run>/.lease`, so that two processes do not run the same specs.

What it guarantees, with a storage that can create exclusively, read, replace and delete:

- While a lease is fresh, nobody else gets it: it is created exclusively, and every other process is refused.
- Of several processes that find a lease whose owner is gone, exactly one takes it over. It first creates, exclusively,
  a claim that is named after the lease to be replaced; then it sees that this very lease is still there; then it
  replaces it, and only then removes the claim. Who comes later finds another lease, or the claim. If a process dies
  while it has a claim, the next one creates another of the next number, exclusively as well.
- An owner that has lost its lease, because it was suspended or cut off for longer than the lease holds, finds out when
  it next renews, and stops. Until then, at most `RENEW_S`, both can be at work.

- A lease that says that it holds for longer than any does is believed no longer than one that was written when it was.

- On S3, where each answer tells the server's time, a lease counts as run out only if it has by the server's clock as
  well: neither its owner nor whoever finds it needs a clock that is right.

What it does not: on a folder, a clock that is wrong by more than `GRACE_S` makes a living owner look like one that is
gone; and an owner that renews in the very moment in which it is replaced can win against who replaces it, who then
stops. Neither can spoil a run: parts of the ledger have names of their own, and of two outcomes of a spec one counts.
"""

from __future__ import annotations

import json
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from scythe_cli.core.processes import is_alive, machine, start_of
from scythe_cli.errors import StorageError, UsageError
from scythe_cli.run.layout import LEASE_NAME, RunLayout
from scythe_cli.storage.base import ForeignKeyError, MissingKeyError, RefusedError, Storage

__all__ = ["GRACE_S", "LEASE_S", "RENEW_S", "Lease", "LeaseRecord", "abandoned_claims", "hold_lease", "read_owner"]


LEASE_S = 60.0
"""How long a lease holds when it is not renewed."""

RENEW_S = 15.0
"""How often it is renewed."""

GRACE_S = 10.0
"""How much longer others wait, for clocks that differ."""

_held: set[str] = set()
"""The tokens of the leases that this process holds."""

_SETTLE_S = 0.5
_MAX_CLAIMS = 100
_MAX_BYTES = 65_536
_MAX_PID = 2**31
_YEARS = range(1970, 3000)
_GIVEN_BACK = datetime(1970, 1, 1, tzinfo=UTC)


def abandoned_claims(storage: Storage, run: RunLayout) -> list[str]:
    """The keys of claims that were left by processes that died while taking over; only for who holds the lease."""
    names = [file.name for file in storage.list_files(run.experiment_id)]
    return [run.key(name) for name in names if name.startswith(f"{LEASE_NAME}-")]


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What the object says.

    Attributes:
        token: Tells this lease from all others.
        host: The owner's machine, for people.
        machine: The same for programs: a process id means something only within it, and until it is started again.
        pid: The owner's process.
        process_start: When that process began, since ids are used again; as `processes.start_of` tells it.
        since: When the owner began to work on the run.
        expires: When the lease ends unless it is renewed.
    """

    token: str
    host: str
    machine: str
    pid: int
    process_start: float
    since: datetime
    expires: datetime

    def to_bytes(self) -> bytes:
        """As JSON."""
        times = {"since": self.since.isoformat(), "expires": self.expires.isoformat()}
        return json.dumps(asdict(self) | times).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> LeaseRecord | None:
        """Read what `to_bytes` wrote; None for anything else."""
        try:
            fields: dict[str, Any] = json.loads(data)
            moments = {name: datetime.fromisoformat(fields[name]) for name in ("since", "expires")}
            if any(moment.tzinfo is None or moment.year not in _YEARS for moment in moments.values()):
                return None
            record = cls(
                token=str(fields["token"]),
                host=str(fields["host"])[:200],
                machine=str(fields["machine"]),
                pid=int(fields["pid"]),
                process_start=float(fields["process_start"]),
                **moments,
            )
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
            return None
        # the token becomes part of a key
        is_token = record.token.isascii() and record.token.isalnum() and len(record.token) <= 64
        is_process = 0 < record.pid < _MAX_PID and math.isfinite(record.process_start)
        return record if is_token and is_process else None

    def owner_is_gone(self, now: datetime) -> bool:
        """Whether the lease has run out, or its owner is known to be dead, or to have tried to give it back."""
        if now > self.expires + timedelta(seconds=GRACE_S):
            return True
        if self.machine != machine():
            return False
        if self.pid == os.getpid() and self.token not in _held:
            return True  # the storage did not let us remove it
        return not is_alive(self.pid, self.process_start)

    def describe(self) -> str:
        """Name the owner for a person."""
        return f"{self.host}, process {self.pid}, since {self.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


class Lease:
    """A lease that this process holds; a thread renews it until `release`.

    Args:
        storage: Where the run is kept.
        run: The run.
        on_lost: Called, from that thread, when another process has taken the lease over.

    Raises:
        UsageError: If another process holds the lease; the message names it.
        StorageError: If the storage cannot be used.
    """

    def __init__(self, storage: Storage, run: RunLayout, on_lost: Callable[[], None] | None = None) -> None:
        self._storage = storage
        self._run = run
        self._key = run.key(LEASE_NAME)
        self._on_lost = on_lost
        self._record = _new_record()
        self._released = threading.Event()
        self._lost_to: LeaseRecord | None = None
        _held.add(self._record.token)
        try:
            self._acquire()
        except BaseException:
            _held.discard(self._record.token)
            raise
        self._thread = threading.Thread(target=self._keep, name="scythe-lease", daemon=True)
        self._thread.start()

    @property
    def lost_to(self) -> LeaseRecord | None:
        """Who has taken it over; None while it is held."""
        return self._lost_to

    def check(self) -> None:
        """See that it is still held.

        Raises:
            StorageError: If another process has taken it over.
        """
        if self._lost_to is not None:
            raise StorageError(
                f"{self._run.experiment_id} was taken over by another process ({self._lost_to.describe()})",
                hint="This process did not respond for too long. Its finished cases are kept.",
            )

    def confirm(self) -> None:
        """See in the storage itself that it is held, right before something is done that must not be done twice.

        Raises:
            StorageError: If another process has taken it over, or the storage cannot be read.
        """
        found = self._read(self._key)
        if found is not None and found.token != self._record.token:
            self._lost_to = found
        self.check()

    def release(self) -> None:
        """Give it back; a lease of somebody else is left alone."""
        self._released.set()
        self._thread.join()
        _held.discard(self._record.token)
        # a lease that cannot be removed runs out by itself
        with suppress(StorageError):
            found = self._read(self._key)
            if found is not None and found.token == self._record.token:
                self._give_back()

    def _give_back(self) -> None:
        try:
            self._storage.delete(self._key)
        except RefusedError:
            # it stays, and tells that nobody holds it
            self._storage.write_bytes(self._key, replace(self._record, expires=_GIVEN_BACK).to_bytes())
            self._storage.discard(self._key)

    def _acquire(self) -> None:
        for _ in range(3):
            if self._create(self._key):
                return
            try:
                found = _read_record(self._storage, self._key)
            except MissingKeyError:
                continue  # given back in this moment
            if found is not None and not found.owner_is_gone(datetime.now(UTC)):
                raise self._refusal(found)
            # of an object that cannot be read nobody can be the owner
            if self._take_over(found):
                return
        raise self._refusal(self._read(self._key))

    def _take_over(self, old: LeaseRecord | None) -> bool:
        """Replace the lease of an owner that is gone; False if another process is about to, or has done it."""
        token = _token_of(old)
        claims: list[str] = []
        for number in range(1, _MAX_CLAIMS):
            claims.append(self._run.key(f"{LEASE_NAME}-{token}-{number}"))
            if self._create(claims[-1]):
                break
            by = self._read(claims[-1])
            if by is not None and not by.owner_is_gone(datetime.now(UTC)):
                time.sleep(_SETTLE_S)
                return False
            # who made it died while taking over. It is not removed: who looked at the same time could then remove
            # the claim of somebody who is alive
        else:
            raise StorageError(
                f"{self._run.experiment_id} has {_MAX_CLAIMS - 1} unused claims",
                hint=f"Remove the files in its folder whose names begin with {LEASE_NAME}-.",
            )
        try:
            if _token_of(self._read(self._key)) != token:
                claims = claims[-1:]  # the others are not ours to remove
                return False
            self._record = replace(self._record, expires=_expiry())
            self._storage.write_bytes(self._key, self._record.to_bytes())
        finally:
            for claim in claims:
                self._storage.discard(claim)
        return True

    def _create(self, key: str) -> bool:
        """Create an object; on a storage that lost its answer, it may be there and be ours all the same."""
        if self._storage.create(key, self._record.to_bytes()):
            return True
        found = self._read(key)
        return found is not None and found.token == self._record.token

    def _refusal(self, owner: LeaseRecord | None) -> UsageError:
        who = owner.describe() if owner else "its owner cannot be read"
        free_at = owner.expires + timedelta(seconds=GRACE_S) if owner else None
        until = f" It can be taken over at {free_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if free_at else ""
        return UsageError(
            f"another process is working on {self._run.experiment_id}: {who}",
            hint=f"Wait until it has finished, or stop it.{until}{' if it is dead.' if owner else ''}",
        )

    def _read(self, key: str) -> LeaseRecord | None:
        try:
            return _read_record(self._storage, key)
        except MissingKeyError:
            return None

    def _keep(self) -> None:
        while not self._released.wait(RENEW_S):
            try:
                self._renew()
            except StorageError:
                continue  # nobody can take it over without the storage, either
            if self._lost_to is not None:
                if self._on_lost:
                    self._on_lost()
                return

    def _renew(self) -> None:
        found = self._read(self._key)
        if found is not None and found.token != self._record.token:
            self._lost_to = found
            return
        self._record = replace(self._record, expires=_expiry())
        if found is not None:
            self._storage.write_bytes(self._key, self._record.to_bytes())
        else:
            # removed by hand; if somebody else was faster, the next round finds that out
            self._storage.create(self._key, self._record.to_bytes())


@contextmanager
def hold_lease(storage: Storage, run: RunLayout, on_lost: Callable[[], None] | None = None) -> Generator[Lease]:
    """Hold the lease of a run while inside; see `Lease`."""
    lease = Lease(storage, run, on_lost)
    try:
        yield lease
    finally:
        lease.release()


def read_owner(storage: Storage, run: RunLayout) -> LeaseRecord | None:
    """Who is at work on a run; None when nobody is: there is no lease, or its owner is gone.

    Raises:
        StorageError: If the storage cannot be read.
    """
    try:
        found = _read_record(storage, run.key(LEASE_NAME))
    except MissingKeyError:
        return None
    return None if found is None or found.owner_is_gone(datetime.now(UTC)) else found


def _read_record(storage: Storage, key: str) -> LeaseRecord | None:
    """What a lease or a claim says; None where it is nothing that an owner could have written.

    Raises:
        MissingKeyError: If there is none.
    """
    try:
        record = LeaseRecord.from_bytes(storage.read_bytes(key, max_bytes=_MAX_BYTES))
    except ForeignKeyError:
        return None
    now = datetime.now(UTC)
    if record is None or record.expires == _GIVEN_BACK or _is_plausible(record, now):
        return record
    info = storage.info(key)
    if info.age_s is not None and info.age_s >= -GRACE_S:
        # its owner's clock or this one is wrong, or it is an old one: the server's clock alone tells how old it is
        return replace(record, expires=now + timedelta(seconds=LEASE_S - info.age_s))
    if record.expires <= now:
        return record
    # no owner whose clock is right writes that: how long it holds is told by when it was written
    if info.modified > now + timedelta(seconds=GRACE_S):
        return None
    return replace(record, expires=info.modified + timedelta(seconds=LEASE_S))


def _is_plausible(record: LeaseRecord, now: datetime) -> bool:
    """Whether a lease holds, and has been renewed in time, as far as the two clocks tell."""
    longest = timedelta(seconds=LEASE_S + GRACE_S)
    return now - timedelta(seconds=GRACE_S) <= record.expires <= now + longest


def _token_of(record: LeaseRecord | None) -> str:
    return record.token if record else "unreadable"


def _expiry() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=LEASE_S)


def _new_record() -> LeaseRecord:
    return LeaseRecord(
        token=uuid4().hex,
        host=socket.gethostname(),
        machine=machine(),
        pid=os.getpid(),
        process_start=start_of(os.getpid()) or 0.0,
        since=datetime.now(UTC),
        expires=_expiry(),
    )
