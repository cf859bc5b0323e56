"""Held-out documents: every token counts once, packed as if each document ran alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from linly.data.types import IGNORE_LABEL, EncodedDocument
from linly.evaluation.evaluation import Evaluator, HeldOut, windows
from linly.training.engine.losses import target_nll
from linly.training.ranks.processes import Processes
from tests.support.models import tiny_model

LENGTH = 12
ALONE = Processes(0, 1, torch.device("cpu"))


def document(length: int, *, prompt: int = 0, seed: int = 0) -> EncodedDocument:
    ids = np.random.default_rng(seed).integers(3, 50, length).astype(np.int32)
    ids[0], ids[-1] = 1, 2
    supervised = np.ones(length, np.bool_)
    supervised[: 1 + prompt] = False
    return EncodedDocument("shard", 0, ids, supervised)


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return tiny_model("llama", vocab_size=50, initializer_range=0.5)


def held_out(documents: list[EncodedDocument], name: str = "zh", num_bytes: int = 100) -> HeldOut:
    cut = tuple(window for each in documents for window in windows(each, LENGTH))
    return HeldOut(name, "zh", "text", cut, len(documents), num_bytes)


@pytest.mark.parametrize("length", [2, 3, 11, 12, 13, 14, 23, 24, 25, 60])
def test_each_token_but_the_first_and_the_end_is_a_target_once(length: int) -> None:
    whole = document(length)
    targets = [int(label) for _, labels in windows(whole, LENGTH) for label in labels if label >= 0]
    assert targets == whole.ids[1:-1].tolist()


def test_prompts_and_windows_without_targets_are_left_out() -> None:
    made = list(windows(document(40, prompt=25), LENGTH))
    assert sum(int((labels != IGNORE_LABEL).sum()) for _, labels in made) == 13
    assert len(made) == 2
    assert list(windows(document(2), LENGTH)) == []


def test_packed_documents_have_the_loss_of_documents_alone(model: PreTrainedModel) -> None:
    documents = [document(n, prompt=n % 3, seed=n) for n in (3, 5, 4, 9, 30, 12, 13, 7)]
    evaluator = Evaluator([held_out(documents)], ALONE, sequence_length=LENGTH, batch_rows=3)
    with torch.no_grad():
        result = evaluator.evaluate(model)["zh"]
        nll, targets = 0.0, 0
        for each in documents:
            for ids, labels in windows(each, LENGTH):
                row = [torch.from_numpy(a.astype(np.int64)).unsqueeze(0) for a in (ids, labels)]
                positions = torch.arange(len(ids)).unsqueeze(0)
                logits = model(row[0], position_ids=positions, use_cache=False).logits
                nll += float(target_nll(logits, row[1]).sum())
                targets += int((labels != IGNORE_LABEL).sum())
    assert result.tokens == targets
    assert result.loss == pytest.approx(nll / targets, rel=1e-5)
    assert result.bits_per_byte == pytest.approx(nll / math.log(2) / 100, rel=1e-5)
    assert result.documents == len(documents)


def test_sources_are_kept_apart_and_empty_ones_left_out(model: PreTrainedModel) -> None:
    one, two = [document(9, seed=1)], [document(30, seed=2), document(4, seed=3)]
    both = Evaluator(
        [held_out(one, "a"), held_out([], "none"), held_out(two, "b")],
        ALONE,
        sequence_length=LENGTH,
        batch_rows=2,
    )
    with torch.no_grad():
        together = both.evaluate(model)
        for name, documents in (("a", one), ("b", two)):
            single = Evaluator(
                [held_out(documents, name)], ALONE, sequence_length=LENGTH, batch_rows=2
            )
            assert single.evaluate(model)[name].loss == pytest.approx(together[name].loss)
    assert set(together) == {"a", "b"}


def test_without_documents_there_is_nothing_to_say(model: PreTrainedModel) -> None:
    assert Evaluator([], ALONE, sequence_length=LENGTH, batch_rows=2).evaluate(model) == {}
