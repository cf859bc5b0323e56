"""Packed documents do not see each other, whatever computes their attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from linly.errors import ConfigError
from linly.modeling import attention
from linly.modeling.attention import choose_attention, document_bounds, set_attention

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
DOCUMENTS = ((5, 3, 12), (20,), (1, 9, 10))
"""Lengths of the documents of each row."""


def llama() -> LlamaForCausalLM:
    torch.manual_seed(2)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config)


def packed() -> tuple[torch.Tensor, torch.Tensor]:
    """ids and position_ids."""
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(0, 50, (len(DOCUMENTS), 20), generator=generator)
    positions = [torch.cat([torch.arange(n) for n in lengths]) for lengths in DOCUMENTS]
    return ids, torch.stack(positions)


def loop_kernel(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> torch.Tensor:
    """What torch's kernel for GPUs computes by its documentation, one document after the other."""
    assert window_size == (-1, 0), "not causal"
    assert torch.equal(cu_seq_q, cu_seq_k)
    assert max_q == max_k >= int(cu_seq_q.diff().max())
    assert query.shape[1] == key.shape[1] or enable_gqa
    outputs = [
        scaled_dot_product_attention(
            *(tensor[start:end].transpose(0, 1).unsqueeze(0) for tensor in (query, key, value)),
            is_causal=True,
            scale=scale,
            enable_gqa=enable_gqa,
        )[0].transpose(0, 1)
        for start, end in zip(cu_seq_q[:-1].tolist(), cu_seq_q[1:].tolist(), strict=True)
    ]
    return torch.cat(outputs)


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


def test_a_cpu_takes_sdpa_by_itself_and_refuses_what_it_cannot_do() -> None:
    model = llama()
    assert choose_attention("auto", model, CPU) == "sdpa"
    assert choose_attention("eager", model, CPU) == "eager"
    for backend in ("flex", "varlen"):
        with pytest.raises(ConfigError, match=rf"{backend}.* CUDA .*allowed here: auto, sdpa"):
            choose_attention(backend, model, CPU)


def test_a_gpu_takes_varlen_by_itself_where_torch_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    assert choose_attention("auto", model, CUDA) == "varlen"
    assert choose_attention("flex", model, CUDA) == "flex"
    monkeypatch.setattr(attention, "varlen_kernel", None)
    assert choose_attention("auto", model, CUDA) == "flex"
    with pytest.raises(ConfigError, match=r"varlen needs torch 2\.11"):
        choose_attention("varlen", model, CUDA)


def test_a_model_with_a_window_keeps_its_own_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    config = MistralConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=8,
    )
    model = MistralForCausalLM(config)
    assert choose_attention("auto", model, CUDA) == "sdpa"
    monkeypatch.setattr(attention, "varlen_kernel", loop_kernel)
    set_attention(model, "varlen")
    ids, positions = packed()
    with pytest.raises(ConfigError, match="sliding window"):
        model(ids, position_ids=positions, cu_seq_lens_q=document_bounds(positions))
