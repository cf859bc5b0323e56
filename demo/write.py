"""The sample's files: the world's documents in the forms of the real corpora.

Paths, and the keys of a record:

    slimpajama/train/chunk*/example_train_*.jsonl.zst      text, meta.redpajama_set_name
    refinedweb/data/train-*.parquet                        content, url, timestamp, dump, ...
    wiki2019zh/AA/wiki_*.jsonl                             id, url, title, text
    baike2018qa/baike_qa_train_*.jsonl                     qid, category, title, desc, answer
    translation2019zh/translation2019zh_train_*.jsonl      english, chinese
    alpaca/alpaca_data_en.json, alpaca_data_zh.json        instruction, input, output
"""

from __future__ import annotations

import datetime
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import typer
import zstandard

from demo import chinese, english
from demo.grammar import Grammar
from demo.topics import ENCYCLOPEDIA, EVENTS, Topic
from demo.world import Dice, World, make_world
from linly.errors import ConfigError
from linly.files import publish

Json = dict[str, Any]

SIZES = {"tiny": 0.02, "small": 1.0, "large": 10.0}
"""Documents by size, relative to `small` (about 20 MB of text)."""

_ZSTD_LEVEL = 3
_SET_NAMES = (
    "RedPajamaCommonCrawl",
    "RedPajamaCommonCrawl",
    "RedPajamaC4",
    "RedPajamaWikipedia",
    "RedPajamaBook",
    "RedPajamaStackExchange",
)
_PROGRAM_CHANCE = 0.02
_PAGE_EVENT_CHANCE = 0.96
_REFINEDWEB = pa.schema(
    [
        ("content", pa.string()),
        ("url", pa.string()),
        ("timestamp", pa.timestamp("ms")),
        ("dump", pa.string()),
        ("segment", pa.string()),
        ("image_urls", pa.list_(pa.list_(pa.string()))),
    ]
)
_FIRST_CRAWL = datetime.datetime(2013, 5, 18)


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One file of the sample; `path` is relative to the output folder."""

    path: str
    num_records: int
    size_bytes: int


def write_sample(output: Path, *, seed: int, size: str) -> list[WrittenFile]:
    """Write the sample of a seed: the same bytes each time.

    Args:
        output: Folder that will hold one folder a corpus; made when missing.
        seed: Decides the world and what is told about it.
        size: A key of `SIZES`.

    Returns:
        What was written, in order.

    Raises:
        ConfigError: No such size.
    """
    if size not in SIZES:
        raise ConfigError(f"size: found {size!r}, allowed: {', '.join(SIZES)}")
    world, written = make_world(seed), []
    for path, count, records, encode in _files(world, seed, SIZES[size]):
        data = encode(list(islice(records, count)))
        target = output / path
        target.parent.mkdir(parents=True, exist_ok=True)
        publish(target, data)
        written.append(WrittenFile(path, count, len(data)))
    return written


_FilePlan = tuple[str, int, Iterator[Json], Callable[[Sequence[Json]], bytes]]


def _files(world: World, seed: int, scale: float) -> Iterator[_FilePlan]:
    """Path, records, their source and their encoding for each file; each has draws of its own."""

    def plan(
        path: str,
        count: int,
        records: Callable[[World, Dice], Iterator[Json]],
        encode: Callable[[Sequence[Json]], bytes],
    ) -> _FilePlan:
        return path, max(20, int(count * scale)), records(world, Dice(seed, path)), encode

    for chunk in (1, 2):
        for index in range(3):
            path = f"slimpajama/train/chunk{chunk}/example_train_{index}.jsonl.zst"
            yield plan(path, 3000, _slimpajama, _zstd_lines)
    for index in range(3):
        path = f"refinedweb/data/train-{index:05d}-of-00003.parquet"
        yield plan(path, 2400, _refinedweb, _parquet)
    for index in range(4):
        yield plan(f"wiki2019zh/AA/wiki_{index:02d}.jsonl", 3600, _wiki, _lines)
    for index in range(2):
        yield plan(f"baike2018qa/baike_qa_train_{index}.jsonl", 6500, _questions, _lines)
    for index in range(2):
        path = f"translation2019zh/translation2019zh_train_{index}.jsonl"
        yield plan(path, 9000, _pairs, _lines)
    yield plan("alpaca/alpaca_data_en.json", 3000, _instructions(english.GRAMMAR), _array)
    yield plan("alpaca/alpaca_data_zh.json", 9000, _instructions(chinese.GRAMMAR), _array)


def _topic(world: World, dice: Dice, *, event_chance: float) -> Topic:
    makers = EVENTS if dice.uniform() < event_chance else ENCYCLOPEDIA
    return dice.pick(makers)(world, dice)


def _page(world: World, dice: Dice, grammar: Grammar) -> str:
    """One to three headed texts."""
    parts = []
    for _ in range(dice.between(1, 3)):
        topic = _topic(world, dice, event_chance=_PAGE_EVENT_CHANCE)
        parts.append(f"{grammar.title(topic, dice)}\n{grammar.body(topic.facts, dice)}")
    return "\n\n".join(parts)


def _slimpajama(world: World, dice: Dice) -> Iterator[Json]:
    while True:
        if dice.uniform() < _PROGRAM_CHANCE:
            text, name = _program(dice), "RedPajamaGithub"
        else:
            text, name = _page(world, dice, english.GRAMMAR), dice.pick(_SET_NAMES)
        yield {"text": text, "meta": {"redpajama_set_name": name}}


def _program(dice: Dice) -> str:
    """Source code, which recipes leave out by `where`."""
    steps = "\n".join(f"    total += {dice.below(1000)}" for _ in range(dice.between(2, 9)))
    return f"def run(total):\n{steps}\n    return total\n"


def _refinedweb(world: World, dice: Dice) -> Iterator[Json]:
    seconds = 0
    while True:
        seconds += dice.between(1, 4000)
        text = _page(world, dice, english.GRAMMAR)
        slug = text.split("\n", 1)[0].lower().replace(" ", "-").replace("'", "")
        yield {
            "content": text,
            "url": f"http://www.example.org/{slug}/{dice.below(10**6)}",
            "timestamp": _FIRST_CRAWL + datetime.timedelta(seconds=seconds),
            "dump": "CC-MAIN-2013-20",
            "segment": f"1368696{dice.between(100000, 999999)}",
            "image_urls": [],
        }


def _wiki(world: World, dice: Dice) -> Iterator[Json]:
    while True:
        topic = _topic(world, dice, event_chance=0.35)
        page, title = str(dice.between(10**5, 10**6)), topic.title.zh
        body = chinese.GRAMMAR.body(topic.facts, dice)
        yield {
            "id": page,
            "url": f"https://zh.wikipedia.org/wiki?curid={page}",
            "title": title,
            "text": f"{title}\n\n{body}",
        }


def _questions(world: World, dice: Dice) -> Iterator[Json]:
    grammar = chinese.GRAMMAR
    while True:
        topic = _topic(world, dice, event_chance=0.3)
        for index, fact in enumerate(topic.facts):
            question = grammar.question(fact, dice)
            if question is None or dice.uniform() < 0.6:
                continue
            others = topic.facts[index + 1 : index + 1 + dice.below(3)]
            yield {
                "qid": f"qid_{dice.between(10**11, 10**12)}",
                "category": topic.category.zh,
                "title": question,
                "desc": "",
                "answer": grammar.body((fact, *others), dice).replace("。", "。\r", 1),
            }


def _pairs(world: World, dice: Dice) -> Iterator[Json]:
    while True:
        topic = _topic(world, dice, event_chance=0.5)
        start = dice.below(len(topic.facts))
        facts = topic.facts[start : start + dice.between(1, 3)]
        yield {
            "english": english.GRAMMAR.body(facts, dice),
            "chinese": chinese.GRAMMAR.body(facts, dice),
        }


def _instructions(grammar: Grammar) -> Callable[[World, Dice], Iterator[Json]]:
    if grammar is english.GRAMMAR:
        requests, other = english.TRANSLATE_TO_ENGLISH, chinese.GRAMMAR
    else:
        requests, other = chinese.TRANSLATE_TO_CHINESE, english.GRAMMAR

    def records(world: World, dice: Dice) -> Iterator[Json]:
        while True:
            topic = _topic(world, dice, event_chance=0.3)
            form = dice.uniform()
            if form < 0.3:
                opening = grammar.opening(topic, dice)
                yield _instruction(opening, "", grammar.body(topic.facts, dice))
                continue
            fact = dice.pick(topic.facts)
            question = grammar.question(fact, dice)
            if form < 0.7 and question is not None:
                yield _instruction(question, "", grammar.sentence(fact, dice))
            else:
                given = other.sentence(fact, dice)
                yield _instruction(dice.pick(requests), given, grammar.sentence(fact, dice))

    return records


def _instruction(instruction: str, given: str, output: str) -> Json:
    return {"instruction": instruction, "input": given, "output": output}


def _lines(records: Sequence[Json]) -> bytes:
    return b"".join(orjson.dumps(record) + b"\n" for record in records)


def _zstd_lines(records: Sequence[Json]) -> bytes:
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compress(
        _lines(records)
    )


def _array(records: Sequence[Json]) -> bytes:
    return orjson.dumps(records, option=orjson.OPT_INDENT_2)


def _parquet(records: Sequence[Json]) -> bytes:
    sink = io.BytesIO()
    table = pa.Table.from_pylist(list(records), schema=_REFINEDWEB)
    pq.write_table(
        table,
        sink,
        version="2.6",
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        row_group_size=500,
    )
    return sink.getvalue()


def main(
    output: Annotated[Path, typer.Option(help="Output folder; created if missing.")],
    seed: Annotated[int, typer.Option(help="Seed of every byte that is written.")] = 2023,
    size: Annotated[str, typer.Option(help="tiny, small (20 MB of text) or large.")] = "small",
) -> None:
    """Write a small synthetic English and Chinese world in the file forms of real corpora."""
    files = write_sample(output, seed=seed, size=size)
    records: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for file in files:
        corpus = file.path.split("/", 1)[0]
        records[corpus] += file.num_records
        sizes[corpus] += file.size_bytes
    for corpus, count in records.items():
        print(f"{corpus:18} {count:7,} records  {sizes[corpus] / 1e6:6.1f} MB")
    print(f"{sum(sizes.values()) / 1e6:.1f} MB in {len(files)} files under {output}")


if __name__ == "__main__":
    typer.run(main)
