"""Colours of sources, languages and runs, the same in every chart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from linly.config.sections.languages import Languages
from linly.monitor.history.history import History

_HUES = (257.0, 65.0, 185.0, 15.0, 120.0, 315.0, 225.0, 40.0)
"""Hue of each family in turn (OKLCH degrees): blue, orange, teal, crimson, ... The first three are
distinct for readers who confuse red and green, in all their shades."""

_CHROMA = 0.13
_DARKEST, _LIGHTEST = 0.47, 0.76
"""OKLCH lightness of the shades: visible on white as well as on near-black."""

_CYCLE = 4
"""Number of lightnesses that many shades take in turn, so that neighbours differ most."""

_WIDE, _NARROW = 42.0, 26.0
"""Range of hues of a family's shades in degrees: wide for up to `_FEW` families."""

_FEW = 3


def source_colors(history: History) -> dict[str, str]:
    """Colour of each source of a run; see `colors_by_source`."""
    return colors_by_source(history.groups, history.source_languages, history.run_languages)


def language_colors(history: History) -> dict[str, str]:
    """Colour of each language of a run; see `colors_by_language`."""
    return colors_by_language(history.source_languages, history.run_languages)


def colors_by_source(
    groups: Mapping[str, Sequence[str]], languages: Mapping[str, str], run_languages: Languages
) -> dict[str, str]:
    """Choose one colour per source for all charts: a hue per language, a shade per source.

    If all sources have the same language, or none is known, each group has a hue. The colours
    depend on names only, never on the order in which a file lists them.

    Args:
        groups: Sources of each group.
        languages: Language of each source, as far as known.
        run_languages: Languages that the run keeps and learns, which have the first hues.

    Returns:
        `#rrggbb` of each source.
    """
    codes = run_languages.ordered(set(languages.values()))
    families: dict[str, list[str]] = {code: [] for code in codes} if len(codes) > 1 else {}
    for group in sorted(groups):
        for source in sorted(groups[group]):
            family = languages.get(source, "") if len(codes) > 1 else group
            families.setdefault(family, []).append(source)
    return {
        source: _shade(index, position, len(sources), num_families=len(families))
        for index, sources in enumerate(families.values())
        for position, source in enumerate(sources)
    }


def colors_by_language(languages: Mapping[str, str], run_languages: Languages) -> dict[str, str]:
    """Colour of each language as a whole, in the hue of its sources.

    Args:
        languages: Language of each source, as for `colors_by_source`.
        run_languages: Languages that the run keeps and learns.

    Returns:
        `#rrggbb` of each language; empty if there is only one, whose sources have many hues.
    """
    codes = run_languages.ordered(set(languages.values()))
    return {code: _shade(index, 0, 1) for index, code in enumerate(codes)} if codes[1:] else {}


def run_colors(num_runs: int) -> tuple[str, ...]:
    """Colour of each of several runs or curricula, each in its own hue."""
    return tuple(_shade(index, 0, 1) for index in range(num_runs))


def _shade(family: int, position: int, num_shades: int, *, num_families: int = 1) -> str:
    """Colour of one member of a family."""
    turn, index = divmod(family, len(_HUES))
    across = 0.5 if num_shades == 1 else position / (num_shades - 1)
    spread = (_WIDE if num_families <= _FEW else _NARROW) * min(1.0, (num_shades - 1) / 2)
    hue = _HUES[index] + 13.0 * turn + spread * (across - 0.5)
    level = across if num_shades <= _CYCLE else (position % _CYCLE) / (_CYCLE - 1)
    contrast = (_LIGHTEST - _DARKEST) * min(1.0, num_shades / 3)
    lightness = (_LIGHTEST + _DARKEST) / 2 + contrast * (level - 0.5)
    return _hex_from_oklch(lightness, _CHROMA, hue)


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
