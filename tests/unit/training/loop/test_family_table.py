"""Each family of decoders through the whole method gives its row of docs/families.md."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from linly.modeling.tried_families import TRIED
from linly.training.ranks.processes import Processes
from tests.family_table import (
    NAMES,
    Tried,
    keep_export,
    rows_of_page,
    try_family,
    with_other_readers,
)
from tests.support.models import FAMILIES

HANDFUL = ("bloom", "falcon-40b", "gemma3n_text", "mamba", "mixtral", "phi")


GROUPS = [
    pytest.param(HANDFUL, id="handful"),
    pytest.param(NAMES, id="all", marks=pytest.mark.exhaustive),
]


class Trials:
    """Families that were tried, each once, and their exports."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        self._folder = folder
        self._processes = processes
        self._rows: dict[str, Tried] = {}
        self.exports = folder / "exports"
        self.exports.mkdir()

    def row(self, name: str) -> Tried:
        if name not in self._rows:
            (self._folder / name).mkdir()
            self._rows[name] = try_family(name, self._folder / name, self._processes)
            keep_export(self._folder / name, self.exports / name)
        return self._rows[name]


@pytest.fixture(scope="module")
def trials(alone: Processes, tmp_path_factory: pytest.TempPathFactory) -> Trials:
    return Trials(tmp_path_factory.mktemp("families"), alone)


@pytest.mark.parametrize(
    "name",
    [
        *HANDFUL,
        *(pytest.param(n, marks=pytest.mark.exhaustive) for n in NAMES if n not in HANDFUL),
    ],
)
def test_a_family_is_as_the_table_says(name: str, trials: Trials) -> None:
    here = {"transformers_4": "-", "gguf": "-"}
    assert trials.row(name) == replace(rows_of_page()[name], **here)


@pytest.mark.parametrize("names", GROUPS)
def test_other_readers_give_the_logits_that_the_table_says(
    names: tuple[str, ...], trials: Trials
) -> None:
    rows = [trials.row(name) for name in names]
    assert with_other_readers(rows, trials.exports) == [rows_of_page()[name] for name in names]


def test_the_page_and_the_package_list_every_family() -> None:
    rows = rows_of_page()
    assert rows.keys() == set(NAMES)
    assert {name for name in FAMILIES if rows[name].trains == "yes"} == TRIED
