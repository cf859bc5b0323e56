"""`linly generate --template chat`: a prompt as a turn of the model's own chat template."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedModel

from linly.errors import ConfigError
from linly.export.generation import ChatPrompts, OpenModel, Sampling, generate_texts
from linly.tokenization.load_tokenizer import load_tokenizer
from tests.support.chat_templates import LLAMA3, METHARME, MISTRAL, SPECIAL, write_byte_level
from tests.support.models import tiny_model

PROMPT = "hello  the <|eot_id|> river\n黄河"


def opened(folder: Path, template: str, *, eos: str = "<|eot_id|>") -> OpenModel:
    tokenizer = load_tokenizer(write_byte_level(folder, template, eos=eos))
    model = tiny_model("llama", vocab_size=tokenizer.vocab_size)
    return OpenModel(model, tokenizer, folder)


@pytest.mark.parametrize("template", [LLAMA3, METHARME, MISTRAL])
def test_a_chat_prompt_has_the_ids_of_transformers(template: str, tmp_path: Path) -> None:
    model = opened(tmp_path, template, eos=SPECIAL[-1])
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    prompt = "hello  the river\n黄河"
    turns = [{"role": "user", "content": prompt}]
    text = theirs.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    expected = theirs.encode(text, add_special_tokens=False)
    ids, end_id = ChatPrompts(model).ids((("user", prompt),))
    bos = model.tokenizer.bos_id
    assert ids[ids[0] == bos :] == expected[expected[0] == bos :]
    ends = {LLAMA3: theirs.convert_tokens_to_ids("<|eot_id|>")}
    assert end_id == ends.get(template)


def test_special_tokens_in_a_chat_prompt_are_text(tmp_path: Path) -> None:
    model = opened(tmp_path, LLAMA3)
    ids, _ = ChatPrompts(model).ids((("user", PROMPT),))
    assert PROMPT in model.tokenizer.decode(ids)
    assert ids.count(model.tokenizer.eos_id) == 1  # the end of the user's turn


def test_the_answer_ends_with_the_turn(tmp_path: Path) -> None:
    model = opened(tmp_path, LLAMA3, eos=SPECIAL[-1])
    end = model.tokenizer.pieces().index("<|eot_id|>")
    always(model.model, end)
    sampling = Sampling(max_new_tokens=5, temperature=0, repetition_penalty=1)
    assert list(generate_texts(model, ["hello"], template="chat", sampling=sampling)) == [""]


def always(model: PreTrainedModel, token: int) -> None:
    """Make a model predict one token at every position."""
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.bias = torch.nn.Parameter(torch.zeros(model.lm_head.weight.shape[0]))
        model.lm_head.bias[token] = 1.0


def test_a_model_without_a_chat_template_is_named(tmp_path: Path) -> None:
    model = opened(tmp_path, "")
    with pytest.raises(ConfigError, match="chat"):
        list(generate_texts(model, ["hello"], template="chat", sampling=Sampling()))
