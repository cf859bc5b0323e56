"""One colour per source, the same in every chart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

_HUES = (255.0, 55.0, 160.0, 345.0, 95.0, 300.0, 205.0, 20.0)
"""Hue of each group in turn (OKLCH degrees): blue, orange, green, pink, ... Neighbours are distinct
for readers who confuse red and green, as in the palette of Okabe and Ito."""

_CHROMA = 0.13
_DARKEST, _LIGHTEST = 0.47, 0.76
"""OKLCH lightness of a group's shades: visible on white as well as on near-black."""

_HUE_SPREAD = 26.0
"""Range of hues of a group's shades in degrees, so that many shades still differ."""


def source_colors(groups: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Choose one colour per source for all charts: a hue per group, a shade per source.

    The colours depend on names only, never on the order in which a file lists them.

    Args:
        groups: Sources of each group.

    Returns:
        `#rrggbb` of each source, by group name, then source name.
    """
    colors: dict[str, str] = {}
    for index, group in enumerate(sorted(groups)):
        sources = sorted(groups[group])
        for position, source in enumerate(sources):
            colors[source] = _shade(index, position, len(sources))
    return colors


def _shade(group_index: int, position: int, num_sources: int) -> str:
    """Colour of one source: shades run from dark to light across the group."""
    turn, index = divmod(group_index, len(_HUES))
    hue = _HUES[index] + 13.0 * turn
    fraction = 0.5 if num_sources == 1 else position / (num_sources - 1)
    contrast = (_LIGHTEST - _DARKEST) * min(1.0, num_sources / 4)
    lightness = (_LIGHTEST + _DARKEST) / 2 + contrast * (fraction - 0.5)
    spread = _HUE_SPREAD * min(1.0, (num_sources - 1) / 4)
    return _hex_from_oklch(lightness, _CHROMA, hue + spread * (fraction - 0.5))


def _hex_from_oklch(lightness: float, chroma: float, hue_degrees: float) -> str:
    """Convert OKLCH (Ottosson 2020) to sRGB, with less chroma where sRGB has no such colour."""
    angle = math.radians(hue_degrees)
    while True:
        channels = _linear_srgb(lightness, chroma * math.cos(angle), chroma * math.sin(angle))
        if chroma < 1e-3 or all(-1e-6 <= channel <= 1.0 + 1e-6 for channel in channels):
            return "#" + "".join(f"{_gamma_byte(channel):02x}" for channel in channels)
        chroma *= 0.97


def _linear_srgb(lightness: float, a: float, b: float) -> tuple[float, float, float]:
    """OKLab to linear sRGB."""
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def _gamma_byte(channel: float) -> int:
    """Linear sRGB channel to its 8-bit value."""
    clipped = min(max(channel, 0.0), 1.0)
    curved = 12.92 * clipped if clipped <= 0.0031308 else 1.055 * clipped ** (1 / 2.4) - 0.055
    return round(255 * curved)
