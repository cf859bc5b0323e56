"""A chat model keeps its template and its tokens, from the folder given to the one exported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from linly.config.chat_format import read_chat_format, read_chat_templates
from linly.data.documents.chat_template import ANSWERS, ChatTemplate
from linly.data.documents.encoding import encode_documents
from linly.data.types import Document
from linly.errors import ConfigError
from linly.modeling.embeddings import extend_model
from linly.modeling.load_model import init_model, save_weights
from linly.tokenization.byte_level import ByteLevelTokenizer
from linly.tokenization.growth.byte_merges import extend_byte_level
from linly.tokenization.growth.extend import extend_vocabulary
from linly.tokenization.hugging_face.tokenizer_export import export_tokenizer
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.tokenization.model_file import CONTROL, USER_DEFINED, parse_model
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from linly.tokenization.tokenizer import Tokenizer
from tests.support.chat_templates import (
    CHATML,
    GEMMA,
    LLAMA2,
    MISTRAL,
    MISTRAL_TOOLS,
    PHI3,
    write_byte_level,
)
from tests.support.vocabularies import HARD_TEXTS, english_model

MODEL = english_model()
FIRST = len(parse_model(MODEL, origin="base").pieces)
CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")
PHI3_TOKENS = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>")
SAID = (
    ("user", "hello the river"),
    ("assistant", "walks"),
    ("user", "  the river\n\nx\n "),
    ("assistant", "山 two times"),
)

Family = tuple[str, tuple[str, ...], str, bool]
FAMILIES: dict[str, Family] = {
    "llama-2": (LLAMA2, (), "</s>", False),
    "mistral": (MISTRAL, (), "</s>", False),
    "mistral, control tokens": (MISTRAL, ("[INST]", "[/INST]"), "</s>", False),
    "mistral with tools": (MISTRAL_TOOLS, ("[INST]", "[/INST]"), "</s>", False),
    "chatml": (CHATML, CHATML_TOKENS, "<|im_end|>", False),
    "chatml, another eos": (CHATML, CHATML_TOKENS, "</s>", False),
    "phi-3": (PHI3, PHI3_TOKENS, "<|endoftext|>", True),
    "phi-3, white space kept": (PHI3, PHI3_TOKENS, "<|endoftext|>", False),
    "gemma": (GEMMA, ("<start_of_turn>", "<end_of_turn>"), "</s>", False),
}
PLACES = ("tokenizer_config.json", "chat_template.jinja", "chat_template.json", "list", "folder")


def sentencepiece_folder(folder: Path, family: Family, place: str = PLACES[0]) -> Path:
    """A chat model's vocabulary as it is published: its tokens beside tokenizer.model."""
    template, tokens, eos, rstrip = family
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(MODEL)
    flags = {"special": True, "lstrip": False, "rstrip": rstrip, "normalized": False}
    config: dict[str, Any] = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": {"content": eos},
        "pad_token": "<unk>",
        "additional_special_tokens": list(tokens),
        "added_tokens_decoder": {
            str(FIRST + index): {"content": name, "single_word": False, **flags}
            for index, name in enumerate(tokens)
        },
    }
    put_template(folder, template, place, config)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def put_template(folder: Path, template: str, place: str, config: dict[str, Any]) -> None:
    if place == "tokenizer_config.json":
        config["chat_template"] = template
    elif place == "list":
        named = (("tool_use", template + "{# tools #}"), ("default", template))
        config["chat_template"] = [{"name": n, "template": t} for n, t in named]
    elif place == "chat_template.json":
        (folder / place).write_text(json.dumps({"chat_template": template}))
    else:
        (folder / "chat_template.jinja").write_text(template)
    if place == "folder":
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates/tool_use.jinja").write_text(template + "{# tools #}")


def trained_ids(folder: Path) -> list[int]:
    """What linly trains on, without the BOS and EOS that it puts around a document."""
    tokenizer = load_tokenizer(folder)
    made = ChatTemplate(read_chat_format(folder)).segments(SAID, ANSWERS)
    (encoded,) = encode_documents(tokenizer, [Document("a", 0, made)])
    return encoded.ids.tolist()[1:-1]


def transformers_ids(folder: Path) -> list[int]:
    """What transformers gives for the same chat, without BOS and EOS around it."""
    loaded = AutoTokenizer.from_pretrained(folder)
    said = [{"role": role, "content": text} for role, text in SAID]
    text = loaded.apply_chat_template(said, tokenize=False).rstrip()
    found = loaded.apply_chat_template(said, tokenize=True, return_dict=False)
    whole = loaded(text, add_special_tokens=False).input_ids
    ids = whole if text.endswith(loaded.eos_token) else found  # white space behind EOS is left out
    ids = ids[1:] if ids[0] == loaded.bos_token_id else ids
    return ids[:-1] if ids[-1] == loaded.eos_token_id else ids


def grown(folder: Path, output: Path) -> Path:
    """The folder as a model, extended by a few characters."""
    base = load_tokenizer(folder)
    save_weights(init_model("nano", base, seed=1), folder)
    if isinstance(base, SentencePieceTokenizer):
        new: Tokenizer = SentencePieceTokenizer(extend_vocabulary(base, list("山水")))
    else:
        assert isinstance(base, ByteLevelTokenizer)
        new = extend_byte_level(base, list("山水"), tried=range(0x4E00, 0x4F00)).tokenizer
    extend_model(folder, new, output)
    return output


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_an_extended_and_exported_chat_model_gives_the_ids_that_were_trained(
    tmp_path: Path, family: Family
) -> None:
    given = sentencepiece_folder(tmp_path / "given", family)
    extended = grown(given, tmp_path / "extended")
    exported = tmp_path / "exported"
    exported.mkdir()
    assert export_tokenizer(load_tokenizer(extended), exported, source=extended).exact
    template = family[0]
    for folder in (extended, exported):
        assert read_chat_templates(folder) == {"default": template}
        assert read_chat_format(folder).rstrip == read_chat_format(given).rstrip
        assert transformers_ids(folder) == trained_ids(folder) == trained_ids(extended)
    assert load_tokenizer(extended).pieces()[:FIRST] == load_tokenizer(given).pieces()[:FIRST]
    assert load_tokenizer(extended).pieces()[FIRST:-2] == list(family[1])
    loaded = AutoTokenizer.from_pretrained(exported)
    assert (loaded.eos_token, loaded.pad_token) == (family[2], "<unk>")
    names = [*family[1], "<s>", "</s>", "<unk>"]
    for text in (text for text in HARD_TEXTS if not any(name in text for name in names)):
        ids = loaded(text, add_special_tokens=False).input_ids
        assert ids == load_tokenizer(exported).encode(text).tolist(), text


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["sentencepiece", "byte-level"])
def test_a_template_is_kept_wherever_it_lies(tmp_path: Path, kind: str, place: str) -> None:
    given = tmp_path / "given"
    if kind == "sentencepiece":
        sentencepiece_folder(given, FAMILIES["chatml"], place)
    else:
        write_byte_level(given, CHATML, eos="<|im_end|>")
        config = json.loads((given / "tokenizer_config.json").read_text())
        del config["chat_template"]
        put_template(given, CHATML, place, config)
        (given / "tokenizer_config.json").write_text(json.dumps(config))
    extended = grown(given, tmp_path / "extended")
    exported = tmp_path / "exported"
    exported.mkdir()
    export_tokenizer(load_tokenizer(extended), exported, source=extended)
    templates = {"default": CHATML}
    if place in ("list", "folder"):
        templates["tool_use"] = CHATML + "{# tools #}"
    for folder in (given, extended, exported):
        assert read_chat_templates(folder) == templates
    if place != "chat_template.json":  # which transformers reads for processors alone
        assert transformers_ids(exported) == trained_ids(exported)


def test_a_byte_level_vocabulary_without_a_template_takes_the_models(tmp_path: Path) -> None:
    model = write_byte_level(tmp_path / "model", CHATML, eos="<|im_end|>")
    save_weights(init_model("nano", load_tokenizer(model), seed=1), model)
    shutil.copytree(model, tmp_path / "bare")
    config = json.loads((tmp_path / "bare/tokenizer_config.json").read_text())
    del config["chat_template"]
    (tmp_path / "bare/tokenizer_config.json").write_text(json.dumps(config))
    extend_model(model, load_tokenizer(tmp_path / "bare"), tmp_path / "new")
    assert read_chat_templates(tmp_path / "new") == {"default": CHATML}


def test_a_model_without_a_template_reads_special_tokens_as_text(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/tokenizer.model").write_bytes(MODEL)
    (tmp_path / "out").mkdir()
    tokenizer = load_tokenizer(tmp_path / "plain")
    export_tokenizer(tokenizer, tmp_path / "out", source=tmp_path / "plain")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "out")
    text = "the <s> river</s>"
    assert loaded(text, add_special_tokens=False).input_ids == tokenizer.encode(text).tolist()


@pytest.mark.parametrize("form", ["added_tokens.json", "tokenizer.json", "added_tokens_decoder"])
def test_added_tokens_are_pieces_wherever_they_are_listed(tmp_path: Path, form: str) -> None:
    (tmp_path / "tokenizer.model").write_bytes(MODEL)
    names = [("<|im_start|>", True), ("<tool>", False)]
    listed = [
        {"id": FIRST + index, "content": name, "special": special}
        for index, (name, special) in enumerate(names)
    ]
    config: dict[str, Any] = {"bos_token": "<s>", "eos_token": "<|im_start|>"}
    if form == "added_tokens.json":
        (tmp_path / form).write_text(json.dumps({t["content"]: t["id"] for t in listed}))
    elif form == "tokenizer.json":
        (tmp_path / form).write_text(json.dumps({"added_tokens": listed}))
    else:
        config[form] = {str(token["id"]): token for token in listed}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(tmp_path)
    model = parse_model(tokenizer.model_bytes, origin="loaded")
    assert [(p.piece, p.type) for p in model.pieces[FIRST:]] == [
        ("<|im_start|>", CONTROL), ("<tool>", USER_DEFINED)
    ]  # fmt: skip
    assert tokenizer.eos_id == FIRST and tokenizer.bos_id == 1
    ids = tokenizer.encode("a<tool>b<|im_start|>").tolist()
    assert ids.count(FIRST + 1) == 1 and FIRST not in ids


def test_a_folder_that_says_no_more_than_its_model_has_the_models_bytes(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(MODEL)
    config = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "added_tokens_decoder": {"1": {"content": "<s>", "special": True}},
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert load_tokenizer(tmp_path).model_bytes == MODEL
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<pad>": FIRST}))
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": FIRST}))
    assert load_tokenizer(tmp_path).model_bytes == MODEL  # the model has no row for it


def test_files_that_disagree_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(MODEL)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<x>": 5}))
    with pytest.raises(ConfigError, match=r"added token '<x>' has id 5, which is '<0x02>'"):
        load_tokenizer(tmp_path)


def test_special_tokens_are_read_in_a_byte_level_chat_model_too(tmp_path: Path) -> None:
    given = write_byte_level(tmp_path / "given", CHATML, eos="<|im_end|>")
    config = json.loads((given / "tokenizer_config.json").read_text())
    config["split_special_tokens"] = True
    (given / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "out").mkdir()
    export_tokenizer(load_tokenizer(given), tmp_path / "out", source=given)
    assert transformers_ids(tmp_path / "out") == trained_ids(given)


def test_a_sentencepiece_folder_without_names_has_those_of_llama(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(MODEL)
    (tmp_path / "chat_template.jinja").write_text(LLAMA2)
    assert read_chat_format(tmp_path).tokens == {"bos_token": "<s>", "eos_token": "</s>"}
    (tmp_path / "out").mkdir()
    export_tokenizer(load_tokenizer(tmp_path), tmp_path / "out", source=tmp_path)
    assert (
        transformers_ids(tmp_path / "out") == trained_ids(tmp_path) == trained_ids(tmp_path / "out")
    )
