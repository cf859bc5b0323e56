"""All tasks in packed rows: the same on any number of ranks, and nothing cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import numpy as np
import pytest
import torch

from linly.config.recipe import Recipe
from linly.config.sections.data_section import DataSettings
from linly.config.sections.evaluation_section import EvaluationSettings
from linly.errors import ConfigError
from linly.evaluation.packed_windows import PackedWindows
from linly.evaluation.tasks.prepared_tasks import cost_text, num_tokens, prepare_tasks
from linly.evaluation.tasks.task_evaluator import TaskEvaluator
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.training.ranks.processes import Processes
from tests.support.models import tiny_model
from tests.support.vocabularies import english_model

TOKENIZER = SentencePieceTokenizer(english_model())
CPU = torch.device("cpu")


def recipe(length: int, **task: object) -> Recipe:
    settings = {"name": "icl", "shots": 4, "limit": 9} | task
    evaluation = EvaluationSettings.model_validate({"tasks": [settings]})
    data = DataSettings(sequence_length=length)
    return cast("Recipe", Recipe.model_construct(evaluation=evaluation, data=data))


@dataclass(frozen=True, slots=True)
class Alone(Processes):
    """A rank whose sums with others are kept, not exchanged."""

    kept: list[torch.Tensor] = field(default_factory=list)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        self.kept.append(values)
        return values


def test_ranks_together_find_what_one_does_to_the_bit() -> None:
    model = tiny_model("llama", vocab_size=TOKENIZER.vocab_size, initializer_range=0.4)
    tasks = prepare_tasks(recipe(64), TOKENIZER, num_old=10_000)
    sums = []
    for world_size in (1, 3):
        total = torch.zeros(0)
        for rank in range(world_size):
            processes = Alone(rank, world_size, CPU)
            packed = PackedWindows(
                [task.windows for task in tasks],
                processes,
                sequence_length=64,
                batch_rows=2,
                way="positions",
            )
            with torch.no_grad():
                packed.nll(model)
            total = processes.kept[0] + (total if len(total) else 0)
        sums.append(total)
    assert torch.equal(*sums)
    assert (sums[0] > 0).all()


def test_packed_figures_equal_those_of_windows_alone() -> None:
    model = tiny_model("llama", vocab_size=TOKENIZER.vocab_size, initializer_range=0.4)
    (task,) = prepare_tasks(recipe(64), TOKENIZER, num_old=10_000)
    with torch.no_grad():
        packed = TaskEvaluator(
            [task], Processes(0, 1, CPU), sequence_length=64, batch_rows=2, way="positions"
        ).evaluate(model)["icl"]
        nll = []
        for ids, labels in task.windows:
            whole = torch.from_numpy(ids.astype(np.int64)).unsqueeze(0)
            log = model(whole).logits[0, :-1].log_softmax(-1).gather(1, whole[0, 1:, None])
            nll.append(-float(log.squeeze(1)[torch.from_numpy(labels[1:] >= 0)].double().sum()))
    alone = task.measure(nll)
    assert packed.accuracy == alone.accuracy
    assert packed.bits_per_answer == pytest.approx(alone.bits_per_answer, rel=1e-5)
    assert packed.copy_gain == pytest.approx(alone.copy_gain, rel=1e-4, abs=1e-5)
    assert len(packed.prompts) == 16


def test_prompts_longer_than_a_row_are_refused_with_their_number() -> None:
    with pytest.raises(ConfigError) as caught:
        prepare_tasks(recipe(32), TOKENIZER, num_old=10_000)
    assert str(caught.value) == (
        "evaluation.tasks: icl: 24 of 42 prompts with their answers are longer than a row: the "
        "longest has 35 tokens, and data.sequence_length is 32. They are not cut, as that would be "
        "another exam: use fewer shots, or longer rows"
    )


def test_tokens_of_an_evaluation_are_counted() -> None:
    tasks = prepare_tasks(recipe(64), TOKENIZER, num_old=10_000)
    assert num_tokens(tasks) == sum(len(ids) for ids, _ in tasks[0].windows) == 1365
    assert cost_text(tasks, recipe(64)) == (
        "icl: 1,365 tokens forward in an evaluation, every 250 steps; a step has 32,768 forward "
        "and backward, so an evaluation costs about 0.014 steps"
    )
