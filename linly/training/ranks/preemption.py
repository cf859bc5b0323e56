"""SIGTERM as a request: the scheduler wants the machine back, and the run is to save and leave."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 75
"""EX_TEMPFAIL: start the same command again and it goes on."""


class StopRequest:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        """Not asked yet."""
        self.is_set = False

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Take SIGTERM as a request while inside.

        Once asked, later signals change nothing: launchers send them twice, to the group and to
        each process, and the second must not end the saving.
        """

        def ask(number: int, frame: FrameType | None) -> None:
            self.is_set = True

        before = signal.signal(signal.SIGTERM, ask)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN if self.is_set else before)
