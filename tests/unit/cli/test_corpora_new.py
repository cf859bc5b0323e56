"""`linly corpora new`: corpus files guessed from shards, and what is shown of them."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linly.config.corpus import load_corpus
from tests.support.commands import linly

ALPACA = """\
language: en
kind: instruction
paths: ["alpaca/*.jsonl"]
"""
DATA = ("--data-root", "data")
PAGE = "The river runs to the sea past many old towns, and the hill is green in spring."


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a corpus file with its shard."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LINLY_DATA", raising=False)
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "alpaca.yaml").write_text(ALPACA)
    put(tmp_path, "data/alpaca/a.jsonl", {"instruction": "Walk", "output": "The mountain"})
    return tmp_path


def put(folder: Path, name: str, *records: dict[str, object]) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


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
    put(here, "data/hub/train.jsonl", {"text": PAGE})
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
    assert "no corpus file is written: the guess is wrong" in capsys.readouterr().err
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
        ("../*.jsonl", "x", "'../*.jsonl' is outside the data root data"),
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
    ("name", "text", "message"),
    [
        ("a.csv", "text,text\na,b\n", "more than one column is named 'text'"),
        ("a.json", '{"data": [{"text": "A."}, {"text": "B."}]}', r"jq -c '\.data\[\]'"),
        ("a.jsonl", '{"text": "12"}\n{"text": "7"}\n', "most of its documents contain no word"),
        ("a.jsonl", '{"text": "A page."}\n' + '{"other": "x"}\n' * 3, "3 of its first 4 records"),
        ("a.jsonl", "{'text': 'A page.'}\n", "no record among its first 200"),
        ("a.csv", "title,text\n", "'odd/a.csv': it contains no record"),
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
        ("opus/*", ["a.en", "a.zh"], {"en": "opus/a.en", "zh": "opus/a.zh"}),
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
    out = capsys.readouterr().out
    assert "loss    | A line of" in out
    for language in paths:
        assert f'* {language}  "A line of' in out


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


def test_files_of_several_forms_become_a_corpus_each(here: Path) -> None:
    (here / "data/mixed").mkdir()
    (here / "data/mixed/lines").write_text(f"{PAGE}\nAnother line.\n")
    put(here, "data/mixed/b.jsonl", {"text": PAGE})
    put(here, "data/mixed/c.jsonl", {"text": PAGE})
    put(here, "data/mixed/d.jsonl", {"instruction": "Walk", "output": PAGE})
    assert not linly("corpora", "new", "mixed/*", *DATA)
    found = {name: load_corpus(name, [here / "corpora"]) for name in ("lines", "mixed-text", "d")}
    assert found["lines"].format == "txt"
    assert found["mixed-text"].paths == ("mixed/b.jsonl", "mixed/c.jsonl")
    assert (found["d"].kind, found["d"].paths) == ("instruction", ("mixed/d.jsonl",))


def test_new_works_in_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "data/books/a.jsonl", {"text": PAGE})
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("LINLY_DATA", raising=False)
    root = tmp_path / "data"
    for shards in (root / "books/a.jsonl", "../data/books/a.json?", "../data/books"):
        assert not linly("corpora", "new", shards, "--name", "books")
        out = capsys.readouterr().out
        assert f"`data_root: {root}` in the recipe" in out
        assert f"linly corpora show corpora/books.yaml --data-root {root}" in out
        assert out.rstrip().endswith(Path("corpora/books.yaml").read_text().rstrip())
        assert load_corpus("books", [Path("corpora")]).paths[0].startswith("books/a.json")
        assert not linly("corpora", "show", "corpora/books.yaml", "--data-root", root)
        Path("corpora/books.yaml").unlink()


def test_all_fields_of_a_record_are_shown(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = {
        "text": PAGE,
        "meta": {"set name": "books", "at\x1b": 3},
        "parts": [{"n": 1}],
        "x": None,
    }
    put(here, "data/pages/a.jsonl", record)
    pq.write_table(pa.table({"text": [PAGE], "stars": [5]}), here / "data/pages/b.parquet")
    assert not linly("corpora", "new", "pages/*", *DATA)
    lines = {line.rstrip() for line in capsys.readouterr().out.splitlines()}
    for shown in ('  meta.set name  "books"', "  parts.n        1", "  x              null"):
        assert shown in lines
    assert "  stars  5" in lines
    assert f'* text   "{PAGE}"' in lines


def test_a_language_that_is_not_clear_must_be_written(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(here, "data/words/a.jsonl", {"text": "taxi"})
    put(here, "data/sides/a.jsonl", {"src": "taxi", "tgt": "出租车"})
    for name in ("words", "sides"):
        assert not linly("corpora", "new", f"{name}/*", *DATA)
        assert "the language of its texts is not clear" in capsys.readouterr().out
        assert linly("corpora", "show", name, *DATA) == 1
        assert "write a language code such as zh, en" in capsys.readouterr().err
        path = here / f"corpora/{name}.yaml"
        path.write_text(path.read_text().replace("'?'", "en"))
        assert not linly("corpora", "show", name, *DATA)


def test_a_name_that_is_taken_gives_way_to_a_free_one(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("old/news", "new/news"):
        for name in ("x", "y"):
            put(here, f"data/{folder}/{name}.jsonl", {"text": PAGE})
    for shards in ("old/news/*", "new/news/x.jsonl", "new/news/*"):
        assert not linly("corpora", "new", shards, "--corpora", "made", *DATA)
    assert sorted(path.stem for path in (here / "made").iterdir()) == ["news", "news-2", "x"]
    capsys.readouterr()
    assert linly("corpora", "new", "new/news/x.jsonl", "--corpora", "made", *DATA) == 1
    assert "made/x.yaml exists already for these shards" in capsys.readouterr().err


def test_shards_with_a_corpus_file_keep_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(here, "data/mixed/a.jsonl", {"text": PAGE})
    assert not linly("corpora", "new", "mixed/a.jsonl", *DATA)
    (here / "corpora/mixed.yaml").write_text("# mine\n" + (here / "corpora/mixed.yaml").read_text())
    put(here, "data/mixed/b.jsonl", {"instruction": "Walk", "output": PAGE})
    assert not linly("corpora", "new", "mixed/*", *DATA)
    assert "mixed.yaml exists already for these shards" in capsys.readouterr().out
    assert (here / "corpora/mixed.yaml").read_text().startswith("# mine")
    assert load_corpus("b", [here / "corpora"]).kind == "instruction"
    assert linly("corpora", "new", "mixed/*", *DATA) == 1
    assert "these shards have theirs already" in capsys.readouterr().err


def test_a_name_for_several_corpora_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(here, "data/mixed/a.jsonl", {"text": PAGE})
    put(here, "data/mixed/b.jsonl", {"instruction": "Walk", "output": PAGE})
    assert linly("corpora", "new", "mixed/*", "--name", "x", *DATA) == 1
    assert "--name names one corpus, found 2 (a, b)" in capsys.readouterr().err
    assert not (here / "corpora/x.yaml").exists()


def test_a_file_that_cannot_be_read_is_left_out_by_name(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(here, "data/parts/a.jsonl", {"text": PAGE})
    (here / "data/parts/b.jsonl.gz").write_bytes(b"\x1f\x8bno")
    assert not linly("corpora", "new", "parts/*", *DATA)
    assert "left out: parts/b.jsonl.gz: " in capsys.readouterr().out
    assert load_corpus("parts", [here / "corpora"]).exclude == ("parts/b.jsonl.gz",)
