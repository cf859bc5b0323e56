"""A corpus file is checked against its kind, with file, line and key in every error."""

from pathlib import Path

import pytest

from linly.config.corpus import Corpus, corpus_files, load_corpus, make_corpus
from linly.config.where import Where
from linly.config.yaml.yaml import Origin, parse_yaml, write_yaml
from linly.errors import ConfigError

TEXT = """\
language: en
kind: text
paths: ["slimpajama/train/chunk*/*.jsonl.zst"]
exclude: ["slimpajama/train/chunk9/*"]
fields: {text: "{title}\\n\\n{body.main?}"}
where: [{field: meta.redpajama_set_name, not_in: [RedPajamaGithub]}]
held_out: 0.1%
"""
PARALLEL = """\
kind: parallel
paths: ["pairs/*.tsv"]
columns: [english, chinese]
fields: {zh: chinese, en: english}
"""
MOSES = """\
kind: parallel
paths: {en: "*.en", zh: "*.zh"}
held_out: {en: valid.en, zh: valid.zh}
"""
INSTRUCTION = """\
language: zh
kind: instruction
paths: ["belle/*.json"]
held_out: [belle/valid.jsonl]
"""
BAIZE = """\
language: en
kind: conversation
paths: ["baize/*.json"]
fields: {text: input, user_mark: "[|Human|]", assistant_mark: "[|AI|]"}
template: linly
"""
GB18030 = """\
language: zh
kind: text
format: txt
encoding: gb18030
paths: ["old/*"]
"""
ALL = (TEXT, PARALLEL, MOSES, INSTRUCTION, BAIZE, GB18030)


def read(text: str) -> Corpus:
    return make_corpus("mine", parse_yaml(text, Origin("mine.yaml", 1, Path("/"))))


def error(text: str, old: str, new: str) -> str:
    assert old in text
    with pytest.raises(ConfigError) as caught:
        read(text.replace(old, new, 1))
    return str(caught.value)


def test_a_text_corpus() -> None:
    corpus = read(TEXT)
    assert (corpus.name, corpus.language, corpus.template) == ("mine", "en", "text")
    assert (corpus.packing, corpus.held_out, corpus.max_bad_fraction) == ("chunk", 0.001, 0.01)
    (where,) = corpus.where
    assert (where.field, where.not_in) == ("meta.redpajama_set_name", ("RedPajamaGithub",))


def test_dialogue_is_packed_without_cutting_it() -> None:
    assert [read(text).packing for text in ALL] == [
        "chunk",
        "chunk",
        "chunk",
        "best-fit",
        "best-fit",
        "chunk",
    ]


def test_fields_have_defaults_where_the_kind_says_them() -> None:
    assert read('kind: text\nlanguage: zh\npaths: ["*.txt"]\n').fields == {"text": "text"}
    assert read('kind: parallel\npaths: ["*.jsonl"]\n').fields == {"zh": "zh", "en": "en"}
    korean = read('language: en-ko\nkind: parallel\npaths: ["*.jsonl"]\n')
    assert korean.fields == {"en": "en", "ko": "ko"}
    traditional = read('language: en-zh-Hant\nkind: parallel\npaths: ["*.jsonl"]\n')
    assert traditional.fields == {"en": "en", "zh-Hant": "zh-Hant"}
    assert read(MOSES).fields == {"en": "en", "zh": "zh"}
    assert read(INSTRUCTION).fields == {
        "instruction": "instruction",
        "input": "input?",
        "output": "output",
    }


def test_the_language_of_pairs_is_both() -> None:
    assert read(PARALLEL).language == "en-zh"
    assert read("language: en-zh\n" + PARALLEL).language == "en-zh"
    message = error("language: zh\n" + PARALLEL, "kind", "kind")
    assert message == (
        "mine.yaml:1: language: found 'zh', allowed: en-zh (from fields; may be left out)"
    )


@pytest.mark.parametrize("text", ALL)
def test_the_file_form_reads_back_equal(text: str) -> None:
    corpus = read(text)
    assert read(write_yaml(corpus.file_form())) == corpus


@pytest.mark.parametrize(
    "condition",
    [
        "equal: x",
        "equal: 3",
        "equal: false",
        "in: [1, x, true, 0.5]",
        "not_in: []",
        "at_least: 3",
        "at_most: 0.5",
        "matches: '^a|b$'",
    ],
)
def test_each_condition_reads_back_equal(condition: str) -> None:
    corpus = read(TEXT.replace("not_in: [RedPajamaGithub]", condition))
    assert read(write_yaml(corpus.file_form())) == corpus
    assert isinstance(corpus.where[0], Where)


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        (
            TEXT,
            "paths:",
            "path:",
            "mine.yaml:3: path: unknown key 'path', did you mean 'paths'? allowed: "
            "chat_date, columns, "
            "damaged_shards, delimiter, encoding, escape, exclude, "
            "exclude_records, fields, format, held_out, kind, language, "
            "max_bad_fraction, packing, paths, read_attempts, read_delay_s, template, where",
        ),
        (
            TEXT,
            "kind: text",
            "kind: txt",
            "mine.yaml:2: kind: found 'txt', did you mean 'text'? allowed: text, parallel, "
            "instruction, conversation",
        ),
        (TEXT, "kind: text\n", "", "mine.yaml:1: kind: missing, this key is required"),
        (
            TEXT,
            "language: en",
            "language: English",
            "mine.yaml:1: language: found 'English', allowed: a language code such as en",
        ),
        (
            TEXT,
            "language: en",
            "name: x\nlanguage: en",
            "mine.yaml:1: unknown key 'name', a corpus is named by its file (mine)",
        ),
        (
            TEXT,
            '["slimpajama/train/chunk*/*.jsonl.zst"]',
            "slimpajama",
            "mine.yaml:3: paths: found 'slimpajama', allowed: a list of patterns, or for "
            'line-aligned files {en: "*.en", zh: "*.zh"}',
        ),
        (
            TEXT,
            '["slimpajama/train/chunk*/*.jsonl.zst"]',
            "[]",
            "mine.yaml:3: paths: found an empty list, allowed: at least one pattern",
        ),
        (
            TEXT,
            '["slimpajama/train',
            '["ok/*", "../train',
            "mine.yaml:3: paths[1]: found '../train/chunk*/*.jsonl.zst', allowed: a path or glob "
            "below the data root, such as wiki/*.jsonl.zst (not absolute, without '..')",
        ),
        (
            TEXT,
            '"{title}',
            '"{title',
            "mine.yaml:5: fields.text: found '{title\\n\\n{body.main?}', allowed: a dotted path, "
            "or a form such as '{title}\\n\\n{text}'; a name with other characters is "
            "written in backquotes, such as `Question?`",
        ),
        (
            TEXT,
            "fields: {text:",
            "fields: {txt:",
            "mine.yaml:5: fields: found txt, allowed for kind text: {text}",
        ),
        (
            TEXT,
            "not_in: [RedPajamaGithub]",
            "notin: [x]",
            "mine.yaml:6: where[0].notin: unknown key 'notin', did you mean 'not_in'? allowed: "
            "at_least, at_most, equal, field, in, matches, not_in",
        ),
        (
            TEXT,
            "not_in: [RedPajamaGithub]",
            "equal: 1, at_most: 2",
            "mine.yaml:6: where[0]: found equal and at_most, allowed: exactly one of equal, in, "
            "not_in, at_least, at_most, matches",
        ),
        (
            TEXT,
            "not_in: [RedPajamaGithub]",
            "matches: '('",
            "mine.yaml:6: where[0].matches: found '(', not a regular expression: missing ), "
            "unterminated subpattern at position 0",
        ),
        (
            TEXT,
            "held_out: 0.1%",
            "held_out: valid.jsonl",
            "mine.yaml:7: held_out: found 'valid.jsonl', allowed: a percentage of the records, or "
            "held-out files as a list, such as [valid.jsonl]",
        ),
        (
            TEXT,
            "held_out: 0.1%",
            "held_out: 200%",
            "mine.yaml:7: held_out: found '200%', allowed: a percentage from 0% to 100%",
        ),
        (
            TEXT,
            "held_out: 0.1%",
            "held_out: [/etc/x]",
            "mine.yaml:7: held_out[0]: found '/etc/x', allowed: a path or glob below the data "
            "root, such as wiki/*.jsonl.zst (not absolute, without '..')",
        ),
        (
            TEXT,
            "held_out: 0.1%",
            "template: alpaca",
            "mine.yaml:7: template: found 'alpaca', allowed for kind text: text, inscp",
        ),
        (
            TEXT,
            "held_out: 0.1%",
            "packing: bestfit",
            "mine.yaml:7: packing: found 'bestfit', did you mean 'best-fit'? allowed: chunk, "
            "best-fit, one-document",
        ),
        (
            TEXT,
            "held_out: 0.1%",
            "format: jsonl\ncolumns: [a]",
            "mine.yaml:8: columns: found columns, allowed: none for format jsonl",
        ),
        (
            GB18030,
            "format: txt",
            "format: parquet",
            "mine.yaml:4: encoding: found gb18030, allowed: none for format parquet "
            "(it has its own)",
        ),
        (
            GB18030,
            "encoding: gb18030",
            "encoding: base64",
            "mine.yaml:4: encoding: found 'base64', allowed: an encoding of text, such as utf-8, "
            "gb18030, big5 or utf-16",
        ),
        (
            PARALLEL,
            "{zh: chinese, en: english}",
            "{zh: chinese}",
            "mine.yaml:4: fields: found zh, allowed for kind parallel: exactly two language "
            "codes, such as {zh, en}",
        ),
        (
            PARALLEL,
            "{zh: chinese, en: english}",
            "{source: chinese, target: english}",
            "mine.yaml:4: fields: found source, target, allowed for kind parallel: exactly two "
            "language codes, such as {zh, en}",
        ),
        (
            PARALLEL,
            "[english, chinese]",
            "[english, english]",
            "mine.yaml:3: columns: found the same name twice",
        ),
        (
            MOSES,
            'zh: "*.zh"',
            'zh: "*.zh", fr: "*.fr"',
            "mine.yaml:2: paths: found 3 languages, allowed: two, for kind parallel; else a list "
            "of patterns",
        ),
        (
            MOSES,
            "{en: valid.en, zh: valid.zh}",
            "{en: valid.en}",
            "mine.yaml:3: held_out: found a mapping, allowed: the same languages as in paths",
        ),
        (
            MOSES,
            "{en: valid.en, zh: valid.zh}",
            "[valid.en]",
            "mine.yaml:3: held_out: found a list, allowed: one path a language, as in paths",
        ),
        (
            INSTRUCTION,
            "held_out:",
            "fields: {input: q, output: a}\nheld_out:",
            "mine.yaml:4: fields: found input, output, allowed for kind instruction: "
            "{instruction, output}, and maybe input and choices",
        ),
        (
            INSTRUCTION,
            "held_out:",
            'fields: {instruction: q, output: a, choices: "{b}"}\nheld_out:',
            "mine.yaml:4: fields.choices: found '{b}', allowed: the path of a list of texts",
        ),
        (
            INSTRUCTION,
            "held_out:",
            "template: alpca\nheld_out:",
            "mine.yaml:4: template: found 'alpca', did you mean 'alpaca'? allowed for kind "
            "instruction: alpaca, alpaca-no-input, linly, chat",
        ),
        (
            BAIZE,
            ", assistant_mark:",
            ", assistent_mark:",
            "mine.yaml:4: fields: found text, user_mark, assistent_mark, allowed for kind "
            "conversation: {messages, role, content} or {messages, user, assistant} or {messages} "
            "or {text, user_mark, assistant_mark}; with messages also system, tools and weight, "
            "with text also system",
        ),
    ],
)
def test_errors_say_where_what_was_found_and_what_is_allowed(
    text: str, old: str, new: str, message: str
) -> None:
    assert error(text, old, new).splitlines()[0] == message


def test_corpora_are_named_by_their_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TEXT, encoding="utf-8")
    (tmp_path / "b.yaml").write_text(MOSES, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("no corpus", encoding="utf-8")
    assert corpus_files([tmp_path]).keys() == {"a", "b"}
    assert load_corpus("a", [tmp_path]).name == "a"


def test_a_corpus_loads_beside_a_broken_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TEXT, encoding="utf-8")
    (tmp_path / "bad.yaml").write_text("paths: [", encoding="utf-8")
    assert load_corpus("a", [tmp_path]).name == "a"
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        load_corpus("bad", [tmp_path])


def test_the_same_name_in_two_folders_is_refused(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.yaml").write_text(TEXT, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"found 'a' twice: .*one/a\.yaml and .*two/a\.yaml"):
        corpus_files([tmp_path / "one", tmp_path / "two"])


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nope, allowed: an existing folder"):
        load_corpus("a", [tmp_path / "nope"])
