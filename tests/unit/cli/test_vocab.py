"""`linly vocab`: from a character list to an export, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sentencepiece
from transformers import AutoTokenizer

from linly.tokenization.growth import reachable
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.commands import linly
from tests.support.vocabularies import ENGLISH, english_model, hand_made

ZH = ["山水山水山。", "水日月，山木。"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a base vocabulary, an English and a Chinese corpus; the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.model").write_bytes(english_model())
    (tmp_path / "corpora").mkdir()
    (tmp_path / "data").mkdir()
    for name, texts in (("en", ENGLISH * 3), ("zh", ZH)):
        records = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (tmp_path / "data" / f"{name}.jsonl").write_text(records)
        (tmp_path / "corpora" / f"{name}.yaml").write_text(
            f"language: {name}\nkind: text\npaths: ['{name}.jsonl']\nheld_out: 0%\n"
        )
    return tmp_path


DATA = ("--data-root", "data")


def test_characters_extend_and_export(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not linly("vocab", "characters", "--base", "base.model", "--count", "87",
                     "--standard", "tis620", "--output", "c.txt")  # fmt: skip
    assert (here / "c.txt").read_text().startswith("ก\n")
    assert not linly("vocab", "extend", "--base", "base.model", "--characters", "c.txt",
                     "--output", "new.model", "--pad")  # fmt: skip
    new = SentencePieceTokenizer.load(here / "new.model")
    assert (new.vocab_size, new.pad_id) == (488, 487)
    (here / "lines.txt").write_text("ก  the river\n\n x\n")
    assert not linly("vocab", "export", "--tokenizer", "new.model", "--output", "hf",
                     "--verify", "lines.txt", "--verify-corpus", "zh", *DATA)  # fmt: skip
    ids = AutoTokenizer.from_pretrained("hf")("ก  the", add_special_tokens=False).input_ids
    assert ids == new.encode("ก  the").tolist()
    out = capsys.readouterr().out
    assert "400 + 87 = 487" in out
    assert "400 -> 488 pieces" in out
    assert "same ids as sentencepiece on" in out


def test_characters_of_a_corpus_or_a_file(here: Path) -> None:
    assert not linly("vocab", "characters", "--base", "base.model", "--output", "c.txt",
                     "--from-corpus", "zh", *DATA)  # fmt: skip
    assert (here / "c.txt").read_text() == "山\n水\n。\n日\n月\n木\n，\n"
    assert not linly("vocab", "characters", "--base", "base.model", "--output", "d.txt",
                     "--standard", "c.txt", "--standard", "tis620", "--count", "5")  # fmt: skip
    assert (here / "d.txt").read_text() == "山\n水\n。\n日\n月\n"


def test_a_standard_is_cut_by_the_frequency_of_a_corpus_only(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = ("vocab", "characters", "--base", "base.model", "--output", "c.txt",
           "--standard", "gb2312", "--standard", "tis620", "--count", "6")  # fmt: skip
    assert linly(*cut) == 1
    error = capsys.readouterr().err
    assert "count: 6 ends inside gb2312" in error
    assert "6,763, 6,850" in error
    assert not (here / "c.txt").exists()
    assert not linly(*cut, "--from-corpus", "zh", *DATA)
    assert (here / "c.txt").read_text() == "山\n水\n日\n月\n木\n啊\n"


def test_words_are_learned_and_appended(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not linly("vocab", "characters", "--base", "base.model", "--output", "c.txt",
                     "--from-corpus", "zh", *DATA)  # fmt: skip
    assert not linly("vocab", "extend", "--base", "base.model", "--characters", "c.txt",
                     "--output", "chars.model")  # fmt: skip
    words = ("vocab", "words", "--base", "chars.model", "--corpus", "zh", "--output",
             "words.model", *DATA)  # fmt: skip
    assert not linly(*words, "--script", "han", "--count", "1")
    old, new = (SentencePieceTokenizer.load(Path(f)) for f in ("chars.model", "words.model"))
    assert new.pieces()[old.vocab_size :] == ["山水"]
    assert f"{old.vocab_size} -> {new.vocab_size} pieces (1 words: 山水 ...)" in (
        capsys.readouterr().out
    )
    (here / "some.txt").write_text("山\n水\n")
    first = Path("words.model").read_bytes()
    assert not linly(*words, "--characters", "some.txt", "--count", "1")
    assert Path("words.model").read_bytes() == first
    assert linly(*words, "--count", "1") == 1
    assert "pass one of --script and --characters" in capsys.readouterr().err
    assert linly(*words[:3], "base.model", *words[4:], "--script", "han", "--count", "1") == 1
    captured = capsys.readouterr().err
    assert "100.0% of the script's characters in the corpora have no token" in captured
    assert "append its characters first" in captured


def test_train_and_report(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("vocab", "train", "--corpus", "en", "--size", "380", *DATA)
    assert not linly(*arguments, "--output", "a.model")
    assert not linly(*arguments, "--output", "b.model")
    assert (here / "a.model").read_bytes() == (here / "b.model").read_bytes()
    assert SentencePieceTokenizer.load(here / "a.model").vocab_size == 380
    assert not linly("vocab", "characters", "--base", "a.model", "--output", "c.txt",
                     "--from-corpus", "zh", *DATA)  # fmt: skip
    assert not linly("vocab", "extend", "--base", "a.model", "--characters", "c.txt",
                     "--output", "new.model")  # fmt: skip
    capsys.readouterr()
    assert not linly("vocab", "report", "--base", "a.model", "--tokenizer", "new.model",
                     "--corpus", "en", "--corpus", "zh", *DATA)  # fmt: skip
    out = capsys.readouterr().out
    num_documents = len(ENGLISH) * 3
    assert f"en: unchanged; all {num_documents} documents without a new piece keep their ids" in out
    assert "tokens per character: extend; every document contains a new piece" in out
    assert "7 of 7" in out
    assert not linly("vocab", "report", "--base", "a.model", "--tokenizer", "new.model",
                     "--corpus", "en", "--corpus", "zh", "--json", *DATA)  # fmt: skip
    english, chinese = json.loads(capsys.readouterr().out)
    assert (english["num_unchanged"], english["touched"]) == (num_documents, [])
    assert [document["record"] for document in chinese["touched"]] == [0, 1]
    assert chinese["touched"][0]["pieces"] == ["山", "水", "。"]


def test_the_report_names_the_documents_that_are_touched(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (here / "data" / "en.jsonl").open("a") as stream:
        stream.write('{"text": "The river 水 and the 山"}\n')
    (here / "c.txt").write_text("山\n水\n")
    assert not linly("vocab", "extend", "--base", "base.model", "--characters", "c.txt",
                     "--output", "new.model")  # fmt: skip
    assert not linly("vocab", "report", "--base", "base.model", "--tokenizer", "new.model",
                     "--corpus", "en", *DATA)  # fmt: skip
    out = capsys.readouterr().out
    number = len(ENGLISH) * 3
    assert f"all {number} documents without a new piece keep their ids" in out
    assert "en: documents with new pieces, or changed without: 1\n" in out
    assert f"  en.jsonl, record {number}: 山 水\n" in out


def test_the_report_draws_a_chart(here: Path) -> None:
    report = ("vocab", "report", "--base", "base.model", "--tokenizer", "base.model",
              "--corpus", "zh", *DATA)  # fmt: skip
    assert not linly(*report, "--plot", "chart.html")
    page = (here / "chart.html").read_text(encoding="utf-8")
    assert "Tokens per character" in page and "all ids as before" in page
    assert linly(*report, "--plot", "chart.png") == 1


def test_merge_and_the_refused_export(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pieces = ["山", "水", "日", "山水", "水日", "山水日", "日山"]
    (here / "zh.model").write_bytes(hand_made([(p, -float(i)) for i, p in enumerate(pieces)]))
    assert not linly("vocab", "merge", "base.model", "zh.model", "--output", "z.model",
                     "--scores", "zero")  # fmt: skip
    assert "400 + 266 - 259 shared = 407 pieces" in capsys.readouterr().out
    (here / "t.txt").write_text("日山水\n水日月\n")
    assert linly("vocab", "export", "--tokenizer", "z.model", "--output", "hf",
                 "--verify", "t.txt") == 1  # fmt: skip
    error = capsys.readouterr().err
    assert "5 pieces share their score" in error
    assert "the ids differ on" in error
    assert not (here / "hf").exists()
    assert not linly("vocab", "merge", "base.model", "zh.model", "--output", "r.model", "--pad")
    assert not linly("vocab", "export", "--tokenizer", "r.model", "--output", "hf",
                     "--verify", "t.txt")  # fmt: skip
    assert (here / "hf" / "tokenizer.model").read_bytes() == (here / "r.model").read_bytes()


def test_an_unknown_corpus_lists_the_known_ones(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert linly("vocab", "train", "--corpus", "fr", "--size", "380", "--output", "x",
                 *DATA) == 1  # fmt: skip
    assert "found 'fr', allowed: en, zh" in capsys.readouterr().err


def test_bad_records_are_left_out_and_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (here / "data" / "zh.jsonl").open("a") as stream:
        stream.write('{"other": 1}\n')
    assert not linly("vocab", "characters", "--base", "base.model", "--output", "c.txt",
                     "--from-corpus", "zh", *DATA)  # fmt: skip
    assert "bad records left out: 1, the last: zh.jsonl, record 2" in capsys.readouterr().err


def test_characters_that_no_text_gives_are_left_out_by_name(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reachable, "_CODE_POINTS", range(1, 0x5000))
    for kind, rule in (("bpe", "nmt_nfkc"), ("word", "identity")):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["the river walks under the old bridge"] * 9),
            model_prefix=kind,
            model_type=kind,
            vocab_size=290,
            byte_fallback=True,
            hard_vocab_limit=False,
            normalization_rule_name=rule,
            minloglevel=2,
        )
    Path("c.txt").write_text("山\n，\n水\n", encoding="utf-8")
    asked = "vocab extend --base bpe.model --characters c.txt --output"
    assert linly(*asked.split(), "new.model") == 0
    printed = capsys.readouterr().out
    assert "left out, since no text produces them: 1" in printed
    assert "， (U+FF0C): the normalizer changes it to ','" in printed
    new, old = (SentencePieceTokenizer.load(Path(f)) for f in ("new.model", "bpe.model"))
    assert new.pieces()[old.vocab_size :] == ["山", "水"]
    assert linly(*asked.replace("bpe.model", "new.model").split(), "again.model") == 0
    assert Path("again.model").read_bytes() == Path("new.model").read_bytes()
    assert linly(*asked.replace("bpe.model", "word.model").split(), "dead.model") == 1
    assert "no text produces any of the 3 characters" in capsys.readouterr().err
    assert not Path("dead.model").exists()
    asked = "vocab characters --base bpe.model --output listed.txt"
    assert linly(*asked.split()) == 0
    assert "，" not in Path("listed.txt").read_text(encoding="utf-8").split()
    assert "left out, since no text produces them" in capsys.readouterr().out
