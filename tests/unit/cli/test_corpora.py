"""`linly corpora`: records, documents and tokens shown; corpus files made of guesses."""

from __future__ import annotations

import io
import json
import math
import re
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from linly.cli.corpora import name_of
from linly.cli.corpora_view import CorpusView, printable
from linly.config.corpus import load_corpus
from linly.tokenization.load_tokenizer import load_tokenizer
from tests.support.commands import linly
from tests.support.tiny_corpora import source_of
from tests.support.vocabularies import english_model

ALPACA = """\
language: en
kind: instruction
paths: ["alpaca/*.jsonl"]
where: [{field: output, not_in: ["skip"]}]
held_out: 0%
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a corpus file, its shard of three good records, a vocabulary."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.model").write_bytes(english_model())
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "alpaca.yaml").write_text(ALPACA)
    put(tmp_path, "data/alpaca/a.jsonl",
        {"instruction": "Sing\x1b[31m [bold]", "output": "The river"},
        {"instruction": "x", "output": "skip"},
        {"instruction": "x"},
        {"instruction": "Walk", "output": "The mountain"},
        {"instruction": "Rest", "output": "The bridge"})  # fmt: skip
    return tmp_path


def put(folder: Path, name: str, *records: dict[str, object]) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


DATA = ("--data-root", "data")


def test_list_shows_the_form_of_each_corpus(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "corpora" / "pairs.yaml").write_text(
        "kind: parallel\npaths: {en: 'p/[ab].en', zh: 'p/[ab].zh'}\n"
    )
    (here / "corpora" / "pages.yaml").write_text(
        "language: zh\nkind: text\npaths: ['a/*.parquet', 'b/*.jsonl.zst', 'c/*']\n"
    )
    assert linly("corpora", "list") == 0
    rows = [re.split(r"\s{2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    assert rows[1:] == [
        ["alpaca", "en", "instruction", "jsonl", "alpaca/*.jsonl"],
        ["pages", "zh", "text", "by file name, jsonl, parquet", "a/*.parquet, b/*.jsonl.zst, c/*"],
        ["pairs", "en-zh", "parallel", "aligned lines", "p/[ab].en, p/[ab].zh"],
    ]


@pytest.mark.parametrize("is_asked", [False, True])
def test_the_corpora_of_linly_are_used_where_there_are_none(
    here: Path, capsys: pytest.CaptureFixture[str], is_asked: bool
) -> None:
    if not is_asked:
        (here / "corpora").rename(here / "others")
    asked = ["--corpora", "linly:corpora"] if is_asked else []
    assert linly("corpora", "list", *asked) == 0
    assert "slimpajama" in capsys.readouterr().out
    put(
        here,
        "data/alpaca/alpaca_data.json",
        {"instruction": "Sit", "input": "", "output": "The chair"},
    )
    assert linly("corpora", "show", "alpaca", *asked, *DATA) == 0
    assert "The chair" in capsys.readouterr().out


def test_show_prints_record_document_and_tokens(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not linly("corpora", "show", "alpaca", "--tokenizer", "base.model", *DATA)
    out = capsys.readouterr().out
    assert '"output": "The river"' in out
    assert "no loss | Below is an instruction" in out
    assert "loss    | The river" in out
    assert "alpaca/a.jsonl, record 1: left out: where: output is 'skip'" in out
    assert "record 2: bad: field 'output' is missing" in out
    assert "loss    | The mountain" in out
    assert "The bridge" not in out
    tokenizer = load_tokenizer(here / "base.model")
    num_answer = len(tokenizer.encode("The river"))
    assert f"tokens, {num_answer + 1} with loss" in out
    assert "<s> ▁" in out


def test_control_characters_and_markup_of_a_record_do_nothing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not linly("corpora", "show", "corpora/alpaca.yaml", "-n", "1", *DATA)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "Sing\\u001b[31m [bold]" in out
    assert printable("a\u202eb\r\x07\n\t") == "a\\u202eb\\u000d\\u0007\n\t"


def test_what_carries_no_loss_is_dim(here: Path) -> None:
    corpus = load_corpus("alpaca", [here / "corpora"])
    tokenizer = load_tokenizer(here / "base.model")
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system="standard", soft_wrap=True)
    CorpusView(console, source_of(corpus, here / "data", template="linly"), tokenizer).show(1)
    lines = file.getvalue().splitlines()
    (prompt,) = [line for line in lines if "no loss" in line]
    (answer,) = [line for line in lines if line.startswith("\x1b[36mloss")]
    assert "\x1b[2m### Instruction" in prompt
    assert "\x1b[2m" not in answer
    tokens = lines[-1]
    assert tokens.startswith("\x1b[2m<s>\x1b[0m")
    assert "\x1b[2m" not in tokens[tokens.rindex("\x1b[2m") + 4 :]
    assert tokens.rstrip().endswith("</s>")


def test_an_unknown_corpus_names_the_nearest(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert linly("corpora", "show", "alpaka", *DATA) == 1
    assert "found 'alpaka', did you mean 'alpaca'?" in capsys.readouterr().err


def test_a_corpus_without_a_document_is_an_error(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(here, "data/alpaca/a.jsonl", {"instruction": "x", "output": "skip"})
    assert linly("corpora", "show", "alpaca", *DATA) == 1
    assert "none of its first 1 records gives a document" in capsys.readouterr().err


def test_new_writes_a_corpus_file_that_reads_its_shards(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(here, "data/news/2016/a.jsonl", {"title": "标题", "content": "一条新闻。"})
    put(here, "data/news/2017/b.jsonl", {"title": "", "content": "又一条。"})
    assert not linly("corpora", "new", "news/*/*.jsonl", *DATA)
    out = capsys.readouterr().out
    assert "written: corpora/news.yaml" in out
    assert "loss    | 标题" in out
    corpus = load_corpus("news", [here / "corpora"])
    assert (corpus.language, corpus.kind, corpus.held_out) == ("zh", "text", 0.01)
    assert corpus.fields == {"text": "{title?}\n\n{content}"}
    assert "one of 2 shards" in (here / "corpora/news.yaml").read_text()


def test_new_leaves_files_out_that_describe_the_shards(here: Path) -> None:
    put(here, "data/hub/train.jsonl", {"text": "A page."})
    (here / "data/hub/README.md").write_text("# About\n")
    assert not linly("corpora", "new", "hub/*", *DATA)
    corpus = load_corpus("hub", [here / "corpora"])
    assert (corpus.format, corpus.exclude) == (None, ("hub/README.md",))


def test_new_reads_text_by_its_byte_order_mark(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "data/old").mkdir()
    (here / "data/old/a.txt").write_bytes("一行文字\n又一行\n".encode("utf-16"))
    assert not linly("corpora", "new", "old/*.txt", *DATA)
    assert load_corpus("old", [here / "corpora"]).encoding == "utf-16"
    assert "loss    | 一行文字" in capsys.readouterr().out


def test_new_writes_no_file_that_cannot_give_a_record(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(here, "data/odd/a.jsonl", {"messages": [{"role": "nobody", "content": "Hi"}]})
    assert linly("corpora", "new", "odd/*.jsonl", *DATA) == 1
    assert "no corpus file is written, since the guess is wrong" in capsys.readouterr().err
    assert not (here / "corpora/odd.yaml").exists()


def test_new_never_overwrites(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert linly("corpora", "new", "alpaca/*.jsonl", *DATA) == 1
    assert "corpora/alpaca.yaml exists already" in capsys.readouterr().err
    assert (here / "corpora" / "alpaca.yaml").read_text() == ALPACA
    assert not linly("corpora", "new", "alpaca/*.jsonl", "--name", "alpaca-2", *DATA)
    assert load_corpus("alpaca-2", [here / "corpora"]).kind == "instruction"


@pytest.mark.parametrize(
    ("pattern", "name", "message"),
    [
        ("../*.jsonl", "x", "without '..'"),
        ("alpaca/*.jsonl", "../x", "allowed: a name of letters"),
        ("none/*.jsonl", "x", "no file matches 'none/*.jsonl'"),
    ],
)
def test_new_refuses_what_a_corpus_file_would(
    here: Path, capsys: pytest.CaptureFixture[str], pattern: str, name: str, message: str
) -> None:
    assert linly("corpora", "new", pattern, "--name", name, *DATA) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("slimpajama/train/chunk*/*.jsonl.zst", "train"),
        ("wiki_zh/*/wiki_*", "wiki_zh"),
        ("my data/*.txt", "my-data"),
        ("news.jsonl", "news"),
        ("**/*.txt", "corpus"),
    ],
)
def test_a_corpus_is_named_by_its_pattern(pattern: str, name: str) -> None:
    assert name_of(pattern) == name


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "text,text\na,b\n", "more than one column is named 'text'"),
        ("a.json", '{"data": [{"text": "A."}, {"text": "B."}]}', r"jq -c '\.data\[\]'"),
        ("a.jsonl", '{"text": "12"}\n{"text": "7"}\n', "most of its documents contain no word"),
        ("a.jsonl", '{"text": "A page."}\n' + '{"other": "x"}\n' * 3, "3 of its first 4 records"),
        ("a.jsonl", "{'text': 'A page.'}\n", "no record among its first 200"),
        ("a.csv", "title,text\n", "the 1 shard\\(s\\) contain no record"),
        ("a.jsonl", '{"chat": [{"role": "robot", "content": "Hi"}]}\n', "role 'robot' of a turn"),
    ],
)
def test_new_leaves_no_file_where_the_guess_does_not_hold(
    here: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, message: str
) -> None:
    path = here / "data/odd" / name
    path.parent.mkdir()
    path.write_text(text)
    before = sorted((here / "corpora").iterdir())
    assert linly("corpora", "new", "odd/*", *DATA) == 1
    assert re.search(message, capsys.readouterr().err)
    assert sorted((here / "corpora").iterdir()) == before


def test_new_leaves_no_file_when_the_disk_is_full(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(here, "data/news/a.jsonl", {"text": "A page."})
    original = Path.open

    def opened(self: Path, mode: str = "r", *args: object, **options: object) -> object:
        if "x" not in mode:
            return original(self, mode, *args, **options)  # type: ignore[call-overload]
        self.touch()
        return original(Path("/dev/full"), "w", encoding="utf-8")

    monkeypatch.setattr(Path, "open", opened)
    assert linly("corpora", "new", "news/*", *DATA) == 1
    assert "news.yaml: cannot be written" in capsys.readouterr().err
    assert not (here / "corpora/news.yaml").exists()


def test_new_looks_past_shards_of_no_record(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "data/parts").mkdir()
    (here / "data/parts/a.csv").write_text("title,text\n")
    (here / "data/parts/b.csv").write_text("title,text\nT,A page.\n")
    (here / "data/parts/state.json").write_text('{"_fingerprint": "a"}')
    assert not linly("corpora", "new", "parts/*", *DATA)
    text = (here / "corpora/parts.yaml").read_text()
    assert "'parts/b.csv', one of 2 shards" in text
    assert "loss    | T" in capsys.readouterr().out


def test_new_writes_the_dialect_of_a_table(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "data/tables").mkdir()
    (here / "data/tables/a.csv").write_text(
        'title;text\nT;"He said \\"yes\\"; and left."\nU;"She said \\"no\\"."\n'
    )
    assert not linly("corpora", "new", "tables/*", *DATA)
    corpus = load_corpus("tables", [here / "corpora"])
    assert (corpus.delimiter, corpus.escape) == (";", "\\")
    assert 'He said "yes"; and left.' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("pattern", "names", "paths"),
    [
        ("opus/*", ["a.en", "a.zh"], {"en": "opus/*.en", "zh": "opus/*.zh"}),
        ("opus/a.*", ["a.en", "a.zh"], {"en": "opus/a.en", "zh": "opus/a.zh"}),
        ("opus/*", ["a.b.en", "a.b.de", "c.en", "c.de"], {"de": "opus/*.de", "en": "opus/*.en"}),
    ],
)
def test_new_pairs_files_of_two_languages(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    pattern: str,
    names: list[str],
    paths: dict[str, str],
) -> None:
    (here / "data/opus").mkdir()
    for name in names:
        (here / "data/opus" / name).write_text(f"A line of {name}.\nAnother line.\n")
    assert not linly("corpora", "new", pattern, *DATA)
    corpus = load_corpus("opus", [here / "corpora"])
    assert (corpus.kind, corpus.paths) == ("parallel", paths)
    assert "loss    | A line of" in capsys.readouterr().out


def test_new_refuses_files_of_two_languages_that_are_not_aligned(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "data/opus").mkdir()
    (here / "data/opus/a.en").write_text("One.\nTwo.\n")
    (here / "data/opus/a.zh").write_text("一。\n")
    assert linly("corpora", "new", "opus/*", *DATA) == 1
    assert "not line-aligned" in capsys.readouterr().err
    assert not (here / "corpora/opus.yaml").exists()


def odd_shards(folder: Path) -> None:
    """Shards with a good text each, beside values that are not JSON's or not shown easily."""
    folder.mkdir(parents=True)
    text = "The river runs past the hill."
    lines = {
        "integer": '{"id": 18446744073709551616, "text": "%s"}',
        "negative": '{"id": -9223372036854775809, "text": "%s"}',
        "deep": '{"tree": ' + "[" * 490 + "]" * 490 + ', "text": "%s"}',
        "deep-objects": '{"tree": ' + '{"a":' * 490 + "1" + "}" * 490 + ', "text": "%s"}',
    }
    for name, line in lines.items():
        (folder / f"{name}.jsonl").write_text(line % text + "\n")
        (folder / f"{name}.json").write_text(f"[{line % text}]")
    (folder / "byte.csv").write_bytes(b"author,text\ncaf\xe9,%s\nok,%s\n" % ((text.encode(),) * 2))
    table = pa.table(
        {
            "raw": [b"\xff\x00"],
            "when": [datetime(2026, 1, 1)],
            "price": [Decimal("1.5")],
            "nan": [math.nan],
            "pairs": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
            "text": [text],
        }
    )
    pq.write_table(table, folder / "types.parquet")
    with pa.ipc.new_file(folder / "types.arrow", table.schema) as writer:
        writer.write_table(table)


ODD = [
    *(f"{name}.{kind}" for name in ("integer", "negative", "deep", "deep-objects")
      for kind in ("json", "jsonl")),
    "byte.csv", "types.parquet", "types.arrow",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_new_and_show_print_records_of_any_value(
    here: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    odd_shards(here / "data/odd")
    assert not linly("corpora", "new", f"odd/{name}", "--name", "odd", *DATA)
    assert "loss    | The river runs past the hill." in capsys.readouterr().out
    with (here / "corpora/odd.yaml").open("a") as file:
        file.write("where: [{field: text, matches: river}]\n")
    assert not linly("corpora", "show", "odd", *DATA)
    assert "loss    | The river runs past the hill." in capsys.readouterr().out


NO_RECORDS = {
    "lone surrogate": ("a.json", b'[{"text": "\\ud83d"}]', "record 0: not JSON: no low surrogate"),
    "control character": ("a.jsonl", b'{"text": "a\tb"}\n', "record 0: not JSON: unexpected"),
    "pointer": ("a.txt", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    "returns": ("a.csv", b"text\rone\rtwo\r", "carriage returns only"),
    "return in the header": ("a.csv", b"te\rxt\none\n", "a carriage return that ends no line"),
    "open quote": ("a.csv", b'text\n"one\n', "row that begins on line 2"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_RECORDS)
def test_new_says_why_a_shard_gives_no_record_and_names_no_file_that_is_not_there(
    here: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    file, data, message = NO_RECORDS[name]
    (here / "data/odd").mkdir()
    (here / "data/odd" / file).write_bytes(data)
    assert linly("corpora", "new", f"odd/{file}", "--name", "odd", *DATA) == 1
    error = capsys.readouterr().err
    assert message in error
    assert f"odd/{file}" in error
    assert "correct the corpus file" not in error
    assert not (here / "corpora/odd.yaml").exists()


def test_new_refuses_a_pattern_over_files_of_several_formats(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "data/mixed").mkdir()
    (here / "data/mixed/a").write_text("One line.\nAnother line.\n")
    put(here, "data/mixed/b.jsonl", {"text": "A page."})
    assert linly("corpora", "new", "mixed/*", *DATA) == 1
    assert "'mixed/*' matches files of jsonl, no known format" in capsys.readouterr().err
    assert not (here / "corpora/mixed.yaml").exists()
