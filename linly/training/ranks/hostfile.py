"""The hostfile of a job over several machines, checked before DeepSpeed's launcher reads it."""

from __future__ import annotations

import re
from pathlib import Path

from linly.errors import ConfigError
from linly.files import read_limited

_LINE = re.compile(r"(\S+)\s+slots=(\d+)\s*")
_LIMIT_BYTES = 1 << 20


def read_hostfile(path: Path) -> dict[str, int]:
    """Return the number of ranks of each machine.

    Raises:
        ConfigError: If a line is not `NAME slots=N`, a comment or blank, a machine is named twice,
            or there is none.
    """
    try:
        lines = read_limited(path, limit_bytes=_LIMIT_BYTES).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    slots: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or not int(match[2]):
            raise ConfigError(f"{path}:{number}: found {line!r}, allowed: NAME slots=GPUS")
        if match[1] in slots:
            raise ConfigError(f"{path}:{number}: found {match[1]} twice; add up its slots")
        slots[match[1]] = int(match[2])
    if not slots:
        raise ConfigError(f"{path}: names no machine, allowed: one a line, NAME slots=GPUS")
    return slots
