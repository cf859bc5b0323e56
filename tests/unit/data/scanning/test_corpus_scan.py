"""linly.data.scanning: planted leaks and near-copies in text on disk, and the list of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from linly.config.corpus import Corpus
from linly.data.record_list import read_record_list
from linly.data.scanning.corpus_scan import CorpusScan, ScanSettings, scan_corpora
from linly.errors import ConfigError, DataError
from tests.support.worlds import write_records

WORDS = [a + b for a in ("ka", "to", "mi", "sen", "ru") for b in ("ba", "do", "len", "fi", "gu")]
CHARACTERS = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
SETTINGS = ScanSettings(duplicates=0.8)


def english(draw: random.Random, num_words: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(num_words))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of text, with leaks at known records and near-copies in the second shard."""
    folder = tmp_path_factory.mktemp("scan")
    draw = random.Random(11)
    rows = [[english(draw, 20), *(english(draw, 4) for _ in range(4)), "B"] for _ in range(12)]
    (folder / "exams/mmlu/test").mkdir(parents=True)
    (folder / "exams/mmlu/test/anatomy_test.csv").write_text(
        "".join(",".join(row) + "\n" for row in rows), encoding="utf-8"
    )
    texts = [english(draw, 120) for _ in range(60)]
    for index in (3, 17, 40):
        texts[index] += f"\n{rows[index % 12][0]}\nA. {rows[index % 12][1]}\n"
    copies = [_near_copy(draw, text) for text in texts[20:40]]
    chinese = ["".join(draw.choices(CHARACTERS, k=200)) for _ in range(20)]
    second = [*copies, *chinese, chinese[5][:190], "short text", "short text"]
    write_records(folder / "data/a.jsonl", [{"text": text} for text in texts])
    write_records(folder / "data/b.jsonl", [{"text": text} for text in second] + [{"other": 1}])
    return folder


def _near_copy(draw: random.Random, text: str) -> str:
    words = text.split()
    words[draw.randrange(len(words))] = "changed"
    return " ".join(words).upper() + "!"


@pytest.fixture
def corpus(make_corpus: Callable[..., Corpus]) -> Corpus:
    return make_corpus('{language: en, kind: text, paths: ["data/*.jsonl"]}', name="mixed")


def scanned(world: Path, corpus: Corpus, settings: ScanSettings, processes: int = 1) -> CorpusScan:
    return scan_corpora([corpus], world, settings, processes=processes)


def test_every_planted_question_is_listed_and_nothing_else(world: Path, corpus: Corpus) -> None:
    found = scanned(world, corpus, ScanSettings(against=world / "exams"))
    places = {(one.shard, one.record, one.task, one.question) for one in found.records}
    assert places == {
        ("data/a.jsonl", record, "mmlu", f"anatomy/test/{record % 12}") for record in (3, 17, 40)
    }
    assert found.counts["mixed"].records == 103
    assert found.counts["mixed"].bad == 1
    assert found.num_listed("mixed", "leak") == 3


def test_every_near_copy_is_listed_with_the_record_that_is_kept(
    world: Path, corpus: Corpus
) -> None:
    found = scanned(world, corpus, SETTINGS)
    assert [(one.shard, one.record) for one in found.records] == [
        ("data/b.jsonl", record) for record in (*range(20), 40, 42)
    ]
    assert found.records[4].duplicate_of == "mixed/data/a.jsonl:24"
    assert found.records[-1].duplicate_of == "mixed/data/b.jsonl:41"
    assert all((one.score or 0) >= 0.8 for one in found.records)


def test_processes_and_batches_change_nothing(
    world: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = replace(SETTINGS, against=world / "exams")
    one = scanned(world, corpus, both)
    assert scanned(world, corpus, both, processes=2).records == one.records
    monkeypatch.setattr("linly.data.scanning.scanned_texts.BATCH_CHARACTERS", 500)
    assert scanned(world, corpus, both).records == one.records


def test_the_list_reads_back_sorted(world: Path, corpus: Corpus, tmp_path: Path) -> None:
    found = scanned(world, corpus, replace(SETTINGS, against=world / "exams"))
    sha256 = found.write(tmp_path / "list.parquet")
    read = read_record_list(tmp_path / "list.parquet", "mixed", sha256=sha256)
    assert read.num_records == len({(one.shard, one.record) for one in found.records}) == 25
    rows = read.table.to_pylist()
    assert rows == sorted(rows, key=lambda row: (row["shard"], row["record"]))
    assert rows[0]["question"] == "anatomy/test/3"
    assert set(read.scanned) == {"data/a.jsonl", "data/b.jsonl"}


def test_a_scan_reads_what_an_older_list_leaves_out(world: Path, corpus: Corpus) -> None:
    entry = {"old": {"path": "missing.parquet"}}
    named = Corpus.model_validate({**corpus.model_dump(), "exclude_records": entry})
    assert scanned(world, named, SETTINGS).records == scanned(world, corpus, SETTINGS).records


def test_a_folder_without_exams_is_refused(world: Path, corpus: Corpus) -> None:
    with pytest.raises(ConfigError, match="found no exam, expected a folder named mmlu"):
        scanned(world, corpus, ScanSettings(against=world / "data"))
    with pytest.raises(ConfigError, match="twice"):
        scan_corpora([corpus, corpus], world, SETTINGS)


def test_a_malformed_exam_is_named_by_its_line(world: Path, corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "mmlu/test").mkdir(parents=True)
    (tmp_path / "mmlu/test/anatomy_test.csv").write_text("q,a,b,c,d,E\n")
    with pytest.raises(DataError, match=r"anatomy_test.csv.*'E'"):
        scanned(world, corpus, ScanSettings(against=tmp_path))
