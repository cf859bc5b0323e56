"""Packed documents do not see each other, whatever computes their attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from linly.errors import ConfigError
from linly.modeling.attention import attention
from linly.modeling.attention.attention import (
    backends_to_try,
    document_bounds,
    set_attention,
    varlen_attention,
)
from tests.support.models import tiny_model
from tests.support.varlen_kernel import loop_kernel

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
DOCUMENTS = ((5, 3, 12), (20,), (1, 9, 10))
"""Lengths of the documents of each row."""


def llama() -> PreTrainedModel:
    return tiny_model("llama", vocab_size=50, initializer_range=0.1)


def packed() -> tuple[torch.Tensor, torch.Tensor]:
    """ids and position_ids."""
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(0, 50, (len(DOCUMENTS), 20), generator=generator)
    positions = [torch.cat([torch.arange(n) for n in lengths]) for lengths in DOCUMENTS]
    return ids, torch.stack(positions)


@pytest.mark.parametrize("backend", ["sdpa", "eager", "varlen"])
def test_packed_documents_have_the_logits_and_gradients_of_documents_run_apart(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU a loop stands in for varlen's kernel: the way to it and back is what is tested."""
    monkeypatch.setattr(attention, "varlen_kernel", loop_kernel)
    model, (ids, positions) = llama(), packed()
    extra: dict[str, Any] = {}
    if backend == "varlen":
        extra["cu_seq_lens_q"] = document_bounds(positions)
    set_attention(model, backend)
    together = model(ids, position_ids=positions, use_cache=False, **extra).logits
    together.square().sum().backward()
    gradient = model.model.embed_tokens.weight.grad.clone()
    model.zero_grad()
    set_attention(model, "eager")
    for row, lengths in enumerate(DOCUMENTS):
        for start, end in zip(
            torch.tensor([0, *lengths]).cumsum(0).tolist(),
            torch.tensor(lengths).cumsum(0).tolist(),
            strict=False,
        ):
            apart = model(ids[row : row + 1, start:end], use_cache=False).logits[0]
            torch.testing.assert_close(together[row, start:end], apart, rtol=1e-4, atol=1e-5)
            apart.square().sum().backward()
    torch.testing.assert_close(model.model.embed_tokens.weight.grad, gradient, rtol=1e-3, atol=1e-4)


def test_flex_gives_the_logits_of_sdpa() -> None:
    """Forward alone, since it has no gradient on a CPU, and not compiled: that takes a minute."""
    model, (ids, positions) = llama(), packed()
    logits = []
    for backend in ("sdpa", "flex"):
        set_attention(model, backend)
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            logits.append(model(ids, position_ids=positions, use_cache=False).logits)
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-5)


def test_bounds_are_where_documents_begin_across_rows() -> None:
    bounds = document_bounds(packed()[1])
    assert bounds.dtype == torch.int32
    assert bounds.tolist() == [0, 5, 8, 20, 40, 41, 50, 60]


def test_bounds_do_not_depend_on_first_positions() -> None:
    positions = torch.tensor([[7, 8, 9, 0, 1], [0, 0, 0, 1, 2]])
    assert document_bounds(positions).tolist() == [0, 3, 5, 6, 7, 10]


def test_a_cpu_takes_sdpa_by_itself_and_refuses_what_it_cannot_do() -> None:
    model = llama()
    assert backends_to_try("auto", model, CPU) == ("sdpa",)
    assert backends_to_try("eager", model, CPU) == ("eager",)
    for backend in ("flex", "varlen"):
        with pytest.raises(ConfigError, match=rf"{backend}.* CUDA .*allowed here: auto, sdpa"):
            backends_to_try(backend, model, CPU)


def test_a_gpu_tries_varlen_first_where_torch_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    assert backends_to_try("auto", model, CUDA) == ("varlen", "sdpa")
    assert backends_to_try("flex", model, CUDA) == ("flex",)
    monkeypatch.setattr(attention, "varlen_kernel", None)
    assert backends_to_try("auto", model, CUDA) == ("flex", "sdpa")
    with pytest.raises(ConfigError, match=r"varlen needs torch 2\.11"):
        backends_to_try("varlen", model, CUDA)


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ({"sliding_window": 5}, "window of 5 positions is shorter than a row"),
        ({"softcap": 30.0}, "its attention takes softcap"),
        ({"s_aux": torch.zeros(4)}, "its attention takes s_aux"),
        ({"dropout": 0.1}, "its attention takes dropout"),
        ({"cu_seq_lens_q": None}, "do not pass the document bounds to the backend"),
    ],
)
def test_varlen_refuses_attention_that_is_more_than_causal(
    option: dict[str, Any], why: str
) -> None:
    states = (torch.zeros(1, 4, 6, 8),) * 3
    known = {"cu_seq_lens_q": torch.tensor([0, 6], dtype=torch.int32), "use_cache": False}
    with pytest.raises(ConfigError, match=why):
        varlen_attention(torch.nn.Identity(), *states, None, **(known | option))
