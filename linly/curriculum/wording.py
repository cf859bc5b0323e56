"""Number formats shared by the errors, tables and charts of a plan."""

from __future__ import annotations

import numpy as np


def percent(fraction: float, digits: int = 4) -> str:
    """Format a share with up to `digits` significant digits, never in powers of ten: `37.5%`."""
    return f"{_positional(100.0 * fraction, digits)}%"


def amount(number: float, digits: int = 4) -> str:
    """Format a count with the suffixes of the YAML: `5B`, `1.875B`, `200M`, `12.3K`, `512`."""
    for suffix, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if abs(number) >= size * 0.9999:
            return _positional(number / size, digits) + suffix
    return _positional(number, digits)


def _positional(number: float, digits: int) -> str:
    """Format a number as decimal digits without trailing zeros."""
    return np.format_float_positional(number, precision=digits, fractional=False, trim="-")
