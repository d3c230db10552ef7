"""What the page asks for: each endpoint calls a service and answers with JSON."""

from __future__ import annotations

import json
import logging
import mimetypes
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from threading import Lock
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from scythe_cli.analysis.cases.selecting import parse_filters
from scythe_cli.analysis.cases.views import plain_cell
from scythe_cli.core.distribution import installed_version, needs_extra
from scythe_cli.core.text import visible
from scythe_cli.errors import NotFoundError, ScytheError, UnreachableError, UsageError
from scythe_cli.run.ledger import POLARS_ERRORS
from scythe_cli.services.runs.case import case_files, case_record
from scythe_cli.ui.documents import document
from scythe_cli.ui.store import OpenOverlay, OpenRun, RunStore

with needs_extra("ui", "`scythe ui`"):
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import Response
    from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from scythe_cli.analysis.cases.views import CaseViews
    from scythe_cli.run.stored_run import StoredRun

__all__ = ["Endpoints"]

logger = logging.getLogger(__name__)

_SQL_ROWS = 1_000
_SQL_S = 20.0
_SQL_BYTES = 100_000
_DIFF_CELLS = 500
_FILE_BYTES = 256_000_000
_PICTURES = {"image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml"}
_FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""A picture with a script in it, opened by itself, is none of this server's pages."""


def _told(error: ScytheError) -> Response:
    status = 404 if isinstance(error, NotFoundError) else 502 if isinstance(error, UnreachableError) else 400
    hint = None if error.hint is None else visible(error.hint)
    return document({"error": visible(error.message)[:2_000], "hint": hint}, status)


def _answering(call: Callable[[Endpoints, Request], Response]) -> Callable[[Endpoints, Request], Response]:
    """Tell what is expected to go wrong, and of all else only that it did."""

    @wraps(call)
    def answered(self: Endpoints, request: Request) -> Response:
        try:
            return call(self, request)
        except ScytheError as error:
            return _told(error)
        except (Exception, *POLARS_ERRORS):
            logger.exception("the page could not be answered")
            return document({"error": "this part of the run cannot be shown", "hint": "The terminal tells why."}, 500)

    return answered


class Endpoints:
    """Answers the page.

    Attributes:
        store: The runs.
        options: Global options that commands need to find the same runs.
        first: The run that is shown first; None for the list of runs.
    """

    def __init__(self, store: RunStore, options: str = "", first: str | None = None) -> None:
        self.store = store
        self.options = options
        self.first = first
        self._asking = Lock()

    def routes(self) -> list[Route]:
        """All endpoints."""
        return [
            Route("/api/start", self.start),
            Route("/api/runs", self.runs),
            Route("/api/run", self.run),
            Route("/api/overlay", self.overlay),
            Route("/api/live", self.live),
            Route("/api/views", self.views),
            Route("/api/sensitivity", self.sensitivity),
            Route("/api/study", self.study),
            Route("/api/varied", self.varied),
            Route("/api/case", self.case),
            Route("/api/file", self.file),
            Route("/api/errors", self.errors),
            Route("/api/diff", self.diff),
            Route("/api/sql", self.sql, methods=["POST"]),
        ]

    @_answering
    def start(self, request: Request) -> Response:
        """What the page begins with."""
        del request
        return document({"version": installed_version(), "location": self.store.storage.location, "run": self.first})

    @_answering
    def runs(self, request: Request) -> Response:
        """Some of the runs, newest first."""
        query = request.query_params
        experiment = query.get("experiment") or None
        limit = min(_whole(query.get("limit"), 50), 200)
        return document(
            self.store.list.listed(_whole(query.get("offset"), 0), limit, experiment, again="again" in query)
        )

    @_answering
    def varied(self, request: Request) -> Response:
        """What varied in some runs."""
        names = _names(_json(f'{{"runs":{request.query_params.get("runs", "[]")}}}').get("runs"))
        return document({"varied": self.store.varied(names[:200])})

    @_answering
    def run(self, request: Request) -> Response:
        """How far a run is, what is known of it, and the columns of its cases."""
        opened = self.store.open(request.query_params.get("run", ""))
        with opened.lock:
            status, is_live = opened.status(), opened.is_live()
            stamp, views = opened.views()
            cases = views.selection.cases
            manifest = opened.run.manifest
        notes = {
            "sampling file": manifest.sampling_file if manifest else None,
            "engine": status.engine,
            "seed": manifest.seed if manifest else None,
            "git commit": _commit(manifest),
            "folder": status.uri,
        }
        return document(
            {
                "status": status.model_dump(mode="json"),
                "live": is_live,
                "stamp": stamp,
                "n": cases.n,
                "columns": [asdict(column) for column in cases.columns.values()],
                "study": visible(manifest.study.name) if manifest and manifest.study else None,
                "notes": {name: visible(str(value)) for name, value in notes.items() if value is not None},
            }
        )

    @_answering
    def live(self, request: Request) -> Response:
        """How far a run is; the page asks for it again and again."""
        opened = self._opened(request)
        answer: dict[str, Any] = {"live": opened.is_live(), "stamp": opened.stamp()}
        if isinstance(opened, OpenRun):
            answer["status"] = opened.status().model_dump(mode="json")
        else:
            answer["members"] = _members(opened)
        return document(answer)

    @_answering
    def overlay(self, request: Request) -> Response:
        """How far several runs are, and the columns that they have in common."""
        opened = self._opened(request)
        if isinstance(opened, OpenRun):
            raise UsageError("the page asked for one run where several are meant")
        with opened.lock:
            live = opened.is_live()
            stamp, views = opened.views()
            cases = views.selection.cases
            answer = {
                "members": _members(opened),
                "live": live,
                "stamp": stamp,
                "n": cases.n,
                "columns": [asdict(column) for column in cases.columns.values()],
                "left_out": {visible(name)[:200]: visible(why)[:400] for name, why in opened.left_out.items()},
            }
        return document(answer)

    def _opened(self, request: Request) -> OpenRun | OpenOverlay:
        """The run that a question is about, or the several runs."""
        query = request.query_params
        if "runs" in query:
            return self.store.overlay(_names(_json(f'{{"runs":{query["runs"]}}}').get("runs")))
        return self.store.open(query.get("run", ""))

    @_answering
    def views(self, request: Request) -> Response:
        """All that a page shows of the chosen cases: histograms, points, lines and a page of the table."""
        query = request.query_params
        wanted = _json(query.get("want", "{}"))
        filters = parse_filters(query.get("where", ""))
        opened = self._opened(request)
        with opened.lock:
            stamp, views = opened.views()
            answer = _answer_views(views, filters, wanted)
        return document({"stamp": stamp, **answer})

    @_answering
    def sensitivity(self, request: Request) -> Response:
        """How closely outputs follow inputs, over a sample; of a design that allows it, Sobol indices as well."""
        from scythe_cli.analysis.cases.influence import influences

        filters = parse_filters(request.query_params.get("where", ""))
        opened = self._opened(request)
        with opened.lock:
            stamp, views = opened.views()
            told = influences(views.selection, filters)
            told["sobol"] = opened.sobol(stamp) if isinstance(opened, OpenRun) else None
        return document(_plain({"stamp": stamp, **told}))

    @_answering
    def study(self, request: Request) -> Response:
        """How a study came nearer to its targets; None for a run of no study."""
        run = self.store.run(request.query_params.get("run", ""))
        told = run.study()
        return document({"study": None if told is None else _plain(told.model_dump(mode="json"))})

    @_answering
    def case(self, request: Request) -> Response:
        """One case."""
        opened = self.store.open(request.query_params.get("run", ""))
        with opened.lock:
            _, views = opened.views()
            run, cases = opened.run, views.selection.cases
        row = _whole(request.query_params.get("row"), 0)
        return document(case_record(run, cases, row, options=self.options).model_dump(mode="json"))

    @_answering
    def file(self, request: Request) -> Response:
        """A file of a case: a picture as it is, anything else to be saved."""
        query = request.query_params
        run = self.store.run(query.get("run", ""))
        key = query.get("key", "")
        known = next((file for file in case_files(run, _whole(query.get("row"), 0)) if file.key == key), None)
        if known is None:
            raise NotFoundError("the case has no such file")
        content = run.storage.read_bytes(key, max_bytes=_FILE_BYTES)
        kind = mimetypes.guess_type(known.name)[0]
        is_picture = kind in _PICTURES
        name = quote(known.name.rpartition("/")[2], safe="")
        headers = {
            "content-security-policy": _FILE_POLICY,
            "content-disposition": f"{'inline' if is_picture else 'attachment'}; filename*=UTF-8''{name}",
        }
        kind = kind if is_picture else "application/octet-stream"
        return Response(content, media_type=kind, headers=headers)

    @_answering
    def errors(self, request: Request) -> Response:
        """What went wrong in a run, grouped."""
        run = self.store.run(request.query_params.get("run", ""))
        told = run.errors(limit=0)
        answer = {name: [_group(group) for group in getattr(told, name)] for name in ("groups", "failing")}
        return document({**answer, "counts": told.counts.model_dump()})

    @_answering
    def diff(self, request: Request) -> Response:
        """What differs between two runs."""
        query = request.query_params
        a, b = (self.store.run(query.get(side, "")) for side in ("a", "b"))
        told = a.diff(b, limit=_DIFF_CELLS, rtol=_number(query.get("rtol")), atol=_number(query.get("atol")))
        return document(_plain(told.model_dump()))

    async def sql(self, request: Request) -> Response:
        """The answer of a query over the tables of some runs."""
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return document({"error": "a query comes as JSON", "hint": None}, 415)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _SQL_BYTES:
                return document({"error": "the query is too long", "hint": None}, 413)
        return await run_in_threadpool(self._asked, body)

    def _asked(self, body: bytes) -> Response:
        from scythe_cli.analysis.results.query import query_head

        if not self._asking.acquire(blocking=False):
            return document({"error": "another query is still running", "hint": "Try again when it has ended."}, 429)
        try:
            asked = _json(body.decode("utf-8", "replace"))
            names = asked.get("runs", [])
            if not isinstance(names, list):
                raise UsageError("the runs of a query come as a list")
            runs: list[StoredRun] = [self.store.run(str(name)) for name in cast("list[Any]", names)[:20]]
            result = query_head(runs, str(asked.get("sql", "")), _SQL_ROWS, timeout_s=_SQL_S)
            columns = [{"name": visible(column.name), "dtype": column.dtype} for column in result.columns]
            rows = [[plain_cell(value) for value in row.values()] for row in result.rows]
            return document({"columns": columns, "n": result.n_rows, "rows": rows})
        except ScytheError as error:
            return _told(error)
        finally:
            self._asking.release()


def _members(overlay: OpenOverlay) -> list[dict[str, Any]]:
    return [
        {"run": each.run.experiment_id, "live": each.is_live(), "status": each.status().model_dump(mode="json")}
        for each in overlay.members
    ]


def _answer_views(views: CaseViews, filters: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    color = wanted.get("color")
    answer: dict[str, Any] = {"n": views.selection.cases.n, "chosen": views.count(filters)}
    if "histograms" in wanted:
        names, log = _names(wanted["histograms"]), _names(wanted.get("log", []))
        answer["histograms"] = [views.histogram(name, filters, color, log=name in log) for name in names[:24]]
    for kind, most, behind in (("scatter", 4_000, 4_000), ("map", 4_000, 4_000), ("parallel", 1_000, 300)):
        if wanted.get(kind):
            answer[kind] = views.points(_names(wanted[kind]), filters, color, most, behind)
    table = wanted.get("table")
    if isinstance(table, dict):
        told = cast("dict[str, Any]", table)
        answer["table"] = views.rows(
            filters,
            columns=_names(told.get("columns", [])),
            sort=str(told.get("sort", ":case")),
            descending=bool(told.get("descending")),
            offset=_whole(told.get("offset"), 0),
            limit=_whole(told.get("limit"), 50),
        )
    return answer


def _names(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise UsageError("the page asked for something that is no list of columns")
    return [str(name) for name in cast("list[Any]", value)]


def _json(text: str) -> dict[str, Any]:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UsageError("the page asked for something that cannot be read")
    return cast("dict[str, Any]", value)


def _whole(value: Any, otherwise: int) -> int:
    try:
        return otherwise if value is None else max(min(int(value), 2**53), 0)
    except (TypeError, ValueError, OverflowError):
        raise UsageError("the page asked for a number that is none") from None


def _number(value: str | None) -> float:
    try:
        return float(value or 0)
    except ValueError:
        raise UsageError("a tolerance is a number") from None


def _group(group: Any) -> dict[str, Any]:
    told = group.model_dump(mode="json")
    return {name: visible(value)[:2_000] if isinstance(value, str) else value for name, value in told.items()}


def _plain(value: Any) -> Any:
    """A record's content as JSON can hold it."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list):
        return [_plain(each) for each in cast("list[Any]", value)]
    return plain_cell(value)


def _commit(manifest: Any) -> str | None:
    provenance = manifest.provenance if manifest else None
    return getattr(provenance, "git_commit", None)
