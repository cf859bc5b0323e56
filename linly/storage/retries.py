"""Retries of storage: transient errors, number of attempts and pauses between them."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from linly.errors import DataError, LinlyError

MAX_PAUSE_S = 30.0

_T = TypeVar("_T")
_PASSING_ERRNO = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.EHOSTUNREACH,
        errno.EHOSTDOWN,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.EREMOTEIO,
        errno.EAGAIN,
        errno.EINTR,
    }
)
_PASSING_STATUS = frozenset({408, 425, 429})
_PASSING_NAMES = frozenset(
    {
        "ClientConnectionError",  # aiohttp
        "ClientPayloadError",
        "HTTPClientError",  # botocore
        "IncompleteReadError",
        "ResponseStreamingError",
        "TransportError",  # httpx
        "gaierror",
    }
)
"""Error classes of libraries that may not be installed, by name."""

_CREDENTIALS = (
    "set credentials in the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
    "(FSSPEC_S3_ANON=true for a public bucket), HF_TOKEN"
)

_jitter = random.Random()  # noqa: S311 (its own, so that no seeded generator is disturbed)


class ShortRead(OSError):
    """Fewer bytes were received than requested and available."""


@dataclass(frozen=True, slots=True)
class Retries:
    """Retry policy: number of attempts and length of pauses.

    Attributes:
        attempts: Consecutive failed attempts before giving up; a received byte resets the count.
        delay_s: Approximate length of the first pause; each next one doubles, up to MAX_PAUSE_S.
    """

    attempts: int = 5
    delay_s: float = 0.5

    def call(self, function: Callable[[], _T], what: str) -> _T:
        """Call until it succeeds.

        Args:
            function: Function to call.
            what: Description of the call, for the error.

        Raises:
            DataError: If it fails with an error that is not transient, or too often.
        """
        failures = 0
        while True:
            try:
                return function()
            except Exception as error:
                failures += 1
                self.pause_or_raise(error, failures, what)

    def pause_or_raise(self, error: Exception, failures: int, what: str) -> None:
        """Pause before the next attempt, or raise if none is left.

        Raises:
            DataError: If the error is not transient, or no attempt is left.
        """
        if isinstance(error, LinlyError):
            raise error
        if not may_pass(error):
            raise DataError(f"{what}: {describe(error)}") from error
        if failures >= self.attempts:
            raise DataError(
                f"{what}: gave up after {failures} attempts, the last: {describe(error)}; this "
                f"does not mean that the file is damaged: check that its storage responds, then "
                f"start again, or raise read_attempts in the corpus file"
            ) from error
        pause_s = min(self.delay_s * 2 ** (failures - 1), MAX_PAUSE_S)
        time.sleep(pause_s * _jitter.uniform(0.5, 1.0))


PATIENT = Retries()
"""The corpus file's defaults."""


def may_pass(error: BaseException) -> bool:
    """Return whether an error may be transient; a deliberate answer (403, 404) is not."""
    chain = list(_chain(error))
    for link in chain:
        if (status := status_of(link)) is not None:
            return status >= 500 or status in _PASSING_STATUS
    return any(map(_is_passing, chain))


def describe(error: BaseException) -> str:
    """Describe an error: the server's answer if there was one, else its class and text."""
    for link in _chain(error):
        status = status_of(link)
        if status in (401, 403):
            return f"the server refuses access ({status}); {_CREDENTIALS}"
        if type(link).__name__ == "NoCredentialsError":
            return f"no credentials were found; {_CREDENTIALS}"
        if status == 404:
            return "it does not exist (404)"
        if status == 412:
            return "it changed while it was read (412)"
        if status is not None:
            return f"the server answered {status}"
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    return f"{type(error).__name__}: {error}".rstrip(": ")


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of an error of aiohttp, botocore or huggingface_hub."""
    status = getattr(error, "status", None)
    if status is None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            status = getattr(response, "status_code", None)
    return status if isinstance(status, int) and status else None


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, TimeoutError | ConnectionError | ShortRead):
        return True
    if isinstance(error, OSError) and error.errno in _PASSING_ERRNO:
        return True
    return any(kind.__name__ in _PASSING_NAMES for kind in type(error).__mro__)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Iterate over an error and its causes."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__
