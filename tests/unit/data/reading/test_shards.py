"""linly.data.reading.shards: which files a corpus has, and their records, on real text too."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from linly.config.corpus import Corpus
from linly.data.documents.templates import DocumentMaker
from linly.data.inspection.first_records import check_first_records
from linly.data.reading.shards import ShardReader, list_held_out_shards, list_shards
from linly.data.types import Document, Shard
from linly.errors import ConfigError, DataError
from tests.support.tiny_corpora import source_of

MakeCorpus = Callable[..., Corpus]


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{"text": "{name}"}}\n')


def text_corpus(make_corpus: MakeCorpus, paths: str, more: str = "") -> Corpus:
    return make_corpus(f"{{language: en, kind: text, paths: {paths}{more}}}")


def listed(corpus: Corpus, data_root: Path) -> list[str]:
    return [shard.path for shard in list_shards(corpus, data_root)]


def test_shards_are_sorted_below_the_data_root_with_their_sizes(
    tmp_path: Path, make_corpus: MakeCorpus
) -> None:
    fill(tmp_path, "b/2.jsonl", "b/10.jsonl", "a/x.jsonl", "a/deep/y.jsonl", "a/other.txt")
    corpus = text_corpus(make_corpus, '["b/*.jsonl", "a/**/*.jsonl", "b/2.jsonl"]')
    expected = ["a/deep/y.jsonl", "a/x.jsonl", "b/10.jsonl", "b/2.jsonl"]
    assert listed(corpus, tmp_path) == expected
    sizes = [(tmp_path / path).stat().st_size for path in expected]
    assert [shard.size_bytes for shard in list_shards(corpus, tmp_path)] == sizes


def test_excluded_and_held_out_files_are_left_out(tmp_path: Path, make_corpus: MakeCorpus) -> None:
    fill(tmp_path, "a.jsonl", "b.jsonl", "c.jsonl", "d.jsonl")
    more = ', exclude: ["b.*"], held_out: ["c.jsonl"]'
    corpus = text_corpus(make_corpus, '["*.jsonl"]', more)
    assert listed(corpus, tmp_path) == ["a.jsonl", "d.jsonl"]
    assert [shard.path for shard in list_held_out_shards(corpus, tmp_path)] == ["c.jsonl"]
    with pytest.raises(DataError, match="leave no shard"):
        list_shards(text_corpus(make_corpus, '["b.jsonl"]', more), tmp_path)


def test_a_pattern_that_finds_nothing_says_what_is_there(
    tmp_path: Path, make_corpus: MakeCorpus
) -> None:
    fill(tmp_path, "wiki/AA/wiki_00.jsonl", "news/a.jsonl")
    corpus = text_corpus(make_corpus, '["news/*.jsonl", "wiki/AB/*.jsonl"]')
    with pytest.raises(DataError) as caught:
        list_shards(corpus, tmp_path)
    for part in ("'sample'", "'wiki/AB/*.jsonl'", str(tmp_path), "wiki holds AA/"):
        assert part in str(caught.value)
    with pytest.raises(DataError, match="nowhere is not a folder"):
        list_shards(corpus, tmp_path / "nowhere")


def test_a_link_out_of_the_data_root_is_refused(tmp_path: Path, make_corpus: MakeCorpus) -> None:
    root = tmp_path / "root"
    fill(root, "a.jsonl", "b.jsonl")
    fill(tmp_path, "secret.jsonl")
    (root / "inside.jsonl").symlink_to(root / "a.jsonl")
    corpus = text_corpus(make_corpus, '["*.jsonl"]')
    assert listed(corpus, root) == ["a.jsonl", "b.jsonl", "inside.jsonl"]
    (root / "out.jsonl").symlink_to(tmp_path / "secret.jsonl")
    with pytest.raises(ConfigError, match=r"out\.jsonl.* leads out of"):
        list_shards(corpus, root)


@pytest.mark.parametrize("replaced", ["in", "in/a.jsonl"])
def test_a_link_put_in_the_place_of_a_listed_shard_or_its_folder_cannot_lead_out(
    tmp_path: Path, make_corpus: MakeCorpus, replaced: str
) -> None:
    root = tmp_path / "root"
    fill(root, "in/a.jsonl")
    corpus = text_corpus(make_corpus, '["in/*.jsonl"]')
    (first,) = list_shards(corpus, root)
    reader = ShardReader(corpus, root)
    assert len(list(reader.read(first))) == 1
    (root / replaced).rename(tmp_path / "moved")
    (root / replaced).symlink_to(tmp_path / "moved")
    with pytest.raises(ConfigError, match="leads out of"):
        next(reader.read(first))


@pytest.mark.parametrize("path", ["../secret.jsonl", "/etc/passwd", "a\x00b.jsonl"])
def test_a_frozen_shard_list_cannot_lead_out_either(
    tmp_path: Path, make_corpus: MakeCorpus, path: str
) -> None:
    corpus = text_corpus(make_corpus, '["*.jsonl"]')
    with pytest.raises(ConfigError, match="inside"):
        next(ShardReader(corpus, tmp_path).read(Shard(path, 1)))


def test_line_aligned_files_pair_by_what_their_wildcards_match(
    tmp_path: Path, make_corpus: MakeCorpus
) -> None:
    fill(tmp_path, "un/b.en", "un/b.zh", "un/a-1.en", "un/a-1.zh", "un/a-2.en", "un/a-2.zh")
    corpus = make_corpus('{kind: parallel, paths: {en: "un/*.en", zh: "un/*.zh"}}')
    assert listed(corpus, tmp_path) == [
        "un/a-1.en\tun/a-1.zh",
        "un/a-2.en\tun/a-2.zh",
        "un/b.en\tun/b.zh",
    ]
    fill(tmp_path, "un/c.zh")
    with pytest.raises(DataError, match=r"no partner for un/c\.zh"):
        list_shards(corpus, tmp_path)


@pytest.mark.parametrize("name", [b"tab\tx.jsonl", b"li\nne.jsonl", b"\xd6\xd0.jsonl"])
def test_a_name_that_no_list_can_hold_is_refused_unless_it_is_left_out(
    tmp_path: Path, make_corpus: MakeCorpus, name: bytes
) -> None:
    fill(tmp_path, "a.jsonl", "\u3000b.jsonl")
    (tmp_path / os.fsdecode(name)).touch()
    with pytest.raises(DataError) as caught:
        list_shards(text_corpus(make_corpus, '["*.jsonl"]'), tmp_path)
    assert f"corpus 'sample': found file {os.fsdecode(name)!r}, whose name has a control" in str(
        caught.value
    )
    (tmp_path / "d").mkdir()
    (tmp_path / os.fsdecode(name)).rename(tmp_path / "d" / os.fsdecode(name))
    corpus = text_corpus(make_corpus, '["**/*.jsonl"]', ', exclude: ["d/*"]')
    assert listed(corpus, tmp_path) == ["a.jsonl", "\u3000b.jsonl"]


def test_a_tab_in_a_frozen_path_parts_line_aligned_files_alone(
    tmp_path: Path, make_corpus: MakeCorpus
) -> None:
    fill(tmp_path, "a\tb.jsonl", "a")
    path = tmp_path / "a\tb.jsonl"
    shard = Shard("a\tb.jsonl", path.stat().st_size)
    corpus = text_corpus(make_corpus, '["*.jsonl"]')
    (raw,) = ShardReader(corpus, tmp_path).read(shard)
    assert raw.record == 0


def test_a_set_of_letters_means_in_every_place_what_it_means_to_a_shell(
    tmp_path: Path, make_corpus: MakeCorpus
) -> None:
    fill(tmp_path, "mo/y.en", "mo/y.zh", "mo/z.en", "mo/z.zh")
    corpus = make_corpus('{kind: parallel, paths: {en: "mo/[^y].en", zh: "mo/[^y].zh"}}')
    assert listed(corpus, tmp_path) == ["mo/y.en\tmo/y.zh"]
    more = ', exclude: ["mo/[z-a]*", "https://host.org/[z-a]*", "mo/[!y].*"]'
    assert listed(text_corpus(make_corpus, '["mo/*.en"]', more), tmp_path) == ["mo/y.en"]


def test_a_folder_that_cannot_be_listed_stops_the_listing(
    tmp_path: Path, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "a/1.jsonl", "b/2.jsonl")
    more = ", read_attempts: 2, read_delay_s: 0.001"
    corpus = text_corpus(make_corpus, '["*/*.jsonl"]', more)
    scandir, asked = os.scandir, []

    def away(path: str) -> object:
        asked.append(path)
        if path.endswith("b"):
            raise OSError(errno.EIO, "Input/output error")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", away)
    with pytest.raises(DataError, match=r"corpus 'sample': .*/b: cannot be listed: gave up after"):
        list_shards(corpus, tmp_path)
    assert asked.count(str(tmp_path / "b")) == 2


def test_the_encoding_reaches_the_reader_and_columnar_files_refuse_one(
    tmp_path: Path, make_corpus: MakeCorpus
) -> None:
    (tmp_path / "a.txt").write_bytes("汉字\n".encode("gb18030"))
    (tmp_path / "a.parquet").write_bytes(b"not opened")
    corpus = text_corpus(make_corpus, '["a.*"]', ", encoding: gb18030")
    columnar, lines = list_shards(corpus, tmp_path)
    assert [raw.value for raw in ShardReader(corpus, tmp_path).read(lines)] == [{"text": "汉字"}]
    with pytest.raises(ConfigError, match=r"'a.parquet' \(parquet has its own\)"):
        list(ShardReader(corpus, tmp_path).read(columnar))


def test_a_name_that_tells_no_format_asks_for_one(tmp_path: Path, make_corpus: MakeCorpus) -> None:
    fill(tmp_path, "wiki_00")
    corpus = text_corpus(make_corpus, '["wiki_*"]')
    with pytest.raises(DataError, match="set `format` to one of jsonl, json"):
        next(ShardReader(corpus, tmp_path).read(list_shards(corpus, tmp_path)[0]))
    corpus = text_corpus(make_corpus, '["wiki_*"]', ", format: jsonl")
    (raw,) = ShardReader(corpus, tmp_path).read(list_shards(corpus, tmp_path)[0])
    assert raw.value == {"text": "wiki_00"}


REAL = {
    "jsonl.zst": ("english/slimpajama/train/chunk*/*.jsonl.zst", "text", {"text": "text"}),
    "jsonl.gz": (
        "chinese/news2016zh/*.jsonl.gz",
        "text",
        {"text": '"{title}\\n\\n{content}"'},
    ),
    "parquet": ("english/refinedweb/data/*.parquet", "text", {"text": "content"}),
    "json.gz": (
        "instruction/gpteacher/*.json.gz",
        "instruction",
        {"instruction": "instruction", "input": "input", "output": "response"},
    ),
    "json": (
        "eval/instruction/alpaca_zh_valid.json",
        "instruction",
        {"instruction": "instruction", "input": "input", "output": "output"},
    ),
    "txt.gz": ("chinese/linly_txt/*.txt.gz", "text", {"text": "text"}),
    "jsonl": (
        "instruction/pclue/*.jsonl",
        "instruction",
        {"instruction": "input", "output": "target"},
    ),
    "conversations": (
        "instruction/firefly/*.jsonl",
        "conversation",
        {"messages": "conversation", "user": "human", "assistant": "assistant"},
    ),
}
DOCUMENTS = {
    "jsonl.zst": 464,
    "jsonl.gz": 849,
    "parquet": 962,
    "json.gz": 1849,
    "json": 412,
    "txt.gz": 54,
    "jsonl": 649,
    "conversations": 33,
    "tsv.gz": 19253,
    "moses": 2148,
    "pairs": 24835,
    "tmx": 1000,
}
PARALLEL = {
    "tsv.gz": '{kind: parallel, paths: ["parallel/tatoeba/*.tsv.gz"], columns: [en, zh],'
    " fields: {zh: zh, en: en}}",
    "moses": '{kind: parallel, paths: {en: "parallel/d2l_moses/*.en",'
    ' zh: "parallel/d2l_moses/*.zh"}}',
    "pairs": '{kind: parallel, paths: ["parallel/translation2019zh/*.jsonl.zst"],'
    " fields: {zh: chinese, en: english}}",
    "tmx": '{kind: parallel, paths: ["parallel/tmx/*.tmx"], fields: {zh: zh-CN, en: en}}',
}


def real_corpus(make_corpus: MakeCorpus, name: str) -> Corpus:
    if name in PARALLEL:
        return make_corpus(PARALLEL[name])
    path, kind, fields = REAL[name]
    written = ", ".join(f"{role}: {field}" for role, field in fields.items())
    return make_corpus(f'{{language: zh, kind: {kind}, paths: ["{path}"], fields: {{{written}}}}}')


@pytest.mark.parametrize("name", [*REAL, *PARALLEL])
def test_every_record_of_real_shards_becomes_a_document(
    real_data: Path, make_corpus: MakeCorpus, name: str
) -> None:
    corpus = real_corpus(make_corpus, name)
    shards = list_shards(corpus, real_data)
    check_first_records(source_of(corpus, real_data), shards)
    maker = DocumentMaker(source_of(corpus))
    reader = ShardReader(corpus, real_data)
    counts: Counter[type] = Counter()
    for shard in shards:
        records = list(reader.read(shard))
        counts.update(type(maker.make(shard.path, raw, 0)) for raw in records)
        middle = len(records) // 2
        assert list(reader.read(shard, start_record=middle)) == records[middle:]
    assert counts == {Document: DOCUMENTS[name]}


@pytest.mark.parametrize("name", ["jsonl.zst", "jsonl.gz", "parquet", "json.gz", "txt.gz"])
def test_a_real_shard_minus_one_byte_is_an_error_that_names_it(
    real_data: Path, tmp_path: Path, make_corpus: MakeCorpus, name: str
) -> None:
    corpus = real_corpus(make_corpus, name)
    whole = list_shards(corpus, real_data)[0]
    damaged = tmp_path / whole.path
    damaged.parent.mkdir(parents=True)
    shutil.copyfile(real_data / whole.path, damaged)
    with damaged.open("r+b") as file:
        file.truncate(whole.size_bytes - 1)
    (shard,) = list_shards(corpus, tmp_path)
    with pytest.raises(DataError) as caught:
        list(ShardReader(corpus, tmp_path).read(shard))
    for part in ("corpus 'sample'", repr(whole.path), "record", "truncated"):
        assert part in str(caught.value)


def test_a_field_that_no_record_has_is_named_before_the_start(
    real_data: Path, make_corpus: MakeCorpus
) -> None:
    corpus = make_corpus(
        '{language: zh, kind: text, paths: ["chinese/wiki_zh/**/*.zst"], fields: {text: content}}'
    )
    with pytest.raises(DataError) as caught:
        check_first_records(
            source_of(corpus, real_data, name="wiki"), list_shards(corpus, real_data)
        )
    for part in ("source 'wiki'", "wiki_00", "record 0", "'content'", "'title', 'text'"):
        assert part in str(caught.value)


def test_a_field_missing_in_one_record_of_the_first_is_no_error(
    tmp_path: Path, make_corpus: MakeCorpus
) -> None:
    (tmp_path / "a.jsonl").write_text('{"title": "a"}\n{"text": "b"}\n')
    corpus = text_corpus(make_corpus, '["a.jsonl"]')
    check_first_records(source_of(corpus, tmp_path), list_shards(corpus, tmp_path))


def test_a_source_without_a_record_is_an_error(tmp_path: Path, make_corpus: MakeCorpus) -> None:
    (tmp_path / "a.jsonl").write_text("\n\n")
    corpus = text_corpus(make_corpus, '["a.jsonl"]')
    with pytest.raises(DataError, match=r"its 1 shard.s. contain no record"):
        check_first_records(source_of(corpus, tmp_path), list_shards(corpus, tmp_path))
