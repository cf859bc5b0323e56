"""Colours of sources: one each, told apart, visible on light and dark."""

from __future__ import annotations

from linly.monitor.charts.colors import source_colors

GROUPS = {
    "english": ["slimpajama", "refinedweb"],
    "parallel": ["translation"],
    "instruction": ["belle", "alpaca", "baize", "flan", "coig", "firefly", "pclue"],
    "chinese": ["wiki", "news", "webtext", "csl"],
}


def luminance(color: str) -> float:
    """Relative luminance of `#rrggbb`, as WCAG defines it."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_source_has_a_colour_of_its_own() -> None:
    colors = source_colors(GROUPS)
    assert len(set(colors.values())) == sum(map(len, GROUPS.values()))


def test_order_in_the_file_does_not_change_a_colour() -> None:
    turned = {group: GROUPS[group][::-1] for group in reversed(GROUPS)}
    assert source_colors(turned) == source_colors(GROUPS)


def test_colours_stand_out_from_white_and_from_near_black() -> None:
    for color in source_colors(GROUPS).values():
        own = luminance(color) + 0.05
        assert 1.05 / own > 1.9
        assert own / (luminance("#111418") + 0.05) > 2.2


def test_shades_of_a_group_get_lighter_in_the_order_of_names() -> None:
    colors = source_colors(GROUPS)
    shades = [luminance(colors[name]) for name in sorted(GROUPS["instruction"])]
    assert shades == sorted(shades)
    assert shades[-1] > 2 * shades[0]


def test_more_groups_than_hues_still_differ() -> None:
    colors = source_colors({f"group{n:02}": [f"source{n}"] for n in range(20)})
    assert len(set(colors.values())) == 20
