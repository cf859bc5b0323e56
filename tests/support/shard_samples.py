"""A sound shard of every format and compression, for tests over all formats."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from linly.config.corpus import Corpus
from linly.config.shard_formats import FormatName
from linly.config.yaml.strict_model import validate
from linly.config.yaml.yaml import Origin, parse_yaml

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".zst": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
TEXT = 'language: en, kind: text, paths: ["a.*"]'
PAIRS = "kind: parallel"


@dataclass(frozen=True)
class Sample:
    """A way to write texts as a shard.

    Attributes:
        format: Format of the shard.
        files: Function from texts to the files of a shard, by their names.
        corpus: Keys of the corpus file that reads it.
        field: Field of a record that holds the text.
        is_flat: Whether a text may not hold a newline.
        damage: Bytes of the text "two" in the first file, and bytes in their place that spoil its
            record in a way of this format.
    """

    format: FormatName
    files: Callable[[Sequence[str]], dict[str, bytes]]
    damage: tuple[bytes, bytes]
    corpus: str = TEXT
    field: str = "text"
    is_flat: bool = False

    def write(self, folder: Path, texts: Sequence[str]) -> list[Path]:
        """Write a shard; return its files."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.files(texts).items():
            put(folder, name, data)
        return [folder / name for name in self.files(())]

    def write_damaged(self, folder: Path) -> list[Path]:
        """Write a shard of the texts "one", "two" and "three", the second spoiled."""
        name, *_ = files = self.files(("one", "two", "three"))
        sound, damaged = self.damage
        assert files[name].count(sound) == 1, f"{name}: found {files[name].count(sound)} times"
        files[name] = files[name].replace(sound, damaged)
        return [put(folder, name, data) for name, data in files.items()]

    def texts(self, texts: Sequence[str]) -> list[str]:
        """The texts as the format can hold them."""
        return [text.replace("\n", " ") if self.is_flat else text for text in texts]

    def make_corpus(self) -> Corpus:
        return validate(Corpus, parse_yaml(f"{{{self.corpus}}}", ORIGIN), name="sample")


NO_UTF8 = (b"two", b"\xffwo")
NO_COLON = (b'"text":"two"', b'"text""two"')
MORE_COLUMNS = (b"two\t7", b"two\t7\t7")
ORIGIN = Origin("sample.yaml", 1, Path("/"))


def put(folder: Path, name: str, data: bytes) -> Path:
    """Write a file, compressed as its suffix says."""
    compress = COMPRESS.get(Path(name).suffix, bytes)
    (folder / name).write_bytes(compress(data))
    return folder / name


def jsonl(values: Sequence[object]) -> bytes:
    return b"".join(orjson.dumps(value) + b"\n" for value in values)


def tmx(texts: Sequence[str], languages: Sequence[str] = ("text",)) -> bytes:
    units = "".join(
        "<tu>"
        + "".join(f'<tuv xml:lang="{name}"><seg>{escape(t)}</seg></tuv>' for name in languages)
        + "</tu>\n"
        for t in texts
    )
    return f'<?xml version="1.0"?>\n<tmx version="1.4"><header/><body>{units}</body></tmx>'.encode()


def arrow(table: pa.Table, *, as_stream: bool = False, batch_rows: int = 3) -> bytes:
    sink = io.BytesIO()
    new = pa.ipc.new_stream if as_stream else pa.ipc.new_file
    with new(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch_rows)
    return sink.getvalue()


def _objects(texts: Sequence[str]) -> list[dict[str, str]]:
    return [{"text": text} for text in texts]


def _table(texts: Sequence[str]) -> pa.Table:
    columns = {"text": pa.array(texts, pa.string()), "unread": [b"\xff"] * len(texts)}
    return pa.table(columns)


def _batch_rows(texts: Sequence[str]) -> int:
    return max(3, len(texts) // 40)


def _parquet(texts: Sequence[str]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(_table(texts), sink, row_group_size=_batch_rows(texts))
    return sink.getvalue()


def _lines(texts: Sequence[str], ending: str = "\n") -> bytes:
    return "".join(text.replace("\n", " ") + ending for text in texts).encode()


def _csv(texts: Sequence[str]) -> bytes:
    return "".join('"' + text.replace('"', '""') + '"\n' for text in ("text", *texts)).encode()


def _one(name: str, data: Callable[[Sequence[str]], bytes]) -> Callable[..., dict[str, bytes]]:
    return lambda texts: {name: data(texts)}


def _samples() -> dict[str, Sample]:
    samples = {
        "parquet": Sample("parquet", _one("a.parquet", _parquet), (b"two\5", b"\xffwo\5")),
        "arrow file": Sample(
            "arrow", _one("a.arrow", lambda t: arrow(_table(t), batch_rows=_batch_rows(t))), NO_UTF8
        ),
        "arrow stream": Sample(
            "arrow",
            _one("a.arrow", lambda t: arrow(_table(t), as_stream=True, batch_rows=_batch_rows(t))),
            NO_UTF8,
        ),
    }
    for codec in ("", *COMPRESS):
        samples |= {
            f"jsonl{codec}": Sample(
                "jsonl", _one(f"a.jsonl{codec}", lambda t: jsonl(_objects(t))), NO_COLON
            ),
            f"json{codec}": Sample(
                "json",
                _one(f"a.json{codec}", lambda t: json.dumps(_objects(t), indent=1).encode()),
                (b'"text": "two"', b'"text" "two"'),
            ),
            f"txt{codec}": Sample("txt", _one(f"a.txt{codec}", _lines), NO_UTF8, is_flat=True),
            f"tsv{codec}": Sample(
                "tsv",
                _one(f"a.tsv{codec}", lambda t: b"text\tnumber\n" + _lines(t, "\t7\n")),
                MORE_COLUMNS,
                is_flat=True,
            ),
            f"tsv without header{codec}": Sample(
                "tsv",
                _one(f"a.tsv{codec}", lambda t: _lines(t, "\t7\n")),
                MORE_COLUMNS,
                f"{TEXT}, columns: [text, number]",
                is_flat=True,
            ),
            f"csv{codec}": Sample("csv", _one(f"a.csv{codec}", _csv), (b'"two"', b'"two"x')),
            f"tmx{codec}": Sample(
                "tmx",
                _one(f"a.tmx{codec}", lambda t: tmx(t, ("en", "zh"))),
                (b'"en"><seg>two</seg>', b'"en"><seg>two'),
                f'{PAIRS}, paths: ["a.*"]',
                "en",
            ),
            f"moses{codec}": Sample(
                "moses",
                lambda t, codec=codec: {  # type: ignore[misc]
                    f"a.en{codec}": _lines(t), f"a.zh{codec}": _lines(t)
                },
                (b"two\n", b""),
                f'{PAIRS}, paths: {{en: "*.en{codec}", zh: "*.zh{codec}"}}',
                "en",
                is_flat=True,
            ),
        }  # fmt: skip
    return samples


SAMPLES = _samples()
"""Samples by format and compression; every format has at least one."""
