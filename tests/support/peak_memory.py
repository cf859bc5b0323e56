"""Peak resident memory of a process. `ru_maxrss` is not it: a child inherits its parent's."""

from __future__ import annotations

import re
from pathlib import Path


def peak_bytes(process: int | str = "self") -> int:
    """Return the largest resident size that a process has had, in bytes."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None, status
    return int(found[1]) << 10


def reset_peak() -> int:
    """Lower this process's peak to its present resident size; return that, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()
