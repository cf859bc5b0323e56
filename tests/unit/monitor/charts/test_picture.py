"""The picture of a mixture shows every source in its colour, its labels apart."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from linly.monitor.charts.colors import source_colors
from linly.monitor.charts.labels import spread
from linly.monitor.charts.picture import mixture_png, write_picture
from linly.monitor.history.history import read_history
from tests.support.synthetic_run import SyntheticRun


def share_of_color(pixels: np.ndarray, color: str, opacity: float) -> float:
    """Part of the pixels that have a colour laid over white."""
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    seen = 255 + (wanted - 255) * opacity
    return float((np.abs(pixels[..., :3] - seen).max(axis=-1) < 4).mean())


def test_areas_are_as_large_as_the_shares(tmp_path: Path) -> None:
    history = read_history(SyntheticRun(tmp_path / "run").whole())
    write_picture(tmp_path / "run", tmp_path / "mixture.png")
    image = Image.open(tmp_path / "mixture.png")
    assert image.size == (1600, 800)
    plot = np.asarray(image, dtype=np.float64)[90:700, 125:1185]
    colors = source_colors(history)
    rows = history.rows[-1] / history.rows[-1].sum()
    for source, share in zip(history.sources, rows, strict=True):
        assert share_of_color(plot, colors[source], 0.8) == pytest.approx(share, abs=0.02)


def test_a_hostile_or_chinese_name_is_drawn_as_it_is(tmp_path: Path) -> None:
    run = SyntheticRun(
        tmp_path / "run",
        num_steps=30,
        chinese="维基百科",
        english="$x^{</script>",
        with_curriculum=False,
    ).whole()
    assert Image.open(io.BytesIO(mixture_png(read_history(run)))).size == (1600, 800)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=40).map(sorted),
    st.floats(0.01, 0.1),
)
def test_labels_never_overlap_and_stay_inside(wanted: list[float], height: float) -> None:
    placed = spread(wanted, height)
    room = min(height, 1 / len(wanted))
    assert all(b - a >= room - 1e-9 for a, b in itertools.pairwise(placed))
    assert placed[0] >= room / 2 - 1e-9
    assert placed[-1] <= 1 - room / 2 + 1e-9


def test_labels_with_room_stay_where_they_belong() -> None:
    assert spread([0.2, 0.5, 0.9], 0.05) == [0.2, 0.5, 0.9]
