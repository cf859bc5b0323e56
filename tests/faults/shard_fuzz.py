"""Damaged shards of all formats and compressions, made from a seed, and what reading them gives.

    python -m tests.faults.shard_fuzz SEED COUNT [FIRST]

reads COUNT damaged shards, from number FIRST on, and counts how each ended. Every shard is read
by its corpus, also from a record in its middle, and is guessed at, as `linly corpora new` does.
"""

from __future__ import annotations

import io
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from linly.config.corpus import Corpus, make_corpus
from linly.config.shard_formats import FORMATS
from linly.config.yaml.yaml import Origin, parse_yaml
from linly.data.guessing.guess import guess_corpus
from linly.data.reading.formats import format_of
from linly.data.reading.shards import ShardReader, list_shards
from linly.data.types import RawRecord
from linly.errors import DataError, LinlyError
from tests.support.shard_samples import COMPRESS, SAMPLES, Sample

SEED = 20_261_129
NUM_RECORDS = 60
CODECS: dict[str, Callable[[bytes], bytes]] = {"": bytes, **COMPRESS}
TEXTS = [f'{i} the old bridge, 老桥 "{i * 7919 % 1009}" & rain' for i in range(NUM_RECORDS)]


@dataclass(frozen=True)
class Case:
    """A damaged shard.

    Attributes:
        number: Number in its seed's sequence.
        kind: Format, compression and kinds of damage, for the report.
        files: Name -> content; Moses pairs have two.
        corpus: YAML of the corpus that reads it.
    """

    number: int
    kind: str
    files: dict[str, bytes]
    corpus: str


@cache
def sound_shards() -> dict[str, bytes]:
    """Uncompressed sound shards of all formats, by name."""
    return _own_shards() | {name: sample.files(TEXTS)[name] for name, sample in _added().items()}


@cache
def _added() -> dict[str, Sample]:
    """Samples of the formats that this module has no shard of, by the name of their file."""
    known = {"moses", *map(format_of, _own_shards())}
    others = [sample for sample in SAMPLES.values() if sample.format not in known]
    files = [(sample, sample.files(())) for sample in others]
    return {
        name: sample
        for sample, names in files
        for name in names
        if not name.endswith(tuple(COMPRESS))
    }


def _own_shards() -> dict[str, bytes]:
    """Shards with more kinds of values and ways to write them than a sample has."""
    objects = [{"text": text, "n": i, "inner": {"a": [i, None]}} for i, text in enumerate(TEXTS)]
    units = "".join(
        f'<tu><tuv xml:lang="en"><seg>{i} bridge &amp; rain</seg></tuv>'
        f'<tuv xml:lang="zh"><seg>{i} 老桥</seg></tuv></tu>\n'
        for i in range(NUM_RECORDS)
    )
    quoted = "".join('"' + text.replace('"', '""') + f'",{i}\n' for i, text in enumerate(TEXTS))
    return {
        "a.jsonl": b"".join(orjson.dumps(value) + b"\n" for value in objects),
        "a.json": json.dumps(objects, indent=1, ensure_ascii=False).encode(),
        "a.txt": "".join(text + "\n" for text in TEXTS).encode(),
        "a.tsv": b"text\tn\n" + "".join(f"{t}\t{i}\n" for i, t in enumerate(TEXTS)).encode(),
        "a.csv": b"text,n\n" + quoted.encode(),
        "a.tmx": f'<?xml version="1.0"?>\n<tmx version="1.4"><body>{units}</body></tmx>'.encode(),
        "a.en": "".join(f"{i} the old bridge\n" for i in range(NUM_RECORDS)).encode(),
        "a.zh": "".join(f"{i} 老桥\n" for i in range(NUM_RECORDS)).encode(),
        "plain.parquet": _parquet(compression="none", use_dictionary=False),
        "snappy.parquet": _parquet(compression="snappy", row_group_size=17),
        "zstd.parquet": _parquet(compression="zstd", data_page_version="2.0", data_page_size=200),
        "file.arrow": _arrow(pa.ipc.new_file),
        "stream.arrow": _arrow(pa.ipc.new_stream),
        "lz4.arrow": _arrow(pa.ipc.new_file, pa.ipc.IpcWriteOptions(compression="lz4")),
    }


def _table() -> pa.Table:
    turns = [[{"role": "user", "content": text}] * (i % 3) for i, text in enumerate(TEXTS)]
    return pa.table(
        {
            "text": TEXTS,
            "coded": pa.array(["one", "two", None] * (NUM_RECORDS // 3)).dictionary_encode(),
            "turns": turns,
            "numbers": [[float(i)] * (i % 5) for i in range(NUM_RECORDS)],
            "when": pa.array(range(NUM_RECORDS), pa.timestamp("us")),
        }
    )


def _parquet(**options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(_table(), sink, **options)
    return sink.getvalue()


def _arrow(new: Callable[..., pa.RecordBatchWriter], options: object = None) -> bytes:
    sink = io.BytesIO()
    with new(sink, _table().schema, options=options) as writer:
        writer.write_table(_table(), max_chunksize=13)
    return sink.getvalue()


def has_own_compression(name: str) -> bool:
    found = format_of(name)
    return found is not None and FORMATS[found].layout == "columnar"


FIELDS = {
    "tmx": "{zh: zh, en: en}",
    "parquet": '{text: "{text}{coded?}{turns.content?}{numbers?}{when?}"}',
    "arrow": '{text: "{text}{coded?}{turns.content?}{numbers?}{when?}"}',
}


def cases(seed: int, count: int, first: int = 0) -> Iterator[Case]:
    """Yield cases `first` to `first + count` of a seed; each is drawn apart from the others."""
    sound = sound_shards()
    for number in range(first, first + count):
        draw = random.Random(f"{seed}/{number}")
        name = draw.choice([name for name in sound if name != "a.zh"])
        suffix = "" if has_own_compression(name) else draw.choice(list(CODECS))
        names = ["a.en", "a.zh"] if name == "a.en" else [name]
        hurt = draw.choice(names)
        is_inside = bool(suffix) and draw.random() < 0.4
        files, damage = {}, ""
        for each in names:
            data = sound[each]
            if each == hurt and is_inside:
                data, damage = _damaged(data, draw, list(sound.values()))
            data = CODECS[suffix](data)
            if each == hurt and not is_inside:
                data, damage = _damaged(data, draw, list(sound.values()))
            files[each + suffix] = data
        where = "inside " if is_inside else ""
        yield Case(number, f"{name}{suffix}: {where}{damage}", files, _corpus(names, suffix))


def _corpus(names: Sequence[str], suffix: str) -> str:
    if len(names) == 2:
        paths = f"en: a.en{suffix}, zh: a.zh{suffix}"
        return f"{{kind: parallel, paths: {{{paths}}}, damaged_shards: quarantine}}"
    if sample := _added().get(names[0]):
        return f"{{{sample.corpus}, damaged_shards: quarantine}}"
    kind = names[0].rpartition(".")[2]
    what = "kind: parallel" if kind == "tmx" else "kind: text, language: en"
    fields = FIELDS.get(kind, "{text: text}")
    return (
        f'{{{what}, paths: ["{names[0]}{suffix}"], fields: {fields}, damaged_shards: quarantine}}'
    )


def _damaged(data: bytes, draw: random.Random, others: list[bytes]) -> tuple[bytes, str]:
    """Damage data in one to three ways; returns it and the names of the ways."""
    ways = draw.choices(list(_WAYS), k=draw.choice([1, 1, 1, 2, 3]))
    for way in ways:
        data = _WAYS[way](data, draw, others)
    return data, ", ".join(ways)


def _span(data: bytes, draw: random.Random) -> tuple[int, int]:
    start = draw.randrange(len(data) + 1)
    return start, min(len(data), start + draw.choice([1, 2, 4, 16, 64, 1024]))


def _flipped(data: bytes, draw: random.Random, _: list[bytes]) -> bytes:
    hurt = bytearray(data)
    for _bit in range(draw.choice([1, 1, 2, 8, 32])):
        if hurt:
            hurt[draw.randrange(len(hurt))] ^= 1 << draw.randrange(8)
    return bytes(hurt)


def _overwritten(data: bytes, draw: random.Random, _: list[bytes]) -> bytes:
    start, end = _span(data, draw)
    fill = draw.choice([b"\0", b"\xff", b'"', b"{", b"]", b"\r", b"\n", b"<", b"&", b"\\", b""])
    new = fill * (end - start) or draw.randbytes(end - start)
    return data[:start] + new + data[end:]


def _removed(data: bytes, draw: random.Random, _: list[bytes]) -> bytes:
    start, end = _span(data, draw)
    return data[:start] + data[end:]


def _repeated(data: bytes, draw: random.Random, _: list[bytes]) -> bytes:
    start, end = _span(data, draw)
    return data[:end] + data[start:end] * draw.choice([1, 2, 50]) + data[end:]


def _spliced(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    other = draw.choice(others)
    start, end = _span(other, draw)
    place = draw.randrange(len(data) + 1)
    return data[:place] + other[start:end] + data[place:]


_WAYS: dict[str, Callable[[bytes, random.Random, list[bytes]], bytes]] = {
    "cut short": lambda data, draw, _: data[: draw.randrange(len(data) + 1)],
    "beginning lost": lambda data, draw, _: data[draw.randrange(len(data) + 1) :],
    "bits flipped": _flipped,
    "overwritten": _overwritten,
    "removed": _removed,
    "repeated": _repeated,
    "spliced": _spliced,
    "junk after": lambda data, draw, _: data + draw.randbytes(draw.choice([1, 7, 512])),
    "zeros after": lambda data, draw, _: data + bytes(draw.choice([1, 4, 512])),
    "joined": lambda data, draw, others: data + draw.choice([data, *others]),
    "another shard": lambda data, draw, others: draw.choice(others),
}


def outcome(case: Case, folder: Path) -> str:
    """Read a case's shard; say how that ended.

    Raises:
        Exception: If anything but one of linly's errors comes out, or a second reading from a
            record in the middle gives other records than the first.
    """
    for name, data in case.files.items():
        (folder / name).write_bytes(data)
    corpus = make_corpus("mine", parse_yaml(case.corpus, Origin("mine.yaml", None, folder)))
    shards = list_shards(corpus, folder)
    ended = _read(corpus, folder)
    for shard in shards[0].path.split("\t"):
        try:
            guess_corpus(folder / shard)
        except LinlyError:
            continue
    return ended


def _read(corpus: Corpus, folder: Path) -> str:
    (shard,) = list_shards(corpus, folder)
    reader = ShardReader(corpus, folder)
    records: list[RawRecord] = []
    try:
        records.extend(iter(reader.read(shard)))
    except DataError:
        return "refused"
    half = len(records) // 2
    if records and half:
        again = list(reader.read(shard, start_record=records[half].record))
        assert repr(again) == repr(records[half:]), "a second reading gives other records"
    if records and records[-1].ends_shard:
        return "damage found"
    return "bad records" if any(raw.error for raw in records) else "nothing found"


def run(seed: int, count: int, first: int = 0) -> Counter[str]:
    """Read cases and count how they ended; the first that raises is named."""
    ended: Counter[str] = Counter()
    for case in cases(seed, count, first):
        with tempfile.TemporaryDirectory() as folder:
            try:
                ended[outcome(case, Path(folder))] += 1
            except Exception as error:
                where = f"case {case.number} of seed {seed}: {case.kind}"
                raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
    return ended


if __name__ == "__main__":
    print(dict(run(int(sys.argv[1]), int(sys.argv[2]), *map(int, sys.argv[3:]))))
