"""linly.data.loading.loader: every rank its slice of the same steps."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from linly.config.recipe import load_recipe
from linly.config.sections.data_section import DataSettings
from linly.curriculum.apportion import Phase
from linly.curriculum.mixture import Mixture
from linly.data.cursor import DocumentPosition, SourceCursor
from linly.data.loading.loader import Loader, StepBatch, position_ids
from linly.data.mixing.packing import EncodedSpan, PackedRow, make_row
from linly.data.mixing.stream_plan import StreamPlan, make_mixer
from linly.data.types import EncodedDocument
from linly.errors import CheckpointError, ConfigError
from tests.support.tiny_corpora import load_plan


@pytest.fixture(scope="module")
def plan(tiny_recipe: Path, tiny_tokenizer_path: Path) -> StreamPlan:
    return load_plan(tiny_recipe, tiny_tokenizer_path)


@pytest.fixture(scope="module")
def settings(tiny_recipe: Path) -> DataSettings:
    return load_recipe(tiny_recipe).data


def steps(
    loader: Loader, phases: tuple[Phase, ...], num_steps: int | None = None
) -> list[StepBatch]:
    following = iter(lambda: loader.next_step(phases), None)
    return list(islice(following, num_steps))


def ids(batches: list[StepBatch]) -> torch.Tensor:
    return torch.cat([micro.ids for batch in batches for micro in batch.micro_batches])


@pytest.mark.parametrize(("world_size", "micro_batch"), [(1, 4), (2, 3), (3, 1), (4, 1), (12, 1)])
def test_the_slices_of_all_ranks_together_are_the_global_stream(
    world_size: int, micro_batch: int, plan: StreamPlan, settings: DataSettings
) -> None:
    mixer = make_mixer(plan, plan.new_state())
    expected = np.stack([next(mixer).row.ids for _ in range(36)])
    ranks = []
    for rank in range(world_size):
        with Loader(
            plan, settings=settings, micro_batch=micro_batch, world_size=world_size, rank=rank
        ) as loader:
            ranks.append(steps(loader, plan.phases, 3))
    joined = torch.cat([ids([ranks[rank][s]]) for s in range(3) for rank in range(world_size)])
    assert np.array_equal(joined.numpy(), expected)
    digests = [[[row.digest for row in batch.rows] for batch in rank] for rank in ranks]
    assert all(rank == digests[0] for rank in digests), "every rank sees all rows"


def test_every_rank_ends_at_the_same_whole_step(plan: StreamPlan, settings: DataSettings) -> None:
    for rank in range(3):
        with Loader(plan, settings=settings, micro_batch=2, world_size=3, rank=rank) as loader:
            batches = steps(loader, plan.phases)
            assert [batch.step for batch in batches] == list(range(1, 17)), "200 // 12 steps"
            assert all(len(batch.rows) == 12 for batch in batches)
            assert loader.state.row == 192


def test_a_resume_at_any_step_with_another_world_size_gives_the_same_rows(
    plan: StreamPlan, settings: DataSettings
) -> None:
    with Loader(plan, settings=settings, micro_batch=1, world_size=1, rank=0) as loader:
        states, undisturbed = [loader.state_dict()], []
        while batch := loader.next_step(plan.phases):
            undisturbed.append([row.digest for row in batch.rows])
            states.append(json.loads(json.dumps(loader.state_dict())))
    for done, state in enumerate(states):
        with Loader(
            plan, settings=settings, micro_batch=2, world_size=3, rank=1, state=state
        ) as loader:
            batches = steps(loader, plan.phases)
        assert [[row.digest for row in batch.rows] for batch in batches] == undisturbed[done:]
        assert [batch.step for batch in batches] == list(range(done + 1, 17))


def test_the_state_is_that_of_the_step_handed_out_not_of_rows_made_ahead(
    plan: StreamPlan, settings: DataSettings
) -> None:
    ahead = settings.model_copy(update={"producers": 1, "prefetch_rows": 64})
    with Loader(plan, settings=ahead, micro_batch=1, world_size=1, rank=0) as loader:
        while batch := loader.next_step(plan.phases):
            assert loader.state_dict()["row"] == 12 * batch.step


@pytest.mark.parametrize("producers", [0, 1, 2])
def test_other_phases_are_followed_from_the_next_step_on(
    producers: int, plan: StreamPlan, settings: DataSettings
) -> None:
    """Rows made ahead by the old plan are not given; cursors go on, so no record is read twice."""
    first = plan.phases[0]
    flat = Mixture({"all": None}, {"all": dict.fromkeys(first.mixture.sources, 0.25)}, num_rows=200)
    phases = (first, Phase(36, flat), Phase(60, first.mixture))
    known = make_mixer(replace(plan, phases=phases), plan.new_state())
    expected = [next(known).digest for _ in range(192)]
    ahead = settings.model_copy(update={"producers": producers, "prefetch_rows": 100})
    made: list[bytes] = []
    with Loader(plan, settings=ahead, micro_batch=1, world_size=1, rank=0) as loader:
        decided = phases[:1]
        while batch := loader.next_step(decided):
            made += [row.digest for row in batch.rows]
            assert loader.state.row == len(made)
            if len(made) in (36, 60):
                decided = phases[: 2 if len(made) == 36 else 3]
    assert made == expected
    assert expected != [row.digest for row in make_mixer(plan, plan.new_state())][:192]


def test_a_world_size_that_does_not_fit_names_those_that_do(
    plan: StreamPlan, settings: DataSettings
) -> None:
    with pytest.raises(ConfigError, match=r"world size 4 does not fit .* fit: 1, 2, 3, 6$"):
        Loader(plan, settings=settings, micro_batch=2, world_size=4, rank=0)
    with pytest.raises(ConfigError, match="there are 0 to 2"):
        Loader(plan, settings=settings, micro_batch=2, world_size=3, rank=3)


def test_a_state_within_a_step_is_refused(plan: StreamPlan, settings: DataSettings) -> None:
    state = plan.new_state()
    state.advance(next(make_mixer(plan, state)))
    with pytest.raises(CheckpointError, match="row 1, in the middle of a global batch of 12"):
        Loader(
            plan,
            settings=settings,
            micro_batch=1,
            world_size=1,
            rank=0,
            state=state.to_json(),
        )


def test_tensors_are_int64_of_micro_batch_by_sequence_length(
    plan: StreamPlan, settings: DataSettings
) -> None:
    with Loader(plan, settings=settings, micro_batch=3, world_size=2, rank=1) as loader:
        (batch,) = steps(loader, plan.phases, 1)
    assert len(batch.micro_batches) == 2
    for number, micro in enumerate(batch.micro_batches):
        for tensor in (micro.ids, micro.labels, micro.position_ids):
            assert (tensor.dtype, tensor.shape) == (torch.int64, (3, 64))
        rows = [mixed.row for mixed in batch.rows[6 + 3 * number : 9 + 3 * number]]
        assert np.array_equal(micro.labels.numpy(), np.stack([row.labels for row in rows]))
    assert batch.wait_s > 0


def test_positions_restart_at_each_document_and_where_the_padding_begins() -> None:
    document = EncodedDocument("s", 0, np.arange(9, dtype=np.int32), np.ones(9, np.bool_))
    spans = [EncodedSpan(document, 6, 9), EncodedSpan(document, 0, 4)]
    packed, cursor = PackedRow(0, spans, DocumentPosition(), ()), SourceCursor()
    padded = make_row(packed, cursor, source="wiki", sequence_length=10, padding_id=0)
    assert position_ids(padded).tolist() == [0, 1, 2, 0, 1, 2, 3, 0, 1, 2]
    full = make_row(packed, cursor, source="wiki", sequence_length=7, padding_id=0)
    assert position_ids(full).tolist() == [0, 1, 2, 0, 1, 2, 3]


def test_full_attention_counts_positions_over_the_whole_row(
    plan: StreamPlan, settings: DataSettings
) -> None:
    full = settings.model_copy(update={"attention": "full"})
    with Loader(plan, settings=full, micro_batch=1, world_size=1, rank=0) as loader:
        (batch,) = steps(loader, plan.phases, 1)
    for micro in batch.micro_batches:
        assert micro.position_ids.tolist() == [list(range(64))]
