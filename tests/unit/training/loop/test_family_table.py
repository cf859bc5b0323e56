"""Each family of decoders through the whole method gives its row of docs/families.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from linly.modeling.tried_families import TRIED
from linly.training.ranks.processes import Processes
from tests.family_table import NAMES, rows_of_page, try_family
from tests.support.models import FAMILIES

HANDFUL = ("bloom", "falcon-40b", "gemma3n_text", "mamba", "mixtral", "phi")


@pytest.mark.parametrize(
    "name",
    [
        *HANDFUL,
        *(pytest.param(n, marks=pytest.mark.exhaustive) for n in NAMES if n not in HANDFUL),
    ],
)
def test_a_family_is_as_the_table_says(name: str, alone: Processes, tmp_path: Path) -> None:
    row = rows_of_page()[name]
    if row.trains.startswith("fails"):
        with pytest.raises(RuntimeError):
            try_family(name, tmp_path, alone)
    else:
        assert try_family(name, tmp_path, alone) == row


def test_the_page_and_the_package_list_every_family() -> None:
    rows = rows_of_page()
    assert rows.keys() == set(NAMES)
    assert {name for name in FAMILIES if rows[name].trains == "yes"} == TRIED
