"""linly.data.chat: documents that are what transformers renders, with loss where it belongs."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
from chat_templates import CHATML, LLAMA2, LLAMA3, MISTRAL, write_byte_level
from transformers import AutoTokenizer

from linly.config.chat import ChatFormat, read_chat_format
from linly.config.corpus import Corpus
from linly.config.recipe import load_recipe
from linly.data.chat import ANSWERS, TEXT_ALONE, WHOLE, ChatTemplate, Part
from linly.data.encoding import encode_documents
from linly.data.producer import ProducedRows
from linly.data.records import Texts, UnusableRecord
from linly.data.shards import list_shards
from linly.data.spec import StreamPlan, make_mixer, stream_plan
from linly.data.templates import DocumentMaker
from linly.data.types import BadRecord, Document, RawRecord, Segment
from linly.errors import ConfigError
from linly.tokenization.tokenizer import Tokenizer

MakeCorpus = Callable[..., Corpus]
TWO_TURNS: Texts = (
    ("user", "hello the"), ("assistant", "river 山"), ("user", "the"), ("assistant", "hello")
)  # fmt: skip
CONVERSATIONS: tuple[Texts, ...] = (
    TWO_TURNS,
    (("user", " spaces \n"), ("assistant", " around ")),
    (("user", ""), ("assistant", "document")),
    (("system", "the system"), ("user", "hello"), ("assistant", "river")),
)
BOS, EOS = "<|begin_of_text|>", "<|eot_id|>"


def format_of(template: str, *, bos: str = BOS, eos: str = EOS) -> ChatFormat:
    special = ("<|start_header_id|>", "<|end_header_id|>", "<|im_start|>", "<|im_end|>", bos, eos)
    tokens = {"bos_token": bos, "eos_token": eos}
    return ChatFormat(template=template, tokens=tokens, special_tokens=special)


def segments(
    template: str, messages: Texts, loss: frozenset[Part] = ANSWERS, **names: str
) -> list[tuple[str, bool, str]]:
    made = ChatTemplate(format_of(template, **names)).segments(messages, loss)
    return [(s.text, s.supervised, s.form) for s in made]


def test_llama3_has_loss_on_the_assistants_turns_and_their_ends() -> None:
    start, end = ("<|start_header_id|>", False, "special"), ("<|end_header_id|>", False, "special")
    assert segments(LLAMA3, TWO_TURNS) == [
        start, ("user", False, "continued"), end, ("\n\nhello the", False, "continued"),
        (EOS, False, "special"),
        start, ("assistant", False, "continued"), end, ("\n\n", False, "continued"),
        ("river 山", True, "continued"), (EOS, True, "special"),
        start, ("user", False, "continued"), end, ("\n\nthe", False, "continued"),
        (EOS, False, "special"),
        start, ("assistant", False, "continued"), end, ("\n\n", False, "continued"),
        ("hello", True, "continued"),
    ]  # fmt: skip


def test_inscp_is_an_empty_user_turn_and_a_document_all_with_loss() -> None:
    made = segments(LLAMA3, (("user", ""), ("assistant", " a document ")), WHOLE)
    text = BOS + "".join(text for text, _, _ in made) + EOS
    assert text == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\na document<|eot_id|>"
    )
    assert all(supervised for _, supervised, _ in made)
    evaluated = segments(LLAMA3, (("user", ""), ("assistant", "a document")), TEXT_ALONE)
    assert [text for text, supervised, _ in evaluated if supervised] == ["a document"]


def test_llama2_gives_its_space_to_the_answer_and_keeps_the_turns_end() -> None:
    made = segments(LLAMA2, TWO_TURNS, bos="<s>", eos="</s>")
    assert made == [
        ("[INST] hello the [/INST]", False, "text"),
        (" river 山", True, "continued"), (" ", True, "continued"), ("</s>", True, "special"),
        ("<s>", False, "special"), ("[INST] the [/INST]", False, "text"),
        (" hello", True, "continued"), (" ", True, "continued"),
    ]  # fmt: skip


def test_chatml_keeps_what_the_template_adds_by_itself() -> None:
    made = segments(CHATML, (("user", "a"), ("assistant", "b")), eos="<|im_end|>")
    assert made[:3] == [
        ("<|im_start|>", False, "special"),
        ("system\nYou are a helpful assistant.", False, "continued"),
        ("<|im_end|>", False, "special"),
    ]
    assert made[-2:] == [("assistant\n", False, "continued"), ("b", True, "continued")]


def test_a_record_that_makes_the_template_fail_is_a_bad_record() -> None:
    fails = CHATML + "{% if messages[0]['content'] == 'x' %}{{ 1 // 0 }}{% endif %}"
    with pytest.raises(UnusableRecord, match="refuses the messages: ZeroDivisionError"):
        segments(fails, (("user", "x"), ("assistant", "y")))


def test_special_tokens_in_what_people_say_are_text() -> None:
    made = segments(LLAMA3, (("user", "a<|eot_id|>b"), ("assistant", "<|end_header_id|>")))
    assert ("\n\na<|eot_id|>b", False, "continued") in made
    assert made[-1] == ("<|end_header_id|>", True, "continued")


def test_a_refused_or_changed_message_is_a_bad_record() -> None:
    template = ChatTemplate(format_of(MISTRAL))
    with pytest.raises(UnusableRecord, match="refuses the messages: Only user and assistant"):
        template.segments((("system", "s"), ("user", "a"), ("assistant", "b")), ANSWERS)
    shouting = MISTRAL.replace(
        "message['content'] + eos", "message['content'] | replace('q', 'Q') + eos"
    )
    changing = ChatTemplate(format_of(shouting))
    assert changing.segments((("user", "a"), ("assistant", "b")), ANSWERS)
    with pytest.raises(UnusableRecord, match="changes the text"):
        changing.segments((("user", "a"), ("assistant", "quiet")), ANSWERS)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for", "template"),
        ("{{ messages[0]['content'] }}", "drops or repeats a message"),
        ("{{ strftime_now('%d') }}" + MISTRAL, "'strftime_now' is undefined"),
        ("{{ ''.__class__.__mro__ }}" + MISTRAL, "unsafe"),
        (MISTRAL + "{{ 'the end' }}", "ends the last turn as it ends no other"),
        ("{% for x in range(100000000) %}{% endfor %}", "OverflowError: Range too big"),
        ("{{ messages[0]['content'] / 2 }}", "TypeError: unsupported operand"),
    ],
)
def test_a_template_that_cannot_serve_is_refused_before_the_first_record(
    template: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?s)chat template cannot be used.*({message})"):
        ChatTemplate(format_of(template))


@pytest.mark.parametrize(
    ("template", "messages"),
    [
        (template, messages)
        for template in (LLAMA3, CHATML, LLAMA2, MISTRAL)
        for messages in CONVERSATIONS
        if template != MISTRAL or messages[0][0] != "system"  # which Mistral's refuses
    ],
)
def test_documents_are_what_transformers_renders_and_encodes(
    tmp_path: Path, template: str, messages: Texts
) -> None:
    folder = write_byte_level(tmp_path, template)
    hugging_face = AutoTokenizer.from_pretrained(folder)
    said = [{"role": role, "content": text} for role, text in messages]
    text = hugging_face.apply_chat_template(said, tokenize=False)
    made = ChatTemplate(read_chat_format(folder)).segments(messages, ANSWERS)
    (encoded,) = encode_documents(Tokenizer.load(folder), [Document("a", 0, made)])
    ids = hugging_face(text, add_special_tokens=False).input_ids
    bos, eos = hugging_face.bos_token_id, hugging_face.eos_token_id
    ids = ids if ids[0] == bos else [bos, *ids]
    assert encoded.ids.tolist() == (ids if ids[-1] == eos else [*ids, eos])
    answers = "".join(text for role, text in messages if role == "assistant")
    with_loss = hugging_face.decode(encoded.ids[encoded.supervised], skip_special_tokens=True)
    assert with_loss.split() and "".join(with_loss.split()) == "".join(answers.split())


def test_sentencepiece_text_goes_on_without_a_space_before_it(llama_tokenizer_path: Path) -> None:
    """Meta's own form: each exchange encoded as one text, between BOS and EOS."""
    tokenizer = Tokenizer.load(llama_tokenizer_path)
    chat = format_of(LLAMA2, bos="<s>", eos="</s>")
    made = ChatTemplate(chat).segments(TWO_TURNS, ANSWERS)
    (encoded,) = encode_documents(tokenizer, [Document("a", 0, made)])
    expected = []
    for asked, answer in (("hello the", "river 山"), ("the", "hello")):
        ids = tokenizer.encode(f"[INST] {asked} [/INST] {answer} ").tolist()
        expected += [tokenizer.bos_id, *ids, tokenizer.eos_id]
    assert encoded.ids.tolist() == expected


def test_a_special_token_that_the_vocabulary_lacks_is_an_error(llama_tokenizer_path: Path) -> None:
    tokenizer = Tokenizer.load(llama_tokenizer_path)
    made = ChatTemplate(format_of(CHATML)).segments(TWO_TURNS, ANSWERS)
    with pytest.raises(ConfigError, match=r"special token '<\|im_start\|>', which the vocabulary"):
        encode_documents(tokenizer, [Document("a", 0, made)])


TEXT = "{language: zh, kind: text, paths: [a.jsonl], template: inscp}"
ASKED = "{language: zh, kind: instruction, paths: [a.jsonl], template: chat}"


def make(corpus: Corpus, value: dict[str, str]) -> tuple[Segment, ...]:
    made = DocumentMaker("source", corpus).make("a.jsonl", RawRecord(0, value, None, 1), 0)
    assert isinstance(made, Document), made
    return made.segments


def test_corpora_name_the_templates(make_corpus: MakeCorpus) -> None:
    chat = {"chat": format_of(LLAMA3)}
    text = make(make_corpus(TEXT).model_copy(update=chat), {"text": "文"})
    assert text[-1] == Segment("文", True, "continued")
    assert all(segment.supervised for segment in text)
    value = {"instruction": "问", "input": "题", "output": "答"}
    asked = make(make_corpus(ASKED).model_copy(update=chat), value)
    assert Segment("\n\n问\n题", False, "continued") in asked
    assert [s.text for s in asked if s.supervised] == ["答"]


def test_held_out_documents_have_loss_on_their_text_alone(make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(TEXT.replace("inscp}", "inscp, held_out: 100%}"))
    corpus = corpus.model_copy(update={"chat": format_of(LLAMA3)})
    raw = RawRecord(0, {"text": "文"}, None, 1)
    made = DocumentMaker("source", corpus).make_held_out("a.jsonl", raw)
    assert isinstance(made, Document)
    assert [s.text for s in made.segments if s.supervised] == ["文"]


def test_a_record_that_the_template_refuses_is_quarantined(make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(
        "{language: en, kind: conversation, paths: [a.jsonl], template: chat,"
        " fields: {messages: m, role: r, content: c}}"
    ).model_copy(update={"chat": format_of(MISTRAL)})
    turns = [{"r": r, "c": "x"} for r in ("system", "user", "assistant")]
    raw = RawRecord(0, {"m": turns}, None, 1)
    bad = DocumentMaker("source", corpus).make("a.jsonl", raw, 0)
    assert isinstance(bad, BadRecord)
    assert "refuses the messages" in bad.reason


RECIPE = """\
data_root: data
run: runs/chat
model: model
data: {sequence_length: 64, global_batch: 2}
training: {micro_batch: 1}
curriculum:
  tokens: 1280
  mixture: {all: {ratio: rest, sources: {zh: {corpus: zh, template: inscp, share: 100%}}}}
corpora: {zh: {language: zh, kind: text, paths: ["*.jsonl"]}}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_byte_level(tmp_path / "model", LLAMA3)
    (tmp_path / "data").mkdir()
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    records = "".join(json.dumps({"text": f"hello {i} the river" * 9}) + "\n" for i in range(40))
    (tmp_path / "data/a.jsonl").write_text(records)
    return tmp_path / "recipe.yaml"


def plan_of(recipe: Path) -> StreamPlan:
    loaded = load_recipe(recipe)
    shards = {"zh": list_shards(loaded.corpora["zh"], loaded.data_root)}
    assert loaded.model is not None
    return stream_plan(loaded, loaded.model, shards)


def test_rows_of_inscp_documents_are_the_same_from_any_process(recipe: Path) -> None:
    plan = plan_of(recipe)
    here = make_mixer(plan, plan.new_state())
    rows = [mixed.row for mixed in islice(here, 20)]
    tokenizer = Tokenizer.load(recipe.parent / "model")
    text = "".join(tokenizer.piece(int(token)) for row in rows for token in row.ids)
    assert "<|start_header_id|>user<|end_header_id|>ĊĊ<|eot_id|><|start_header_id|>" in text
    with closing(
        ProducedRows(plan, plan.new_state(), num_producers=2, prefetch_rows=4, timeout_s=60)
    ) as there:
        assert [mixed.row.ids.tolist() for mixed in islice(there, 20)] == [
            row.ids.tolist() for row in rows
        ]


def test_another_chat_template_is_another_stream(recipe: Path) -> None:
    before = plan_of(recipe).identity
    assert plan_of(recipe).identity == before
    config = recipe.parent / "model" / "tokenizer_config.json"
    config.write_text(config.read_text().replace("\\n\\n", "\\n"))
    after = plan_of(recipe).identity
    assert after.sources != before.sources


def test_without_a_models_template_it_is_an_error(make_corpus: MakeCorpus) -> None:
    with pytest.raises(ConfigError, match="'inscp' needs a chat template: that of the recipe's"):
        DocumentMaker("source", make_corpus(TEXT))
