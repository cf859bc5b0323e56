"""The forms of the loss: equal in value and gradient, and which models may take which."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from linly.data.types import IGNORE_LABEL
from linly.errors import ConfigError
from linly.training.engine import losses
from linly.training.engine.losses import chunked, fused_losses
from linly.training.engine.objective import Objective, choose_loss
from tests.support.models import tiny_model

CPU = torch.device("cpu")
ROWS, LENGTH, PIECES = 3, 21, 67


LLAMA = partial(tiny_model, "llama", vocab_size=PIECES, initializer_range=0.3)


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows with few, all and no targets."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, PIECES, (ROWS, LENGTH), generator=generator)
    labels = ids.clone()
    labels[0, 3:-2] = IGNORE_LABEL
    labels[2] = IGNORE_LABEL
    return ids, labels, torch.arange(LENGTH).expand(ROWS, LENGTH)


def step(
    model: PreTrainedModel, form: str, *, factor: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Weighted loss, losses of rows, gradients; `factor` is what backward starts with."""
    objective = Objective(model)
    objective.loss = form
    model.zero_grad()
    weighted, rows = objective(*batch(), None, 0.37)
    (weighted * factor).backward()
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return weighted.detach(), rows, gradients


@pytest.fixture(params=[4, 7, 1024])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that divide the positions, that do not, and one for all."""
    monkeypatch.setattr(losses, "CHUNK_TOKENS", request.param)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("is_tied", [False, True])
def test_the_chunked_loss_and_its_gradients_are_those_of_full_logits(is_tied: bool) -> None:
    model = LLAMA(tie_word_embeddings=is_tied)
    plain, plain_rows, plain_gradients = step(model, "plain", factor=0.25)
    weighted, rows, gradients = step(model, "chunked", factor=0.25)
    torch.testing.assert_close(weighted, plain)
    torch.testing.assert_close(rows, plain_rows)
    assert rows[2] == 0
    assert rows[0] > 0
    assert gradients.keys() == plain_gradients.keys()
    assert "lm_head.weight" in gradients or is_tied
    for name, gradient in gradients.items():
        wanted = plain_gradients[name]
        assert (gradient - wanted).norm() < 1e-5 * wanted.norm()


def test_the_heads_gradient_of_many_chunks_is_summed_in_fp32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rounded to BF16 after each chunk, 512 sums would be wrong by more than a percent."""
    monkeypatch.setattr(losses, "CHUNK_TOKENS", 1)
    generator = torch.Generator().manual_seed(0)
    hidden, head = (torch.randn(n, 16, generator=generator).bfloat16() for n in (512, 11))
    targets = torch.randint(0, 11, (512,), generator=generator)
    found = chunked(hidden, head, targets, 1.0, (True, True))
    exact = chunked(hidden.double(), head.double(), targets, 1.0, (True, True))
    for gradient, wanted in ((found.head, exact.head), (found.hidden, exact.hidden)):
        assert gradient is not None
        assert wanted is not None
        assert (gradient.double() - wanted.double()).norm() < 0.005 * wanted.double().norm()
    assert found.nll.dtype == torch.float32


@pytest.mark.parametrize("frozen", ["head", "decoder"])
def test_a_frozen_part_has_no_gradient_and_the_other_the_same(frozen: str) -> None:
    model = LLAMA()
    whole = step(model, "plain")[2]
    for name, parameter in model.named_parameters():
        is_head = name == "lm_head.weight"
        parameter.requires_grad_(is_head == (frozen == "decoder"))
    gradients = step(model, "chunked")[2]
    assert ("lm_head.weight" in gradients) == (frozen == "decoder")
    for name, gradient in gradients.items():
        assert (gradient - whole[name]).norm() < 1e-5 * whole[name].norm()


def test_full_logits_are_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor anything else of their size: the largest product has a chunk's positions."""
    monkeypatch.setattr(losses, "CHUNK_TOKENS", 8)
    seen = []
    real = torch.Tensor.logsumexp

    def measure(logits: torch.Tensor, *arguments: Any, **names: Any) -> torch.Tensor:
        seen.append(tuple(logits.shape))
        return real(logits, *arguments, **names)

    monkeypatch.setattr(torch.Tensor, "logsumexp", measure)
    model = LLAMA()
    monkeypatch.setattr(model.lm_head, "forward", None)
    step(model, "chunked")
    assert {shape[0] for shape in seen} == {8, ROWS * LENGTH % 8}
    assert {shape[1] for shape in seen} == {PIECES}


def test_no_gradient_is_made_where_none_is_asked_for() -> None:
    hidden, head = torch.randn(2, 5, 8), torch.randn(11, 8)
    parts = chunked(hidden.flatten(0, 1), head, torch.arange(10), 1.0, (False, False))
    assert (parts.hidden, parts.head) == (None, None)
    with torch.no_grad():
        found = fused_losses(chunked, hidden, head, torch.randint(0, 11, (2, 5)), weight=1.0)
    assert not found.weighted.requires_grad


def test_a_llama_takes_the_chunked_loss_and_says_nothing() -> None:
    for model in (LLAMA(), LLAMA(tie_word_embeddings=True), LLAMA(dtype=torch.bfloat16)):
        objective = Objective(model)
        assert choose_loss("auto", objective, CPU) == ("chunked", None)
        assert choose_loss("plain", objective, CPU) == ("plain", None)


@pytest.mark.parametrize(
    ("kind", "settings", "why"),
    [
        ("gemma2", {"final_logit_softcapping": 30.0}, "changes its logits after the output layer"),
        ("cohere", {"logit_scale": 0.25}, "changes its logits after the output layer"),
        ("phi", {}, "is not a plain matrix"),
    ],
)
def test_a_model_that_changes_its_logits_keeps_the_plain_loss_and_says_why(
    kind: str, settings: dict[str, Any], why: str
) -> None:
    objective = Objective(tiny_model(kind, **settings))
    form, reason = choose_loss("auto", objective, CPU)
    assert form == "plain"
    assert reason is not None
    assert why in reason
    assert choose_loss("chunked", objective, CPU) == (form, reason)


def test_liger_is_refused_where_it_cannot_run() -> None:
    with pytest.raises(ConfigError, match=r"found liger, which needs CUDA .*auto, plain, chunked"):
        choose_loss("liger", Objective(LLAMA()), CPU)
