"""`linly chat`: turns in the model's own chat template, with those before them."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from linly.errors import ConfigError
from linly.export.chat_session import ChatSession
from linly.export.generation import ChatPrompts, OpenModel, Sampling
from linly.modeling.load_model import save_weights
from linly.tokenization.load_tokenizer import load_tokenizer
from tests.support.chat_templates import LLAMA3, SPECIAL, write_byte_level
from tests.support.commands import linly, linly_ok
from tests.support.models import tiny_model

TURNS = (("user", "hello  the river"), ("assistant", "黄河 is a"), ("user", "and then?"))
GREEDY = Sampling(max_new_tokens=6, temperature=0, repetition_penalty=1)


def opened(folder: Path, template: str = LLAMA3) -> OpenModel:
    tokenizer = load_tokenizer(write_byte_level(folder, template, eos=SPECIAL[-1]))
    model = tiny_model("llama", vocab_size=tokenizer.vocab_size)
    return OpenModel(model, tokenizer, folder)


@pytest.mark.parametrize("system", [(), (("system", "Be brief."),)])
def test_turns_have_the_ids_of_transformers(
    system: tuple[tuple[str, str], ...], tmp_path: Path
) -> None:
    model = opened(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    turns = [{"role": role, "content": text} for role, text in (*system, *TURNS)]
    text = theirs.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    expected = theirs.encode(text, add_special_tokens=False)
    ids, _ = ChatPrompts(model).ids((*system, *TURNS))
    bos = model.tokenizer.bos_id
    assert ids[ids[0] == bos :] == expected[expected[0] == bos :]


def test_an_answer_depends_on_the_turns_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ChatSession(opened(tmp_path), GREEDY, system="Be brief.")
    seen: list[str] = []
    ids = ChatPrompts.ids

    def watched(self: ChatPrompts, turns: tuple[tuple[str, str], ...]) -> object:
        seen.append(" | ".join(role for role, _ in turns))
        return ids(self, turns)

    monkeypatch.setattr(ChatPrompts, "ids", watched)
    session.answer("hello", str)
    session.answer("again", str)
    session.reset()
    session.answer("hello", str)
    first = "system | user"
    assert seen == [first, "system | user | assistant | user", first]


def test_the_pieces_written_are_the_answer(tmp_path: Path) -> None:
    torch.manual_seed(3)
    session = ChatSession(opened(tmp_path), Sampling(max_new_tokens=20))
    pieces: list[str] = []
    answer = session.answer("hello", pieces.append)
    assert answer and "".join(pieces) == answer


def test_a_conversation_longer_than_the_model_is_refused_and_kept(tmp_path: Path) -> None:
    session = ChatSession(opened(tmp_path), GREEDY)
    session.answer("hello", str)
    with pytest.raises(ConfigError, match="positions"):
        session.answer("river " * 5000, str)
    assert session.num_turns == 2


def test_lines_of_a_pipe_are_answered_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = opened(tmp_path / "model")
    save_weights(model.model, model.folder)
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n\n/reset\nhello\n"))
    linly_ok("chat", model.folder, "--temperature", "0", "--max-new-tokens", "4")
    first, again = capsys.readouterr().out.split("(new conversation)\n")
    assert first == again != "\n"


def test_a_model_without_a_chat_template_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = opened(tmp_path / "model", "")
    save_weights(model.model, model.folder)
    assert linly("chat", model.folder) == 1
    assert "no chat template" in capsys.readouterr().err
