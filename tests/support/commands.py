"""Commands of the program, run in this process."""

from __future__ import annotations

from linly.cli.main import main


def linly(*words: object) -> int:
    """`linly WORDS`; returns its exit code."""
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def linly_ok(*words: object) -> None:
    """`linly WORDS`, which must not fail."""
    assert linly(*words) == 0
