"""What an error of the S3 client means: whether it passes by itself, and what to say otherwise."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

import aiohttp
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from fsspec.exceptions import FSTimeoutError

from scythe_cli.errors import StorageError
from scythe_cli.storage.base import MissingKeyError, RefusedError, TransferInterruptedError

__all__ = [
    "CLIENT_ERRORS",
    "NO_DELETE_HINT",
    "Fault",
    "FaultKind",
    "clock_difference",
    "diagnose",
    "is_refusal",
    "server_time",
]


CLIENT_ERRORS = (
    OSError,  # what s3fs makes of most answers; its cause is the ClientError
    ValueError,  # an endpoint that is no URL
    boto.BotoCoreError,
    boto.ClientError,
    aiohttp.ClientError,
    http.client.HTTPException,
    FSTimeoutError,
)
"""Everything that calls of the S3 client raise."""

NO_DELETE_HINT = (
    "The bucket keeps what is written, by object lock or by its policy, or the key may not delete (s3:DeleteObject)."
)

_DENIED = {
    "AccessDenied",
    "MethodNotAllowed",
    "ObjectLocked",
    "AllAccessDisabled",
    "AccountProblem",
    "403",
    "Forbidden",
}
_SKEWED_S = 900.0
"""Requests of clocks that differ by more are refused by most servers."""

_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
_BAD_CREDENTIALS = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "InvalidSecurity",
    "XAdminUserNotFound",  # what versitygw says, with the status 404
}
_OTHER_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}
_TRANSIENT = {
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequests",
    "InternalError",
    "ServiceUnavailable",
    "OperationAborted",
    "ConditionalRequestConflict",
}
# the server says itself that it did nothing
_NOT_DONE = {"SlowDown", "ConditionalRequestConflict", "OperationAborted", "TooManyRequests"}


class FaultKind(Enum):
    """The kinds of faults that are treated differently."""

    MISSING_KEY = "missing key"
    EXISTS = "exists"
    UNREACHABLE = "unreachable"
    TRANSIENT = "transient"
    UNSUPPORTED = "unsupported"
    NO_UPLOAD = "no upload"
    CREDENTIALS = "credentials"
    REFUSED = "refused"
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong.

    Attributes:
        kind: How it is treated.
        reason: What to say, after the place.
        hint: What to do.
        maybe_done: Whether the server may have done nevertheless what was asked.
    """

    kind: FaultKind
    reason: str
    hint: str | None = None
    maybe_done: bool = False

    @property
    def passing(self) -> bool:
        """Whether trying again can help."""
        return self.kind in {FaultKind.UNREACHABLE, FaultKind.TRANSIENT}

    def error(self, action: str, place: str) -> StorageError:
        """The error to raise: `cannot <action> <place>: <reason>`."""
        cls = _CLASSES.get(self.kind, StorageError)
        # who could write has credentials that are right
        hint = NO_DELETE_HINT if cls is RefusedError and action == "delete" else self.hint
        error = cls(f"cannot {action} {place}: {self.reason}", hint=hint)
        error.lasting = not self.passing
        return error


_CLASSES: dict[FaultKind, type[StorageError]] = {
    FaultKind.MISSING_KEY: MissingKeyError,
    FaultKind.REFUSED: RefusedError,
}


def is_refusal(code: str) -> bool:
    """Whether an error code says that something may not be done."""
    return code in _DENIED


def diagnose(error: BaseException) -> Fault:
    """Find out what an error of the client means."""
    if isinstance(error, TransferInterruptedError):
        return Fault(FaultKind.TRANSIENT, error.message, maybe_done=True)
    answer = _answer(error)
    return _of_answer(answer) if answer is not None else _of_client(error)


def _answer(error: BaseException) -> boto.ClientError | None:
    """The answer of the server, which s3fs keeps as the cause of the error that it makes of it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, boto.ClientError):
            return seen
        seen = seen.__cause__
    return None


def _of_answer(answer: boto.ClientError) -> Fault:
    details: Any = answer.response
    code = str(details.get("Error", {}).get("Code", ""))
    status = int(details.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code == "NoSuchBucket":
        return Fault(
            FaultKind.FINAL, "the bucket does not exist", "Create the bucket, or correct its name and AWS_ENDPOINT_URL."
        )
    if code in {"NoSuchKey", "404", "NotFound"}:
        return Fault(FaultKind.MISSING_KEY, "it does not exist")
    if code == "NoSuchUpload":
        return Fault(FaultKind.NO_UPLOAD, "the upload was ended by the server", "Run the command again.")
    if code in {"PreconditionFailed", "412"}:
        return Fault(FaultKind.EXISTS, "it exists already")
    if code in _TRANSIENT or (status >= 500 and status != 501) or status == 429:
        return Fault(
            FaultKind.TRANSIENT,
            f"the server keeps answering {code or status}",
            "Try again later.",
            maybe_done=code not in _NOT_DONE,
        )
    # to a HEAD request a server says no more than the status
    if code in _EXPIRED or (code == "400" and status == 400):
        what = f"the credentials have expired ({code})"
        return Fault(
            FaultKind.CREDENTIALS,
            what if code in _EXPIRED else "the request is refused (400), as it is when credentials have expired",
            "Renew them, for example with `aws sso login`. ~/.aws/credentials is read again in mid-run, and "
            "credential_process asked again; AWS_ variables are those that the command was started with.",
        )
    if code in _BAD_CREDENTIALS:
        return Fault(
            FaultKind.CREDENTIALS,
            f"the credentials are not accepted ({code})",
            "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or AWS_PROFILE.",
        )
    is_unsaid = status == 403 and code in {"403", "Forbidden"}  # an answer to a HEAD request
    if code in {"RequestTimeTooSkewed", "RequestExpired"} or (is_unsaid and abs(_off_s(details)) > _SKEWED_S):
        return Fault(FaultKind.FINAL, _clock_reason(details), "Set the clock, for example with NTP.")
    if code in _OTHER_REGION:
        return Fault(FaultKind.FINAL, "the bucket is in another region", "Set AWS_REGION to the bucket's region.")
    # other servers have codes of their own, such as one for a key that they do not know
    if code in _DENIED or status in {401, 403}:
        return Fault(
            FaultKind.REFUSED,
            "access is denied" if code in _DENIED else f"access is denied ({code})",
            "The credentials are wrong, or lack one of s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject.",
        )
    if status == 501 or code == "NotImplemented":
        return Fault(FaultKind.UNSUPPORTED, "the server cannot do this", "Use an S3 server that can.")
    message = str(details.get("Error", {}).get("Message", "")).strip()
    return Fault(FaultKind.FINAL, f"{code or status}: {message}".rstrip(": "))


def server_time(answer: Any) -> datetime | None:
    """When a server answered, by its own clock; None where it does not tell."""
    said = (answer.get("ResponseMetadata") or {}).get("HTTPHeaders", {}).get("date")
    try:
        moment = parsedate_to_datetime(said) if said else None
    except (ValueError, TypeError):
        return None
    return None if moment is None or moment.tzinfo is None else moment


def clock_difference(off_s: float) -> str:
    """By how much the clock of this machine differs from that of the server, for people.

    Args:
        off_s: How far this machine's is ahead, in seconds.
    """
    amount = f"{abs(off_s) / 60:,.0f} minutes" if abs(off_s) >= 120 else f"{abs(off_s):.0f} seconds"
    return f"{amount} {'ahead of' if off_s > 0 else 'behind'} that of the S3 server"


def _off_s(details: Any) -> float:
    """How far this machine's clock is ahead of that of the server that has answered; 0 where it does not tell."""
    now = server_time(details)
    return 0.0 if now is None else (datetime.now(UTC) - now).total_seconds()


def _clock_reason(details: Any) -> str:
    off_s = _off_s(details)
    if abs(off_s) < 60:
        return "the clock of this machine is wrong, or that of the server"
    return f"the clock of this machine is {clock_difference(off_s)}"


def _of_client(error: BaseException) -> Fault:
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return Fault(
            FaultKind.FINAL,
            "there are no credentials",
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
        )
    if isinstance(error, boto.ProfileNotFound):
        return Fault(FaultKind.FINAL, "the profile in AWS_PROFILE does not exist", "Check ~/.aws/config.")
    if isinstance(error, boto.CredentialRetrievalError | boto.TokenRetrievalError | boto.UnauthorizedSSOTokenError):
        return Fault(
            FaultKind.FINAL, "no credentials can be obtained", "Log in again, for example with `aws sso login`."
        )
    if isinstance(error, boto.SSLError):
        return Fault(
            FaultKind.FINAL,
            "the connection is not secure: the server's certificate is not accepted",
            "Check AWS_ENDPOINT_URL, and AWS_CA_BUNDLE for a private authority.",
        )
    if isinstance(error, boto.EndpointConnectionError | boto.ConnectTimeoutError | boto.ProxyConnectionError):
        return Fault(
            FaultKind.UNREACHABLE,
            "the server cannot be reached",
            "Check AWS_ENDPOINT_URL and the network.",
            maybe_done=True,  # this is also what becomes of a connection that is reset before the answer comes
        )
    passing = (
        boto.HTTPClientError,
        boto.ConnectionError,
        boto.ResponseStreamingError,
        boto.IncompleteReadError,
        ResponseParserError,
        aiohttp.ClientError,
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
        FSTimeoutError,
    )
    if isinstance(error, passing):
        return Fault(FaultKind.TRANSIENT, "the connection was lost", "Check the network.", maybe_done=True)
    if isinstance(error, ValueError) and "endpoint" in str(error).lower():
        return Fault(FaultKind.FINAL, "the endpoint is not a valid URL", "Correct AWS_ENDPOINT_URL.")
    text = str(error).splitlines()
    return Fault(FaultKind.FINAL, text[0] if text else type(error).__name__)
