"""The golden order: rows of a committed recipe over the embedded sample, hash by hash.

A change of these hashes changes what every running job would train next. It needs a new
ORDER_VERSION and a word to those who resume.
"""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from demo.write import write_sample
from linly.config.recipe import load_recipe
from linly.data.loading.stream import StreamPlan
from linly.data.mixing.stream_plan import make_mixer
from tests.support.vocabularies import hand_made
from tests.support.worlds import plan_of

GOLDEN = Path(__file__).resolve().parents[3] / "golden"
PIECES = ["▁t", "▁a", "he", "▁the", "in", "er", "an", "▁of", "中", "的", "是", "国", "▁###", "。"]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> StreamPlan:
    """The stream of the committed recipe, with a vocabulary that no training decides."""
    folder = tmp_path_factory.mktemp("golden")
    write_sample(folder / "sample", seed=2023, size="tiny")
    tokenizer = folder / "tokenizer.model"
    characters = sorted(set("".join(PIECES)) - set(PIECES))
    pieces = [*PIECES, *characters]
    tokenizer.write_bytes(hand_made([(piece, -float(i)) for i, piece in enumerate(pieces)]))
    recipe = load_recipe(GOLDEN / "recipe.yaml", [f"data_root={folder / 'sample'}"])
    return plan_of(recipe, tokenizer)


def test_the_rows_of_the_committed_recipe_are_the_golden_ones(plan: StreamPlan) -> None:
    found = [
        {
            "row": mixed.index,
            "source": mixed.row.source,
            "epoch": mixed.row.epoch,
            "sha256": mixed.digest.hex(),
        }
        for mixed in make_mixer(plan, plan.new_state())
    ]
    golden = [orjson.loads(line) for line in (GOLDEN / "rows.jsonl").read_bytes().splitlines()]
    assert len(golden) == plan.num_rows == 120
    assert found == golden
