"""Numbers as people read them: relative changes, counts, durations, sizes."""

from __future__ import annotations

import math


def percent(value: float) -> str:
    """Format a relative change, such as −31.8% with a true minus sign."""
    return f"{value:+.1%}".replace("-", "−") if math.isfinite(value) else "–"


def count(value: float) -> str:
    """Format a number in three digits: 950, 40.0k, 1.31M, 5.00B."""
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit * 0.9995:
            scaled = value / limit
            digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
            return f"{scaled:.{digits}f}{unit}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """Format seconds in up to two units, such as 3 d 4 h, 12 min 30 s, 8.2 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for name, length, small_name, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60)):
        if whole >= length:
            return f"{whole // length} {name} {whole % length // small} {small_name}"
    return f"{whole // 60} min {whole % 60} s"


def size(num_bytes: float) -> str:
    """Format bytes in three digits: 4.0 kB, 78.0 GB."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if num_bytes >= limit * 0.9995:
            scaled = num_bytes / limit
            return f"{scaled:.{1 if scaled < 99.95 else 0}f} {unit}"
    return f"{num_bytes:.0f} B"
