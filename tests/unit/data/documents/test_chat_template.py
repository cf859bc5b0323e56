"""Documents that are what transformers renders, with loss where it belongs."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from linly.config.chat_format import ChatFormat, read_chat_format
from linly.config.corpus import Corpus
from linly.config.recipe import load_recipe
from linly.data.documents.chat_layout import Part
from linly.data.documents.chat_template import ANSWERS, TEXT_ALONE, WHOLE, ChatTemplate
from linly.data.documents.conversations import Conversation, Message
from linly.data.documents.encoding import encode_documents
from linly.data.documents.templates import DocumentMaker
from linly.data.inspection.estimate import estimate_tokens
from linly.data.inspection.lookup import TracedSource, TrainedSpan, find_texts
from linly.data.loading.producer import ProducedRows
from linly.data.mixing.state import MixerState
from linly.data.mixing.stream_plan import StreamPlan, make_mixer, stream_plan
from linly.data.reading.records import Texts, UnusableRecord
from linly.data.reading.shards import list_shards
from linly.data.types import BadRecord, Document, RawRecord, Segment, Shard
from linly.errors import ConfigError
from linly.tokenization.load_tokenizer import load_tokenizer
from tests.support.chat_templates import (
    CHATML,
    DEEPSEEK_R1,
    DEEPSEEK_TOOLS,
    GEMMA,
    GLM4,
    GLM45,
    HERMES,
    LLAMA2,
    LLAMA3,
    LLAMA31,
    METHARME,
    MISTRAL,
    MISTRAL_TOOLS,
    NEMOTRON,
    NEMOTRON_NANO,
    PHI3,
    QWEN3,
    write_byte_level,
)
from tests.support.tiny_corpora import source_of

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
    (encoded,) = encode_documents(load_tokenizer(folder), [Document("a", 0, made)])
    ids = hugging_face(text, add_special_tokens=False).input_ids
    bos, eos = hugging_face.bos_token_id, hugging_face.eos_token_id
    ids = ids if ids[0] == bos else [bos, *ids]
    assert encoded.ids.tolist() == (ids if ids[-1] == eos else [*ids, eos])
    answers = "".join(text for role, text in messages if role == "assistant")
    with_loss = hugging_face.decode(encoded.ids[encoded.supervised], skip_special_tokens=True)
    assert with_loss.split() and "".join(with_loss.split()) == "".join(answers.split())


FAMILIES = {
    "llama-2": LLAMA2, "llama-3": LLAMA3, "llama-3.1": LLAMA31, "chatml": CHATML,
    "mistral": MISTRAL, "mistral with tools": MISTRAL_TOOLS, "hermes": HERMES, "gemma": GEMMA,
    "phi-3": PHI3, "metharme": METHARME, "qwen3": QWEN3, "deepseek-r1": DEEPSEEK_R1,
    "glm-4": GLM4, "glm-4.5": GLM45, "nemotron": NEMOTRON,
}  # fmt: skip
THINKING = ("qwen3", "deepseek-r1", "glm-4.5", "nemotron")
LONG = (
    Message("user", "hello"), Message("assistant", "the", reasoning="why"),
    Message("user", "river"), Message("assistant", "hello the", reasoning="because"),
)  # fmt: skip


def as_read(messages: tuple[Message, ...], *, inside: bool) -> list[dict[str, str]]:
    """Messages as transformers takes them, reasoning within the text or beside it."""
    said = []
    for message in messages:
        beside = {"reasoning_content": message.reasoning} if message.reasoning else {}
        text = f"<think>\n{message.reasoning}\n</think>\n\n{message.text}"
        said.append(
            {"role": message.role, "content": text}
            if inside and message.reasoning
            else {"role": message.role, "content": message.text, **beside}
        )
    return said


def texts_of(segments: tuple[Segment, ...], *, with_loss: bool = False) -> list[str]:
    """The text of each document, of its supervised part alone if asked."""
    texts = [""]
    for segment in segments:
        if segment.form == "next":
            texts.append("")
        elif segment.supervised or not with_loss:
            texts[-1] += segment.text
    return texts


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_gives_each_answer_as_transformers_renders_it(
    tmp_path: Path, name: str
) -> None:
    """The EOS at the end is the document's own, and so is a BOS before it."""
    hugging_face = AutoTokenizer.from_pretrained(write_byte_level(tmp_path, FAMILIES[name]))
    template = ChatTemplate(format_of(FAMILIES[name]))
    messages = tuple(m._replace(reasoning="") for m in LONG)
    documents = texts_of(template.segments(Conversation(messages), ANSWERS))
    ends = [2, 4] if name == "qwen3" else [4]
    said = as_read(messages, inside=False)
    rendered = [
        hugging_face.apply_chat_template(said[:end], tokenize=False, date_string="26 Jul 2024")
        for end in ends
    ]
    assert documents == [
        text.removeprefix(BOS).rstrip().removesuffix(EOS)
        if text.rstrip().endswith(EOS)
        else text.removeprefix(BOS)
        for text in rendered
    ]
    with_loss = texts_of(template.segments(Conversation(messages), TEXT_ALONE), with_loss=True)
    assert ["".join(text.split()) for text in with_loss] == (
        ["the", "hellothe"] if len(ends) == 2 else ["thehellothe"]
    )


@pytest.mark.parametrize("inside", [False, True], ids=["beside the text", "inside the text"])
@pytest.mark.parametrize("name", THINKING)
def test_a_template_that_drops_earlier_reasoning_gives_a_document_a_turn(
    tmp_path: Path, name: str, inside: bool
) -> None:
    hugging_face = AutoTokenizer.from_pretrained(write_byte_level(tmp_path, FAMILIES[name]))
    marks = ("<think>\n", "\n</think>\n\n") if inside else ("", "")
    said = tuple(m._replace(marks=marks if m.reasoning else ("", "")) for m in LONG)
    template = ChatTemplate(format_of(FAMILIES[name]))
    first, last = texts_of(template.segments(Conversation(said), ANSWERS))
    for document, end in ((first, 2), (last, 4)):
        asked = hugging_face.apply_chat_template(
            as_read(said[: end - 1], inside=name == "nemotron" or inside),
            tokenize=False,
            add_generation_prompt=True,
        ).removeprefix(BOS)
        if inside and name == "deepseek-r1" and end == 4:
            asked = asked.replace("<|Assistant|>\n\n", "<|Assistant|>")  # left of the reasoning
        assert document.startswith(asked)
        written = document.removeprefix(asked)
        assert said[end - 1].reasoning in written and said[end - 1].text in written
        assert written.count("</think>") == 1
    assert "why" not in last
    supervised = texts_of(template.segments(Conversation(said), ANSWERS), with_loss=True)
    assert ["why" in supervised[0], "because" in supervised[1]] == [True, True]
    assert "the" in supervised[0] and "river" not in supervised[1]


def test_a_template_that_keeps_reasoning_gives_one_document() -> None:
    made = ChatTemplate(format_of(LLAMA3)).segments(Conversation(LONG), ANSWERS)
    (with_loss,) = texts_of(made, with_loss=True)
    assert with_loss == (
        "<think>\nwhy\n</think>\n\nthe<|eot_id|><think>\nbecause\n</think>\n\nhello the"
    )


CALLS = json.dumps(
    [
        {
            "id": "call00000",
            "type": "function",
            "function": {"name": "map", "arguments": {"of": "山"}},
        }
    ]
)
TOOLS = json.dumps([{"type": "function", "function": {"name": "map", "parameters": {}}}])
WITH_CALLS = Conversation(
    (
        Message("user", "hello"),
        Message("assistant", "", calls=CALLS),
        Message("tool", "river", call_id="call00000"),
        Message("assistant", "the"),
    ),
    TOOLS,
)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("llama-3.1", '{"name": "map", "parameters": {"of": "山"}}<|eot_id|>'),
        (
            "mistral with tools",
            '[TOOL_CALLS] [{"name": "map", "arguments": {"of": "山"}, "id": "call00000"}]'
            "<|eot_id|>",
        ),
        (
            "hermes",
            '<tool_call>\n{"name": "map", "arguments": {"of": "山"}}\n</tool_call><|im_end|>\n',
        ),
        (
            "qwen3",
            '<tool_call>\n{"name": "map", "arguments": {"of": "山"}}\n</tool_call><|im_end|>\n',
        ),
    ],
)
def test_a_tool_call_is_trained_on_as_the_template_writes_it(
    tmp_path: Path, name: str, call: str
) -> None:
    template = ChatTemplate(format_of(FAMILIES[name]))
    made = template.segments(WITH_CALLS, ANSWERS)
    supervised = texts_of(made, with_loss=True)
    assert "".join(supervised).startswith(call.removesuffix("<|eot_id|>"))
    assert "river" not in "".join(supervised) and "map" in "".join(texts_of(made))
    hugging_face = AutoTokenizer.from_pretrained(write_byte_level(tmp_path, FAMILIES[name]))
    said = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "", "tool_calls": json.loads(CALLS)},
        {"role": "tool", "content": "river", "tool_call_id": "call00000"},
        {"role": "assistant", "content": "the"},
    ]
    rendered = hugging_face.apply_chat_template(
        said, tools=json.loads(TOOLS), tokenize=False, date_string="26 Jul 2024"
    )
    whole = rendered.removeprefix(BOS).rstrip().removesuffix(EOS)
    assert texts_of(made)[-1].rstrip() == whole.rstrip()


def test_arguments_are_text_and_empty_content_is_none_where_a_template_asks_for_it() -> None:
    made = ChatTemplate(format_of(DEEPSEEK_TOOLS)).segments(WITH_CALLS, ANSWERS)
    (text,) = texts_of(made)
    (with_loss,) = texts_of(made, with_loss=True)
    assert text.endswith(
        '<|User|>hello<|Assistant|><|tool_call|>map\n{"of": "山"}<|tool_call_end|><|eot_id|>'
        "<|tool_output|>river<|tool_output_end|>the"
    )
    assert with_loss == '<|tool_call|>map\n{"of": "山"}<|tool_call_end|><|eot_id|>the'
    prints = HERMES.replace("m.role + '\n' + m.content", "m.role + '\n' ~ m.content")
    assert "None" not in texts_of(ChatTemplate(format_of(prints)).segments(WITH_CALLS, WHOLE))[0]
    code = WITH_CALLS._replace(messages=(Message("user", "x = None"), *WITH_CALLS.messages[1:]))
    assert "x = None" in texts_of(ChatTemplate(format_of(prints)).segments(code, WHOLE))[0]


@pytest.mark.parametrize("inside", [False, True], ids=["beside the text", "inside the text"])
def test_reasoning_that_the_prompt_opens_is_opened_once(inside: bool) -> None:
    marks = ("<think>\n", "\n</think>\n\n") if inside else ("", "")
    said = tuple(m._replace(marks=marks if m.reasoning else ("", "")) for m in LONG)
    made = ChatTemplate(format_of(NEMOTRON_NANO)).segments(Conversation(said), ANSWERS)
    first, last = texts_of(made)
    assert first.endswith("assistant\n<think>\n\nwhy\n</think>\n\nthe\n<|im_end|>")
    assert last.count("<think>") == 1 and "why" not in last
    assert texts_of(made, with_loss=True)[1] == "because\n</think>\n\nhello the\n<|im_end|>"


def test_a_role_token_serves_tools_only_where_the_template_names_no_other() -> None:
    special = ("<|observation|>", "<|user|>", "<|assistant|>", BOS, EOS)
    for template in (GLM4 + "{# {{ tools }} #}", HERMES):
        chat = ChatFormat(template=template, tokens={}, special_tokens=special)
        role = ChatTemplate(chat)._maker.tool_role
        assert role == ("tool" if template == HERMES else "observation")


@pytest.mark.parametrize("name", ["llama-3", "chatml", "phi-3", "glm-4", "gemma", "metharme"])
def test_a_template_without_tools_refuses_them(name: str) -> None:
    template = ChatTemplate(format_of(FAMILIES[name]))
    with pytest.raises(UnusableRecord, match="does not write tool calls"):
        template.segments(WITH_CALLS, ANSWERS)
    tools_alone = Conversation((Message("user", "a"), Message("assistant", "b")), TOOLS)
    with pytest.raises(UnusableRecord, match="does not write the tools"):
        template.segments(tools_alone, ANSWERS)


def test_special_tokens_in_tool_calls_are_refused() -> None:
    bad = WITH_CALLS._replace(tools=TOOLS.replace('"map"', '"map<|im_end|>"'))
    with pytest.raises(UnusableRecord, match=r"contain the special token '<\|im_end\|>'"):
        ChatTemplate(format_of(HERMES)).segments(bad, ANSWERS)


def test_a_turn_of_weight_zero_has_no_loss() -> None:
    both = tuple(m._replace(reasoning="") for m in LONG)
    first = (*both[:3], both[3]._replace(has_loss=False))
    last = (both[0], both[1]._replace(has_loss=False), *both[2:])
    for name, template in FAMILIES.items():
        made = ChatTemplate(format_of(template)).segments(Conversation(last), ANSWERS)
        (with_loss,) = texts_of(made, with_loss=True)
        assert "".join(with_loss.split()).startswith("hellothe"), name
        made = ChatTemplate(format_of(template)).segments(Conversation(first), ANSWERS)
        (with_loss,) = texts_of(made, with_loss=True)
        assert with_loss.split()[0].startswith("the") and "hello" not in with_loss, name
        is_by_turns = name == "qwen3"  # of which only those with loss are documents
        assert made[-1].supervised == is_by_turns, name


def test_a_date_is_the_one_that_the_corpus_file_states() -> None:
    said = (("user", "a"), ("assistant", "b"))
    bare = "{{ strftime_now('%d %b %Y') }}" + MISTRAL
    with pytest.raises(ConfigError, match="set one in the corpus file, such as chat_date"):
        ChatTemplate(format_of(bare))
    for template in (bare, LLAMA31):
        made = ChatTemplate(format_of(template), date="2023-12-01").segments(said, ANSWERS)
        assert "01 Dec 2023" in "".join(texts_of(made))
    assert "26 Jul 2024" in "".join(
        texts_of(ChatTemplate(format_of(LLAMA31)).segments(said, WHOLE))
    )


def test_white_space_beside_a_special_token_goes_where_tokenizers_puts_it(tmp_path: Path) -> None:
    folder = write_byte_level(tmp_path, PHI3)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    names = ("<|user|>", "<|assistant|>", "<|end|>")
    tokenizer["added_tokens"] += [
        {"id": 500 + i, "content": name, "single_word": False, "lstrip": False, "rstrip": True,
         "normalized": False, "special": True} for i, name in enumerate(names)
    ]  # fmt: skip
    vocabulary = tokenizer["model"]["vocab"]
    for added in tokenizer["added_tokens"]:
        added["id"] = vocabulary.setdefault(added["content"], len(vocabulary))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    hugging_face = AutoTokenizer.from_pretrained(folder)
    said = as_read(tuple(m._replace(reasoning="") for m in LONG), inside=False)
    said[2]["content"] = "  river"
    text = hugging_face.apply_chat_template(said, tokenize=False)
    made = ChatTemplate(read_chat_format(folder)).segments(
        tuple((m["role"], m["content"]) for m in said), ANSWERS
    )
    (encoded,) = encode_documents(load_tokenizer(folder), [Document("a", 0, made)])
    ids = hugging_face(text, add_special_tokens=False).input_ids
    assert encoded.ids.tolist() == [hugging_face.bos_token_id, *ids]


def test_sentencepiece_text_goes_on_without_a_space_before_it(llama_tokenizer_path: Path) -> None:
    """Meta's own form: each exchange encoded as one text, between BOS and EOS."""
    tokenizer = load_tokenizer(llama_tokenizer_path)
    chat = format_of(LLAMA2, bos="<s>", eos="</s>")
    made = ChatTemplate(chat).segments(TWO_TURNS, ANSWERS)
    (encoded,) = encode_documents(tokenizer, [Document("a", 0, made)])
    expected = []
    for asked, answer in (("hello the", "river 山"), ("the", "hello")):
        ids = tokenizer.encode(f"[INST] {asked} [/INST] {answer} ").tolist()
        expected += [tokenizer.bos_id, *ids, tokenizer.eos_id]
    assert encoded.ids.tolist() == expected


def test_a_special_token_that_the_vocabulary_lacks_is_an_error(llama_tokenizer_path: Path) -> None:
    tokenizer = load_tokenizer(llama_tokenizer_path)
    made = ChatTemplate(format_of(CHATML)).segments(TWO_TURNS, ANSWERS)
    with pytest.raises(ConfigError, match=r"special token '<\|im_start\|>', which the vocabulary"):
        encode_documents(tokenizer, [Document("a", 0, made)])


TEXT = "{language: zh, kind: text, paths: [a.jsonl], template: inscp}"
ASKED = "{language: zh, kind: instruction, paths: [a.jsonl], template: chat}"


def make(corpus: Corpus, value: dict[str, str]) -> tuple[Segment, ...]:
    made = DocumentMaker(source_of(corpus)).make("a.jsonl", RawRecord(0, value, None, 1), 0)
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
    made = DocumentMaker(source_of(corpus)).make_held_out("a.jsonl", raw)
    assert isinstance(made, Document)
    assert [s.text for s in made.segments if s.supervised] == ["文"]


def test_a_record_that_the_template_refuses_is_quarantined(make_corpus: MakeCorpus) -> None:
    corpus = make_corpus(
        "{language: en, kind: conversation, paths: [a.jsonl], template: chat,"
        " fields: {messages: m, role: r, content: c}}"
    ).model_copy(update={"chat": format_of(MISTRAL)})
    turns = [{"r": r, "c": "x"} for r in ("system", "user", "assistant")]
    raw = RawRecord(0, {"m": turns}, None, 1)
    bad = DocumentMaker(source_of(corpus)).make("a.jsonl", raw, 0)
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
    tokenizer = load_tokenizer(recipe.parent / "model")
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
        DocumentMaker(source_of(make_corpus(TEXT)))


def by_turns(folder: Path, packing: str) -> tuple[StreamPlan, Path]:
    """The stream of chats whose every turn is a document, in rows shorter than some of them."""
    write_byte_level(folder / "model", QWEN3)
    (folder / "data").mkdir()
    pairs = [{"role": r, "content": f"{r} the river"} for r in ("user", "assistant")]
    lines = [json.dumps({"messages": pairs * (1 + i % 4), "i": i}) + "\n" for i in range(30)]
    (folder / "data/a.jsonl").write_text("".join(lines))
    chats = RECIPE.replace("zh: {corpus: zh, template: inscp", "zh: {corpus: zh, template: chat")
    chats = chats.replace("sequence_length: 64", "sequence_length: 96").replace("1280", "3840")
    chats = chats.replace(
        "{language: zh, kind: text, ",
        f"{{language: zh, kind: conversation, packing: {packing}, "
        "fields: {messages: messages, role: role, content: content}, ",
    )
    (folder / "recipe.yaml").write_text(chats)
    return plan_of(folder / "recipe.yaml"), folder


@pytest.mark.parametrize("packing", ["chunk", "best-fit", "one-document"])
def test_turns_trained_one_by_one_lie_apart_and_resume_at_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: str
) -> None:
    monkeypatch.chdir(tmp_path)
    plan, folder = by_turns(tmp_path, packing)
    tokenizer = load_tokenizer(folder / "model")
    state = plan.new_state()
    rows, states = [], []
    for mixed in make_mixer(plan, plan.new_state()):
        states.append(state.to_json())
        state.advance(mixed)
        rows.append(mixed.row)
    assert len(rows) == 40
    begun = 0
    for row in rows:
        starts, length = set(row.starts.tolist()), len(row.ids) - row.num_padding
        for place, token in enumerate(row.ids[:length].tolist()):
            if token == tokenizer.bos_id and place:
                assert place in starts
                assert row.labels[place] == -100
                begun += 1
    assert (begun > 5) == (packing != "one-document")
    for index, before in enumerate(states):
        tail = make_mixer(plan, MixerState.from_json(before, plan.identity))
        assert [m.row.ids.tolist() for m in tail] == [r.ids.tolist() for r in rows[index:]]
    source = load_recipe(folder / "recipe.yaml").sources["zh"]
    shard = Shard("a.jsonl", (source.data_root / "a.jsonl").stat().st_size)
    counted = estimate_tokens(source, [shard], tokenizer, sequence_length=96)
    assert counted.documents == sum(1 + i % 4 for i in range(30))
    assert packing != "one-document" or (counted.tokens + counted.padding) % 96 == 0
    traced = TracedSource(source, [(0, {"a.jsonl": shard})])
    for row in rows[:4]:
        ends = [*row.starts[1:].tolist(), len(row.ids) - row.num_padding]
        for span, start, end in zip(row.spans, row.starts.tolist(), ends, strict=True):
            trained = TrainedSpan(span, 0, end < len(row.ids))
            found = find_texts(traced, tokenizer, [trained])[trained]
            assert found.text == tokenizer.decode(row.ids[start:end])
