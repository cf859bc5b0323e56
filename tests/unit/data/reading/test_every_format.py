"""Every format of the registry: restored at every record, in bounded memory, clear on damage."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from linly.config.shard_formats import FORMATS, FileFormat
from linly.data.reading.formats import format_of
from linly.data.reading.shards import ShardReader, list_shards
from linly.data.types import RawRecord
from linly.errors import DataError
from linly.streams import MAX_LINE_BYTES
from tests.support.shard_samples import SAMPLES, Sample
from tests.support.type_checks import type_errors

TEXTS = ["one", "zwei \u2028 drei", "三\n四", 'quo"te\\', " spaced ", "x" * 3000, "七", "8"]
NUM_TEXTS = 40_000
MAX_GROWTH_BYTES = 24 << 20

every_sample = pytest.mark.parametrize("name", SAMPLES)
every_plain_sample = pytest.mark.parametrize("name", [name for name in SAMPLES if "." not in name])
READ = """
import sys
from pathlib import Path
from tests.support.peak_memory import peak_bytes
from tests.support.shard_samples import SAMPLES
from linly.data.reading.shards import ShardReader, list_shards
corpus = SAMPLES[sys.argv[1]].make_corpus()
for folder in sys.argv[2:]:
    (shard,) = list_shards(corpus, Path(folder))
    print(sum(raw.error is None for raw in ShardReader(corpus, Path(folder)).read(shard)))
    print(peak_bytes())
"""


def read(sample: Sample, folder: Path, start: int = 0) -> Iterator[RawRecord]:
    corpus = sample.make_corpus()
    (shard,) = list_shards(corpus, folder)
    return ShardReader(corpus, folder).read(shard, start)


def test_every_format_has_a_sample_and_its_suffixes() -> None:
    assert FORMATS.keys() == {*get_args(FileFormat), "moses"}
    assert {sample.format for sample in SAMPLES.values()} == FORMATS.keys()
    for name, found in FORMATS.items():
        for suffix in found.suffixes:
            assert format_of(f"a{suffix}") == format_of(f"b.c{suffix.upper()}.gz") == name


@every_sample
def test_any_record_can_be_the_first(tmp_path: Path, name: str) -> None:
    sample = SAMPLES[name]
    sample.write(tmp_path, TEXTS)
    expected = sample.texts(TEXTS)
    for start in range(len(TEXTS) + 2):
        found = list(read(sample, tmp_path, start))
        assert [raw.record for raw in found] == list(range(start, len(TEXTS)))
        assert [raw.value and raw.value[sample.field] for raw in found] == expected[start:]
        assert all(raw.error is None and raw.size_bytes > 0 for raw in found)


@every_plain_sample
def test_memory_does_not_grow_with_the_shard(tmp_path: Path, name: str) -> None:
    texts = [f"{number} " + chr(97 + number % 26) * 1000 for number in range(NUM_TEXTS)]
    SAMPLES[name].write(tmp_path / "small", texts[: NUM_TEXTS // 10])
    paths = SAMPLES[name].write(tmp_path / "large", texts)
    # A mapped file counts as resident, though the system takes its pages back when it needs them.
    mapped = sum(path.stat().st_size for path in paths if name.startswith("arrow"))
    done = subprocess.run(
        [sys.executable, "-c", READ, name, str(tmp_path / "small"), str(tmp_path / "large")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[4],
    )
    few, before, many, after = map(int, done.stdout.split())
    assert (few, many) == (NUM_TEXTS // 10, NUM_TEXTS)
    assert after - before < mapped + MAX_GROWTH_BYTES


@every_sample
@pytest.mark.parametrize("keep", [0.3, 0.9, "minus one byte"])
def test_a_shard_cut_short_is_never_taken_for_a_whole_one(
    tmp_path: Path, name: str, keep: float | str
) -> None:
    sample = SAMPLES[name]
    path, *_ = sample.write(tmp_path, TEXTS)
    data = path.read_bytes()
    path.write_bytes(data[: -1 if isinstance(keep, str) else int(len(data) * keep)])
    found: list[RawRecord] = []
    if "." in name or FORMATS[sample.format].layout != "lines":
        with pytest.raises(DataError, match="truncated") as caught:
            found.extend(read(sample, tmp_path))
        assert path.name in str(caught.value)
    else:  # Lines that were lost leave no trace, but none is made up.
        try:
            found.extend(read(sample, tmp_path))
        except DataError as error:
            assert path.name in str(error)
        found = found[:-1]
    values = [raw.value and raw.value[sample.field] for raw in found]
    assert values == sample.texts(TEXTS)[: len(values)]


@every_sample
def test_random_bytes_are_an_error_or_bad_records(tmp_path: Path, name: str) -> None:
    sample = SAMPLES[name]
    paths = sample.write(tmp_path, TEXTS)
    for path in paths:
        path.write_bytes(random.Random(7).randbytes(5000))
    try:
        found = list(read(sample, tmp_path))
    except DataError as error:
        assert paths[0].name in str(error)
    else:
        assert all(raw.error for raw in found)


@every_plain_sample
def test_a_spoiled_record_is_named_and_never_given(tmp_path: Path, name: str) -> None:
    sample = SAMPLES[name]
    path, *_ = sample.write_damaged(tmp_path)
    check_bad_record(sample, tmp_path, path, "")


@every_plain_sample
def test_an_over_long_record_is_named_and_never_given(tmp_path: Path, name: str) -> None:
    sample = SAMPLES[name]
    path, *_ = sample.write(tmp_path, ["one", "x" * (MAX_LINE_BYTES + (1 << 20)), "three"])
    check_bad_record(sample, tmp_path, path, "long")


def check_bad_record(sample: Sample, folder: Path, path: Path, reason: str) -> None:
    """The second of three records is bad, or the shard is refused from it on."""
    found: list[RawRecord] = []
    try:
        found.extend(read(sample, folder))
    except DataError as error:
        assert path.name in str(error)
        assert reason in str(error)
        expected = ["one"][: len(found)]
    else:
        assert [raw.record for raw in found if raw.error and reason in raw.error] == [1]
        expected = ["one", "three"]
    assert [raw.value[sample.field] for raw in found if raw.value] == expected


@every_sample
def test_an_empty_file_is_an_error(tmp_path: Path, name: str) -> None:
    path, *_ = SAMPLES[name].write(tmp_path, TEXTS)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"is empty|0 bytes") as caught:
        list(read(SAMPLES[name], tmp_path))
    assert path.name in str(caught.value)


def test_a_name_without_a_reader_does_not_type_check(tmp_path: Path) -> None:
    reader = '        case "tmx":\n            return read_tmx\n'
    changes = {
        "no_reader": (reader, ""),
        "no_name": (reader, f'{reader}        case "pdf":\n            return read_txt\n'),
    }
    assert type_errors(tmp_path, "data/reading/formats.py", changes) == {
        "no_reader": ["Missing return statement  [return]"],
        "no_name": ["Statement is unreachable  [unreachable]"],
    }


def test_a_name_without_properties_does_not_type_check(tmp_path: Path) -> None:
    entry = '        case "json":\n            return Format((".json",), "text")\n'
    changes = {
        "no_properties": (entry, ""),
        "no_name": (entry, entry.replace('"json"', '"pdf"') + entry),
    }
    assert type_errors(tmp_path, "config/shard_formats.py", changes) == {
        "no_properties": ["Missing return statement  [return]"],
        "no_name": ["Statement is unreachable  [unreachable]"],
    }
