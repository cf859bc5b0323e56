"""SIGTERM as a stop request: the scheduler preempts the job, and the run saves and exits."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 75
"""EX_TEMPFAIL: the same command, started again, resumes the run."""


class StopRequest:
    """Flag that this process was asked to stop."""

    def __init__(self) -> None:
        """Start with the flag cleared."""
        self.is_set = False

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Handle SIGTERM as a stop request within the context.

        Later signals are ignored: launchers send them twice, to the group and to each process, and
        the second must not interrupt the save.
        """

        def ask(number: int, frame: FrameType | None) -> None:
            self.is_set = True

        before = signal.signal(signal.SIGTERM, ask)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN if self.is_set else before)
