"""Mixtures: the rest, sums that must hold at every point, and the words of a refusal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from linly.config.curriculum import Curriculum, load_curriculum
from linly.curriculum.mixture import Mixture
from linly.errors import ConfigError
from tests.support.mixture_strategies import mixtures

LINLY = """
tokens: 5B
mixture:
  english:
    ratio: {curve: cosine, from: 70%, to: 20%}
    sources: {slimpajama: 60%, refinedweb: 40%}
  parallel:
    ratio: {curve: linear, points: {0%: 10%, 50%: 10%, 100%: 5%}}
    sources: {translation2019zh: 100%}
  chinese:
    ratio: rest
    sources: {wiki2019zh: 30%, csl: 70%}
"""


def read(tmp_path: Path, text: str) -> Curriculum:
    path = tmp_path / "linly.yaml"
    path.write_text(text, encoding="utf-8")
    return load_curriculum(path)


def test_shares_at_start_middle_and_end(tmp_path: Path) -> None:
    mixture = Mixture.from_curriculum(read(tmp_path, LINLY), num_rows=1000)
    assert mixture.sources == ("csl", "refinedweb", "slimpajama", "translation2019zh", "wiki2019zh")
    expected = [
        [0.7 * 0.2, 0.28, 0.42, 0.1, 0.3 * 0.2],
        [0.7 * 0.45, 0.18, 0.27, 0.1, 0.3 * 0.45],
        [0.7 * 0.75, 0.08, 0.12, 0.05, 0.3 * 0.75],
    ]
    np.testing.assert_allclose(mixture.shares([0, 500, 1000]), expected, atol=1e-15)
    assert mixture.share("slimpajama", 500) == pytest.approx(0.27)


def test_order_in_the_file_changes_no_bit(tmp_path: Path) -> None:
    other = """
tokens: 5B
mixture:
  chinese:
    sources: {csl: 70%, wiki2019zh: 30%}
    ratio: rest
  parallel:
    ratio: {curve: linear, points: {0%: 10%, 50%: 10%, 100%: 5%}}
    sources: {translation2019zh: 100%}
  english:
    sources: {refinedweb: 40%, slimpajama: 60%}
    ratio: {curve: cosine, from: 70%, to: 20%}
"""
    rows = np.arange(1001)
    one = Mixture.from_curriculum(read(tmp_path, LINLY), num_rows=1000)
    two = Mixture.from_curriculum(read(tmp_path, other), num_rows=1000)
    assert one.sources == two.sources
    assert np.array_equal(one.integral(rows), two.integral(rows))
    assert np.array_equal(one.shares(rows), two.shares(rows))


@settings(deadline=None)
@given(mixtures())
def test_shares_add_up_to_one_and_integrals_to_the_row(mixture: Mixture) -> None:
    rows = np.arange(mixture.num_rows + 1)
    np.testing.assert_allclose(mixture.shares(rows).sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(mixture.integral(rows).sum(axis=1), rows, atol=1e-9)
    assert np.all(np.diff(mixture.integral(rows), axis=0) >= -1e-9)


def test_ratios_over_100_in_mid_run_are_refused_by_place_and_sum(tmp_path: Path) -> None:
    text = """
tokens: 4B
mixture:
  english: {ratio: {curve: linear, points: {0%: 50%, 25%: 90%, 100%: 10%}}, sources: {e: 100%}}
  parallel: {ratio: 20%, sources: {p: 100%}}
  chinese: {ratio: rest, sources: {c: 100%}}
"""
    with pytest.raises(ConfigError) as caught:
        Mixture.from_curriculum(read(tmp_path, text), num_rows=1000)
    message = str(caught.value)
    assert "the ratios add up to 110% at 25% of the run (1B tokens)" in message
    assert "english 90% + parallel 20%" in message
    assert "group chinese takes the rest" in message


def test_ratios_over_100_between_points_are_refused(tmp_path: Path) -> None:
    """At start, middle and end the sum is 100% at most; only around 19% it is above."""
    text = """
tokens: 100M
mixture:
  a: {ratio: {curve: cosine, from: 60%, to: 10%}, sources: {x: 100%}}
  b: {ratio: {curve: linear, from: 40%, to: 62%, until: 50%}, sources: {y: 100%}}
  c: {ratio: rest, sources: {z: 100%}}
"""
    with pytest.raises(
        ConfigError, match=r"add up to 104% at 18\.9\d% of the run \(18\.9\dM tokens\)"
    ):
        Mixture.from_curriculum(read(tmp_path, text), num_rows=1000)


def test_without_rest_a_sum_below_100_is_refused(tmp_path: Path) -> None:
    text = """
tokens: 100M
mixture:
  a: {ratio: {curve: cosine, from: 60%, to: 10%}, sources: {x: 100%}}
  b: {ratio: {curve: linear, points: {0%: 40%, 50%: 40%, 100%: 90%}}, sources: {y: 100%}}
"""
    with pytest.raises(ConfigError, match=r"up to 75% at 50% of .*at every point: raise"):
        Mixture.from_curriculum(read(tmp_path, text), num_rows=1000)


@pytest.mark.parametrize("kind", ["linear", "cosine", "sigmoid", "step"])
def test_without_rest_mirrored_curves_are_accepted(tmp_path: Path, kind: str) -> None:
    text = f"""
tokens: 100M
mixture:
  a: {{ratio: {{curve: {kind}, points: {{0%: 61%, 30%: 20%, 90%: 33.3%}}}}, sources: {{x: 100%}}}}
  b: {{ratio: {{curve: {kind}, points: {{0%: 39%, 30%: 80%, 90%: 66.7%}}}}, sources: {{y: 100%}}}}
"""
    mixture = Mixture.from_curriculum(read(tmp_path, text), num_rows=1000)
    assert mixture.integral([1000]).sum() == pytest.approx(1000, abs=1e-9)


def test_a_step_that_reaches_100_only_at_the_run_s_end_is_accepted(tmp_path: Path) -> None:
    text = """
tokens: 100M
mixture:
  a: {ratio: {curve: step, from: 60%, to: 0%}, sources: {x: 100%}}
  b: {ratio: {curve: step, from: 40%, to: 100%}, sources: {y: 100%}}
"""
    mixture = Mixture.from_curriculum(read(tmp_path, text), num_rows=10)
    assert mixture.integral([10])[0].tolist() == pytest.approx([6.0, 4.0])


def test_a_run_without_a_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="do not fill one row"):
        Mixture.from_curriculum(read(tmp_path, LINLY), num_rows=0)
