"""How stores differ from Amazon's, or fail in mid-run: rules for the proxy before one, for runs of any engine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import servers
from tests.waiting import wait_for

from .proxy import FaultProxy, Request


def ignore(proxy: FaultProxy) -> None:
    """A store that takes no notice of `If-None-Match`."""
    proxy.without = "if-none-match"


def cannot(proxy: FaultProxy) -> None:
    """One that answers that it cannot do that."""
    proxy.rules.append(lambda request: "501" if "if-none-match" in request.headers else None)


def invert(proxy: FaultProxy) -> None:
    """One that has it the wrong way round."""

    def rule(request: Request) -> str | None:
        return "exists" if "if-none-match" in request.headers else None

    proxy.rules.append(rule)


NOT_EXCLUSIVE = [
    pytest.param(ignore, "has taken a new file twice", id="ignored"),
    pytest.param(cannot, "answers that it cannot", id="501"),
    pytest.param(invert, "says that a file exists which does not", id="the wrong way round"),
]


def is_begin(request: Request) -> bool:
    return request.method == "POST" and "uploads" in request.query


def is_part(request: Request, number: int = 3) -> bool:
    return request.query.get("partNumber") == str(number)


def is_complete(request: Request) -> bool:
    return request.method == "POST" and "uploadId" in request.query


def spoil(proxy: FaultProxy, chosen: Callable[[Request], bool], fault: str, times: int = 10**9) -> list[Request]:
    """Spoil the requests that are chosen, the first so many times; returns those that were."""
    seen: list[Request] = []

    def rule(request: Request) -> str | None:
        if len(seen) < times and chosen(request):
            seen.append(request)
            return fault
        return None

    proxy.rules.append(rule)
    return seen


def refuse_deletes(request: Request) -> str | None:
    """The rule of a bucket that keeps what is written."""
    is_one = request.method == "DELETE" and "uploadId" not in request.query
    return "denied" if is_one or (request.method == "POST" and "delete" in request.query) else None


@dataclass
class Expiring:
    """A store that takes temporary credentials, until they are expired.

    Attributes:
        folder: Where the files of AWS are.
        bucket: The bucket.
        prefix: What the names of its objects begin with.
        proxy: What looks at the token.
        kind: Where the credentials come from: `file` or `process`.
    """

    folder: Path
    bucket: str
    prefix: str
    proxy: FaultProxy
    server: servers.S3Server
    kind: str
    expired: str = ""

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let this test use it, and the commands that it runs, with the credentials `first`."""
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_ENDPOINT_URL", self.proxy.endpoint_url)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(self.folder / "credentials"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(self.folder / "config"))
        self.proxy.rules.append(self._rule)
        self.write("first")

    def _rule(self, request: Request) -> str | None:
        return "expired" if request.headers.get("x-amz-security-token") == self.expired else None

    def write(self, token: str) -> None:
        """Hand out credentials."""
        key, secret = self.server.access_key, self.server.secret_key
        if self.kind == "file":
            lines = ["[default]", f"aws_access_key_id={key}", f"aws_secret_access_key={secret}"]
            (self.folder / "credentials").write_text("\n".join([*lines, f"aws_session_token={token}", ""]))
            return
        told = {"Version": 1, "AccessKeyId": key, "SecretAccessKey": secret, "SessionToken": token}
        (self.folder / "told.json").write_text(json.dumps(told))
        (self.folder / "config").write_text(f"[default]\ncredential_process = cat {self.folder / 'told.json'}\n")

    def has_outcomes(self) -> bool:
        """Whether a run has a part of its ledger."""
        client = self.server.client()
        try:
            found = client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix).get("Contents", [])
            return any("/outcomes/" in file["Key"] and file["Key"].endswith(".pq") for file in found)
        finally:
            client.close()

    def in_mid_run(self, *, renewed: bool) -> threading.Thread:
        """Let `first` expire when a run has outcomes; before that, hand out `second` if they are to be renewed."""

        def expire() -> None:
            wait_for(self.has_outcomes, 60, every_s=0.1)
            if renewed:
                self.write("second")
            self.expired = "first"

        thread = threading.Thread(target=expire)
        thread.start()
        return thread

    @property
    def n_refused(self) -> int:
        return self.proxy.seen["expired"]
