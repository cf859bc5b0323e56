"""Every family's limit of positions is found in its configuration."""

from __future__ import annotations

import pytest

from linly.modeling.positions import num_positions, position_limits
from tests.support.models import FAMILIES, POSITIONS, tiny_config

UNLIMITED = ("bloom", "falcon_mamba", "mamba", "mamba2", "recurrent_gemma", "xlstm")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_familys_limit_is_found(name: str) -> None:
    assert num_positions(tiny_config(name)) == (None if name in UNLIMITED else POSITIONS)


def test_a_limit_below_one_is_none() -> None:
    assert position_limits(tiny_config("llama", max_position_embeddings=-1)) == {}
