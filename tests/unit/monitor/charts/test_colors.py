"""Colours of sources: one each, a hue per language, told apart by every reader, light or dark."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from linly.config.sections.languages import Languages
from linly.monitor.charts.colors import colors_by_language, colors_by_source, run_colors

GROUPS = {
    "english": ["slimpajama", "refinedweb"],
    "parallel": ["translation"],
    "instruction": ["belle", "alpaca", "baize", "flan", "coig", "firefly", "pclue"],
    "chinese": ["wiki", "news", "webtext", "csl"],
}
LANGUAGES = {name: "zh" for group in ("chinese", "instruction") for name in GROUPS[group]} | {
    "slimpajama": "en",
    "refinedweb": "en",
    "alpaca": "en",
    "flan": "en",
    "translation": "en-zh",
}

BOTH = Languages(kept="en", learned="zh")

# Viewers without one kind of cone, on linear sRGB (Machado, Oliveira and Fernandes 2009).
SIGHT = {
    "full": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
}


def linear(color: str) -> NDArray[np.float64]:
    """Linear sRGB of `#rrggbb`."""
    channels = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def luminance(color: str) -> float:
    """Relative luminance of `#rrggbb`, as WCAG defines it."""
    return float(linear(color) @ [0.2126, 0.7152, 0.0722])


def oklab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """OKLab of linear sRGB, in which distances are about as large as they look."""
    to_cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.asarray(to_lab @ np.cbrt(to_cones @ np.clip(rgb, 0, 1)))


def distance(one: str, other: str, sight: str) -> float:
    """How different two colours look."""
    seen = [oklab(SIGHT[sight] @ linear(color)) for color in (one, other)]
    return float(np.linalg.norm(seen[0] - seen[1]))


def test_every_source_has_a_colour_of_its_own() -> None:
    for languages in (LANGUAGES, {}):
        colors = colors_by_source(GROUPS, languages, BOTH)
        assert len(set(colors.values())) == sum(map(len, GROUPS.values()))


def test_order_in_the_file_does_not_change_a_colour() -> None:
    turned = {group: GROUPS[group][::-1] for group in reversed(GROUPS)}
    languages = dict(reversed(LANGUAGES.items()))
    assert colors_by_source(turned, languages, BOTH) == colors_by_source(GROUPS, LANGUAGES, BOTH)


def test_colours_stand_out_from_white_and_from_near_black() -> None:
    colors = colors_by_source(GROUPS, LANGUAGES, BOTH) | colors_by_language(LANGUAGES, BOTH)
    for color in colors.values():
        own = luminance(color) + 0.05
        assert 1.05 / own > 1.9
        assert own / (luminance("#111418") + 0.05) > 2.2


@pytest.mark.parametrize("sight", SIGHT)
def test_languages_are_told_apart_by_every_reader(sight: str) -> None:
    colors = colors_by_source(GROUPS, LANGUAGES, BOTH)
    for one, other in itertools.combinations(colors, 2):
        if LANGUAGES[one] != LANGUAGES[other]:
            assert distance(colors[one], colors[other], sight) > 0.08, (one, other)


def test_sources_of_a_language_are_closest_to_its_colour() -> None:
    whole = colors_by_language(LANGUAGES, BOTH)
    assert list(whole) == ["en", "zh", "en-zh"]
    for source, color in colors_by_source(GROUPS, LANGUAGES, BOTH).items():
        near = min(whole, key=lambda code: distance(whole[code], color, "full"))
        assert near == LANGUAGES[source], source


def test_neighbours_of_a_language_differ_most() -> None:
    colors = colors_by_source({"chinese": [f"source{n}" for n in range(9)]}, {}, BOTH)
    shades = [colors[f"source{n}"] for n in range(9)]
    assert min(distance(a, b, "full") for a, b in itertools.pairwise(shades)) > 0.09
    assert min(distance(a, b, "full") for a, b in itertools.combinations(shades, 2)) > 0.025


def test_a_single_language_has_a_hue_per_group() -> None:
    english = dict.fromkeys(LANGUAGES, "en")
    assert colors_by_source(GROUPS, english, BOTH) == colors_by_source(GROUPS, {}, BOTH)
    assert colors_by_language(english, BOTH) == {}
    assert colors_by_source(GROUPS, LANGUAGES, BOTH) != colors_by_source(GROUPS, {}, BOTH)


def test_more_families_than_hues_still_differ() -> None:
    groups = {f"group{n:02}": [f"source{n}"] for n in range(20)}
    codes = {f"source{n}": f"l{n:02}" for n in range(20)}
    assert len(set(colors_by_source(groups, codes, BOTH).values())) == 20
    assert len(set(run_colors(20))) == 20


def test_the_kept_language_has_the_first_hue_and_the_learned_one_the_second() -> None:
    codes = {"one": "de", "other": "en", "third": "it"}
    for kept, learned in (("de", "en"), ("en", "it")):
        colors = colors_by_language(codes, Languages(kept=kept, learned=learned))
        assert [colors[kept], colors[learned]] == list(run_colors(2))
