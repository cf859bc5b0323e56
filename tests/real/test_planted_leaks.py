"""Exam questions and near-copies planted in real text are found, and nothing else is."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest

from linly.config.corpus import Corpus, corpus_files, load_corpus
from linly.data.documents.record_texts import RecordTexts, plain_texts
from linly.data.reading.records import UnusableRecord
from linly.data.reading.shards import ShardReader, list_shards
from linly.data.scanning.corpus_scan import ScanSettings, scan_corpora
from linly.data.scanning.exam_folders import exam_questions
from linly.data.scanning.exam_index import ExamQuestion
from tests.support.worlds import write_records

pytestmark = [pytest.mark.real, pytest.mark.exhaustive]

CORPORA = Path(__file__).parent / "corpora"
NUM_QUESTIONS, NUM_COPIES = 50, 1000
NUM_EDITED = 0.01
"""Fraction of a copy's words, or Chinese characters, that are changed: similarity about 0.9."""


def texts_of(corpus: Corpus, data: Path) -> list[str]:
    reader = RecordTexts(corpus)
    found = []
    for shard in list_shards(corpus, data):
        for raw in ShardReader(corpus, data).read(shard):
            try:
                texts = reader.read(shard.path, raw)
            except UnusableRecord:
                continue
            if not isinstance(texts, str):
                found.append("\n".join(text for _, text in plain_texts(texts)))
    return found


def near_copy(draw: random.Random, text: str) -> str:
    units = re.findall(r"[㐀-鿿]|\w+|\W+", text)
    places = [index for index, unit in enumerate(units) if unit[0].isalnum()]
    for place in draw.sample(places, round(NUM_EDITED * len(places))):
        units[place] = "換" if len(units[place]) == 1 else "changed"
    return "".join(units).upper()


def printed(question: ExamQuestion) -> str:
    choices = [f"{mark}. {text}" for mark, text in zip("ABCDEFG", question.choices, strict=False)]
    return "\n".join([question.text, *choices])


@pytest.fixture(scope="module")
def real_texts(real_data: Path) -> list[str]:
    """All records of the real corpora, apart from those that already repeat another one."""
    corpora = [load_corpus(name, [CORPORA]) for name in sorted(corpus_files([CORPORA]))]
    return list(dict.fromkeys(text for corpus in corpora for text in texts_of(corpus, real_data)))


def test_planted_questions_and_near_copies_are_found(
    real_data: Path, real_texts: list[str], tmp_path: Path
) -> None:
    draw = random.Random(2023)
    questions = draw.sample(
        [one for one in exam_questions(real_data / "eval/exams") if "/test/" in one.question],
        NUM_QUESTIONS,
    )
    long = [index for index, text in enumerate(real_texts) if len(text) > 400]
    hosts = draw.sample(long, NUM_QUESTIONS + NUM_COPIES)
    leaking = dict(zip(hosts[:NUM_QUESTIONS], questions, strict=True))
    records = [
        f"{text[:200]}\n{printed(leaking[index])}\n{text[200:]}" if index in leaking else text
        for index, text in enumerate(real_texts)
    ]
    copies = [near_copy(draw, real_texts[index]) for index in hosts[NUM_QUESTIONS:]]
    write_records(tmp_path / "text.jsonl", [{"text": text} for text in records])
    write_records(tmp_path / "copies.jsonl", [{"text": text} for text in copies])
    corpora = [
        Corpus.model_validate(
            {"name": name, "language": "en", "kind": "text", "paths": [f"{name}.jsonl"]}
        )
        for name in ("text", "copies")
    ]
    size_bytes = sum(len(text.encode()) for text in records + copies)
    settings = (
        ScanSettings(against=real_data / "eval/exams"),
        ScanSettings(duplicates=0.8),
    )
    results = []
    for one in settings:
        start, cpu = time.perf_counter(), time.process_time()
        results.append(scan_corpora(corpora, tmp_path, one))
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        rate = size_bytes / 1e6
        print(f"{rate:.1f} MB: {rate / seconds:.1f} MB/s, {rate / cpu:.1f} MB/s of CPU time")
    leaks, duplicates = results
    held = {(one.record, one.question) for one in leaks.records if one.corpus == "text"}
    expected = {(index, question.question) for index, question in leaking.items()}
    others = {record for record, _ in held} - set(leaking)
    copied = {one.record for one in duplicates.records if one.corpus == "copies"}
    early = [one for one in duplicates.records if one.corpus == "text"]
    print(f"questions: {len(held & expected)} of {len(expected)}; other records: {len(others)}")
    print(f"near-copies: {len(copied)} of {NUM_COPIES}; in the text before: {len(early)}")
    assert len(held & expected) >= 0.95 * NUM_QUESTIONS
    assert others == set()
    assert len(copied) >= 0.95 * NUM_COPIES
