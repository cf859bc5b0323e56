"""Documents that share a row do not see each other, in every family, or it is refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from linly.data.types import IGNORE_LABEL
from linly.errors import ConfigError
from linly.evaluation.evaluation import Evaluator, HeldOut
from linly.modeling.attention import attention
from linly.modeling.attention.attention import document_bounds, set_attention, usual_backend
from linly.modeling.attention.separation import (
    RowLayout,
    Way,
    choose_attention,
    forward_rows,
    way_of_evaluation,
)
from linly.training.engine.losses import target_nll
from linly.training.engine.objective import Objective, choose_loss
from linly.training.ranks.processes import Processes
from tests.support.models import FAMILIES, VARIANTS, VOCAB_SIZE, tiny_model
from tests.support.varlen_kernel import loop_kernel

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
LENGTH = 96
DOCUMENTS = ((5, 1, 41, 3, 46), (50, 2, 44), (96,), (7, 89))
"""Lengths of the documents of each row: longer than the windows and chunks of 32."""

RECURRENT = frozenset(
    {
        *("bamba", "falcon_h1", "falcon_mamba", "granitemoehybrid", "inkling2_text"),
        *("inkling_text", "jamba", "kimi_linear", "lfm2", "lfm2_moe", "lfm3", "mamba", "mamba2"),
        *("mamba2-one-group", "minimax", "nemotron_h", "olmo_hybrid", "qwen3_5_moe_text"),
        *("qwen3_5_text", "qwen3_next", "recurrent_gemma", "rwkv", "xlstm", "zaya"),
    }
)
"""Families whose documents see each other whatever the mask."""
REFUSED = RECURRENT | {"openai-gpt"}
"""Likewise, and a family that builds a mask of its own."""
SCALING = frozenset(("llama-dynamic", "phi3-longrope"))
"""Models whose rotary embedding scales by the longest document of a batch."""
MASKED = frozenset(
    {
        *("afmoe", "biogpt", "bloom", "falcon", "falcon-7b", "falcon-40b", "falcon-alibi"),
        *("gpt_oss", "mpt", "opt", "opt-post-norm", "xglm"),
    }
)
"""Models that do not read documents off their positions."""
NAMES = (*FAMILIES, *VARIANTS)
APART = tuple(name for name in NAMES if name not in REFUSED | SCALING)


def lively(name: str) -> PreTrainedModel:
    """A tiny model whose documents would change each other's logits by much."""
    model = tiny_model(name)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """ids and position_ids of packed rows."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, VOCAB_SIZE, (len(DOCUMENTS), LENGTH), generator=generator)
    positions = [torch.cat([torch.arange(n) for n in lengths]) for lengths in DOCUMENTS]
    return ids, torch.stack(positions)


def places() -> Iterator[tuple[int, slice]]:
    """Row and positions of each document."""
    for row, lengths in enumerate(DOCUMENTS):
        end = 0
        for length in lengths:
            end += length
            yield row, slice(end - length, end)


def alone(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """Logits of one document by itself."""
    positions = torch.arange(len(ids)).unsqueeze(0)
    logits: torch.Tensor = model(ids.unsqueeze(0), position_ids=positions, use_cache=False).logits
    return logits[0]


def assert_apart(model: PreTrainedModel, way: Way, backend: str, usual: str) -> None:
    """Packed rows have the logits that the usual backend gives to documents alone."""
    ids, positions = rows()
    with torch.no_grad():
        set_attention(model, backend)
        together = forward_rows(model, way, ids, positions, document_bounds(positions)).logits
        set_attention(model, usual)
        for row, place in places():
            wanted = alone(model, ids[row, place])
            assert (together[row, place] - wanted).norm() <= 1e-4 * wanted.norm(), (row, place)


@pytest.mark.parametrize("name", APART)
def test_packed_documents_have_the_logits_of_documents_alone(name: str) -> None:
    model = lively(name)
    chosen = choose_attention("auto", model, CPU, RowLayout(LENGTH))
    assert chosen.way == ("mask" if name in MASKED else "positions")
    assert chosen.note is None
    assert way_of_evaluation(model, LENGTH) == chosen.way
    assert_apart(model, chosen.way, chosen.backend, chosen.backend)


@pytest.mark.parametrize("name", sorted(REFUSED | SCALING))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_mixes_documents_is_refused_by_name(name: str, dtype: torch.dtype) -> None:
    model = tiny_model(name).to(dtype)
    with pytest.raises(ConfigError) as refused:
        choose_attention("auto", model, CPU, RowLayout(LENGTH))
    assert f"model of type {model.config.model_type}: " in str(refused.value)
    if "forward pass" not in str(refused.value):
        assert "`data.attention: full`" in str(refused.value)
        assert ("data.packing: one-document" in str(refused.value)) == (name in REFUSED)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refused_model_trains_on_one_document_a_row(name: str) -> None:
    model = lively(name)
    chosen = choose_attention("auto", model, CPU, RowLayout(LENGTH, "single"))
    ids, _ = rows()
    length = 40
    positions = torch.cat([torch.arange(length), torch.arange(LENGTH - length)]).unsqueeze(0)
    with torch.no_grad():
        padded = forward_rows(model, chosen.way, ids[:1], positions).logits[0, :length]
        wanted = alone(model, ids[0, :length])
    assert (padded - wanted).norm() <= 1e-4 * wanted.norm()


@pytest.mark.parametrize("documents", ["apart", "single", "joined"])
def test_a_model_that_cannot_train_in_bf16_is_named(
    documents: Literal["apart", "single", "joined"],
) -> None:
    """xLSTM fails on rows longer than its chunks of 32."""
    model = tiny_model("xlstm").bfloat16()
    why = r"model of type xlstm: its forward pass in torch.bfloat16 failed: RuntimeError: .*dtype"
    with pytest.raises(ConfigError, match=why):
        choose_attention("auto", model, CPU, RowLayout(LENGTH, documents))


@pytest.mark.parametrize("name", sorted(SCALING))
def test_a_rope_that_scales_is_kept_where_rows_are_equally_long_or_short(name: str) -> None:
    model = tiny_model(name)
    with pytest.raises(ConfigError, match="rotary positions scale"):
        choose_attention("auto", model, CPU, RowLayout(LENGTH, "single"))
    assert choose_attention("auto", model, CPU, RowLayout(LENGTH, "joined")).way == "positions"
    assert choose_attention("auto", model, CPU, RowLayout(32)).way == "positions"


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_has_the_loss_of_documents_alone(name: str) -> None:
    model = lively(name)
    ids, _ = rows()
    windows = []
    for row, place in places():
        tokens = ids[row, place].numpy().astype(np.int32)
        labels = tokens.copy()
        labels[0] = IGNORE_LABEL
        if len(tokens) > 1:
            windows.append((tokens, labels))
    held_out = HeldOut("texts", "en", "text", tuple(windows), len(windows), 100)
    evaluator = Evaluator(
        [held_out],
        Processes(0, 1, CPU),
        sequence_length=LENGTH,
        batch_rows=3,
        way=way_of_evaluation(model, LENGTH),
    )
    nll = 0.0
    with torch.no_grad():
        alone(model, ids[0, :1])  # a rope that has grown is as at the start again
        found = evaluator.evaluate(model)["texts"]
        for tokens, labels in sorted(windows, key=lambda window: len(window[0])):
            logits = alone(model, torch.from_numpy(tokens).long()).unsqueeze(0)
            nll += float(target_nll(logits, torch.from_numpy(labels).long().unsqueeze(0)).sum())
    assert found.loss == pytest.approx(nll / found.tokens, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_and_its_gradient_do_not_depend_on_the_micro_batch(name: str) -> None:
    """Of rows by themselves and of four at once, and the loss is that of documents alone."""
    model = lively(name)
    if name in SCALING:
        layout = RowLayout(LENGTH, "joined")
    else:
        layout = RowLayout(LENGTH, "single" if name in REFUSED else "apart")
    objective = Objective(model)
    objective.way = choose_attention("auto", model, CPU, layout).way
    objective.loss, _ = choose_loss("auto", objective, CPU)
    ids, positions = rows()
    if layout.documents != "apart":
        positions = torch.arange(LENGTH).expand_as(ids)
    labels = ids.masked_fill(positions == 0, IGNORE_LABEL)
    found = {}
    for size in (1, len(ids)):
        model.zero_grad()
        losses = []
        for part in range(0, len(ids), size):
            rest = [each[part : part + size] for each in (ids, labels, positions)]
            made = objective(*rest, None, 0.01)
            made.weighted.backward()
            losses.append(made.rows)
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found[size] = torch.cat(losses), torch.cat(gradients)
    torch.testing.assert_close(found[1][0], found[len(ids)][0], rtol=1e-4, atol=1e-4)
    whole, parts = found[len(ids)][1], found[1][1]
    assert (whole - parts).norm() <= 1e-3 * whole.norm()
    if layout.documents == "apart":
        wanted = torch.zeros(len(ids))
        with torch.no_grad():
            for row, place in places():
                logits = alone(model, ids[row, place]).unsqueeze(0)
                wanted[row] += target_nll(logits, labels[row : row + 1, place]).sum()
        torch.testing.assert_close(found[1][0], wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", APART)
def test_a_gpu_backend_is_right_or_gives_way_to_the_models_own(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop stands in for varlen's kernel; rows are longer than windows and chunks."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(attention, "varlen_kernel", loop_kernel)
    model = lively(name)
    usual = usual_backend(model)
    chosen = choose_attention("auto", model, CUDA, RowLayout(LENGTH))
    if chosen.backend != "varlen":
        assert chosen.backend == usual
        takes_others = getattr(model, "_supports_attention_backend", False)
        assert (chosen.note is not None and "not varlen: " in chosen.note) == takes_others
    assert_apart(model, chosen.way, chosen.backend, usual)
    if chosen.backend != "varlen" and takes_others:
        with pytest.raises(ConfigError, match=r"found varlen, which does not compute"):
            choose_attention("varlen", model, CUDA, RowLayout(LENGTH))


@pytest.mark.parametrize("name", ["llama", "deepseek_v3", "qwen3_moe", "olmo2"])
def test_plain_causal_attention_runs_on_varlen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(attention, "varlen_kernel", loop_kernel)
    chosen = choose_attention("auto", tiny_model(name), CUDA, RowLayout(LENGTH))
    assert (chosen.backend, chosen.way) == ("varlen", "bounds")


@pytest.mark.parametrize("name", ["bloom", "falcon-alibi"])
def test_alibi_restarts_in_bf16(name: str) -> None:
    """From position 256 on, BF16 has no step of one position."""
    model = lively(name).bfloat16()
    ids = torch.randint(3, VOCAB_SIZE, (1, 600), generator=torch.Generator().manual_seed(1))
    positions = torch.cat([torch.arange(540), torch.arange(60)]).unsqueeze(0)
    with torch.no_grad():
        packed = forward_rows(model, "mask", ids, positions).logits[0, 540:].float()
        wanted = alone(model, ids[0, 540:]).float()
    assert (packed - wanted).norm() <= 1e-3 * wanted.norm()


def test_the_probe_leaves_the_model_as_it_was() -> None:
    model = tiny_model("falcon").train()
    before = usual_backend(model), [p.clone() for p in model.parameters()]
    choose_attention("auto", model, CPU, RowLayout(LENGTH))
    assert model.training
    assert usual_backend(model) == before[0]
    assert all(torch.equal(a, b) for a, b in zip(before[1], model.parameters(), strict=True))
