"""A packed run put into a storage: `scythe results unpack`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import Field, ValidationError

from scythe_cli.analysis.packing.archive import PROJECT_FOLDER, RUNS_FOLDER, ProgressOfFiles
from scythe_cli.core.folders import owned_prefix
from scythe_cli.core.records import Record
from scythe_cli.errors import PackedRunError, StorageError, UsageError
from scythe_cli.run.layout import RunLayout
from scythe_cli.run.manifest import RunManifest, load_yaml
from scythe_cli.services.packing.crate_file import CrateFile
from scythe_cli.storage.base import Storage

__all__ = ["UnpackResult", "unpack_run"]


_TRANSFER_THREADS = 8


class UnpackResult(Record):
    """A packed run that was put into a storage."""

    experiment_id: str
    uri: str = Field(description="its folder")
    n_files: int
    size_bytes: int
    code: list[str] = Field(description="the source files and settings in the packed file, which are not unpacked")
    notices: list[str] = Field(default=[])


def unpack_run(path: Path, storage: Storage, progress: ProgressOfFiles | None = None) -> UnpackResult:
    """Put a packed run into a storage, once every checksum is known to be right.

    Until all of it is there, its manifest says that it is being allocated. When this ends with an error, nothing of it
    stays.

    Args:
        path: The packed run.
        storage: Where to.
        progress: Called for each file.

    Raises:
        MissingFileError: If there is no such file.
        PackedRunError: If it is damaged, or no packed run.
        UsageError: If the storage has a run of that name.
        StorageError: If the storage cannot be written.
    """
    with CrateFile.open(path) as crate:
        run = crate.run
        crate.check(progress)
        if storage.list_tree(run.experiment_id):
            raise _is_there(run, storage)
        manifest = crate.read(f"{RUNS_FOLDER}/{run.manifest}")
        if not storage.create(run.manifest, _claim(path, run, manifest)):
            raise _is_there(run, storage)
        try:
            size_bytes = _put_files(crate, storage, progress)
            storage.write_bytes(run.manifest, manifest)
        except BaseException:
            with suppress(StorageError):
                storage.delete_tree(run.experiment_id)
            raise
        return UnpackResult(
            experiment_id=run.experiment_id,
            uri=storage.uri(run.experiment_id),
            n_files=len(crate.run_names),
            size_bytes=size_bytes + len(manifest),
            code=[name.removeprefix(f"{PROJECT_FOLDER}/") for name in crate.names_below(PROJECT_FOLDER)],
        )


def _is_there(run: RunLayout, storage: Storage) -> UsageError:
    return UsageError(
        f"{run.experiment_id} is in {storage.location} already; a run is never replaced",
        hint="Choose another storage with --storage, or remove that run first.",
    )


def _claim(path: Path, run: RunLayout, manifest: bytes) -> bytes:
    """The manifest for the time until all files are there."""
    try:
        read = RunManifest.model_validate(load_yaml(manifest, run.manifest))
    except (ValidationError, StorageError) as error:
        raise PackedRunError(f"{path} is no packed run: its manifest is not valid") from error
    if read.experiment_id != run.experiment_id:
        raise PackedRunError(f"{path} is no packed run: its manifest is of another one")
    return read.model_copy(update={"state": "allocating"}).to_yaml()


def _put_files(crate: CrateFile, storage: Storage, progress: ProgressOfFiles | None) -> int:
    """Put all files but the manifest; the tables after the ledger, as who asks whether they are current expects."""
    run = crate.run
    names = [name for name in crate.run_names if name != f"{RUNS_FOLDER}/{run.manifest}"]
    scalars = [name for name in names if name == f"{RUNS_FOLDER}/{run.table('scalars')}"]
    tables = [name for name in names if name.startswith(f"{RUNS_FOLDER}/{run.final}/") and name not in scalars]
    last = {*tables, *scalars}
    others = [name for name in names if name not in last]
    total, numbers = 0, count(1)
    with TemporaryDirectory(prefix=owned_prefix("unpack")) as folder:

        def put(name: str) -> int:
            number = next(numbers)
            if progress is not None:
                progress("unpacking", name, number, len(names))
            copy = Path(folder) / str(number)
            crate.extract(name, copy)
            size_bytes = copy.stat().st_size
            storage.put_file(copy, name.removeprefix(f"{RUNS_FOLDER}/"), sha256=crate.sums[name])
            copy.unlink()
            return size_bytes

        for group in (others, tables, scalars):
            total += _each(put, group, is_remote=storage.local_path("any") is None)
    return total


def _each(put: Callable[[str], int], names: Sequence[str], *, is_remote: bool) -> int:
    """Call for each name, several at once where each waits for a server."""
    if not is_remote:
        return sum(map(put, names))
    with ThreadPoolExecutor(_TRANSFER_THREADS, thread_name_prefix="scythe-unpack") as pool:
        futures = [pool.submit(put, name) for name in names]
        try:
            return sum(future.result() for future in futures)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
