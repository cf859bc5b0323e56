"""TMX: units, languages, inline codes; dangerous XML is refused."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

import pytest

from linly.data.reading import tmx
from linly.data.reading.shard_files import ShardFiles
from linly.data.types import RawRecord
from linly.errors import DamagedShardError, DataError


def read(
    folder: Path, units: str, *, languages: tuple[str, ...] = ("en", "zh"), before: str = ""
) -> list[RawRecord]:
    text = f'<?xml version="1.0"?>{before}<tmx version="1.4"><body>{units}</body></tmx>'
    return read_bytes(folder, text.encode(), languages)


def read_bytes(
    folder: Path, data: bytes, languages: tuple[str, ...] = ("en", "zh")
) -> list[RawRecord]:
    (folder / "a.tmx").write_bytes(data)
    return list(tmx.read_tmx(ShardFiles((folder / "a.tmx",), (), languages, (), 0)))


def unit(**texts: str) -> str:
    variants = (
        f'<tuv xml:lang="{language.replace("_", "-")}"><seg>{text}</seg></tuv>'
        for language, text in texts.items()
    )
    return f"<tu>{''.join(variants)}</tu>"


def values(records: list[RawRecord]) -> list[object]:
    return [raw.value for raw in records]


def test_a_unit_is_a_record_of_the_languages_asked_for(tmp_path: Path) -> None:
    units = unit(en="one", zh="一", fr="un") + unit(zh="二", en="a &lt;b&gt; &amp; c")
    found = read(tmp_path, units)
    assert values(found) == [{"en": "one", "zh": "一"}, {"en": "a <b> & c", "zh": "二"}]
    assert [(raw.record, raw.size_bytes) for raw in found] == [(0, 8), (1, 12)]
    assert values(read(tmp_path, units, languages=()))[0] == {"en": "one", "zh": "一", "fr": "un"}


def test_a_language_is_found_by_its_code_or_the_first_that_begins_with_it(tmp_path: Path) -> None:
    units = unit(EN_US="one", ZH_tw="臺", zh_CN="台")
    assert values(read(tmp_path, units)) == [{"en": "one", "zh": "臺"}]
    assert values(read(tmp_path, units, languages=("zh-CN",))) == [{"zh-CN": "台"}]
    old = '<tu><tuv lang="en"><seg>one</seg></tuv><tuv lang="zh"><seg>一</seg></tuv></tu>'
    assert values(read(tmp_path, old)) == [{"en": "one", "zh": "一"}]
    assert values(read(tmp_path, unit(en="x", zhx="y"), languages=("en",))) == [{"en": "x"}]


def test_a_unit_without_a_language_is_a_bad_record(tmp_path: Path) -> None:
    good, bad = read(tmp_path, unit(en="one", zh="一") + unit(en="two", fr="deux"))
    assert good.error is None
    assert bad.error == "no zh in the unit; its languages: en, fr"


def test_inline_codes_are_left_out_and_highlights_kept(tmp_path: Path) -> None:
    text = 'a <bpt i="1">{\\b <sub>no</sub> x</bpt>bold<ept i="1">}</ept> <hi>b<ph/></hi> c'
    assert values(read(tmp_path, unit(en=text), languages=("en",))) == [{"en": "a bold b c"}]


def test_notes_and_properties_are_no_text(tmp_path: Path) -> None:
    units = "<tu><note>n</note><tuv xml:lang='en'><prop>p</prop><seg>one</seg></tuv></tu>"
    assert values(read(tmp_path, units, languages=("en",))) == [{"en": "one"}]


def test_a_document_type_is_skipped_by_fork_and_its_address_not_opened(tmp_path: Path) -> None:
    (tmp_path / "tmx14.dtd").write_text("<!ENTITY x 'expanded'>")
    before = f'<!DOCTYPE tmx SYSTEM "file://{tmp_path}/tmx14.dtd">'
    good, bad = read(tmp_path, unit(en="one", zh="一") + unit(en="&x;", zh="二"), before=before)
    assert good.value == {"en": "one", "zh": "一"}
    assert bad.error == "the XML entity &x; is not known"


@pytest.mark.parametrize(
    "declared",
    [
        '<!ENTITY a "text">',
        '<!ENTITY a SYSTEM "file:///etc/passwd">',
        '<!ENTITY % a SYSTEM "http://localhost/x.dtd"> %a;',
        '<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">',
    ],
)
def test_declared_entities_are_refused(tmp_path: Path, declared: str) -> None:
    with pytest.raises(DataError, match="declares the XML entity 'a'"):
        read(tmp_path, unit(en="&a;", zh="x"), before=f"<!DOCTYPE tmx [{declared}]>")


def test_other_encodings_are_read_by_their_marks(tmp_path: Path) -> None:
    for encoding in ("utf-16", "utf-8-sig", "utf-8"):
        data = f"<tmx><body>{unit(en='one', zh='一')}</body></tmx>".encode(encoding)
        assert values(read_bytes(tmp_path, data)) == [{"en": "one", "zh": "一"}]


@pytest.mark.parametrize("encoding", ["gb2312", "GBK", "big5", "Shift_JIS", "windows-1251", "utf8"])
def test_an_encoding_that_the_file_declares_is_followed(tmp_path: Path, encoding: str) -> None:
    text = {"windows-1251": "рус"}.get(encoding, "文")
    declared = f"<?xml version='1.0' encoding='{encoding}'?>"
    data = f"{declared}<tmx><body>{unit(en='one', zh=text)}</body></tmx>".encode(encoding)
    assert values(read_bytes(tmp_path, data)) == [{"en": "one", "zh": text}]


def test_a_declaration_that_the_file_outlived_is_skipped_by_fork(tmp_path: Path) -> None:
    declared = '<?xml version="1.0" encoding="utf-16"?>'
    data = f"{declared}<tmx><body>{unit(en='one', zh='一')}</body></tmx>".encode("utf-8-sig")
    assert values(read_bytes(tmp_path, data)) == [{"en": "one", "zh": "一"}]


@pytest.mark.parametrize("name", ["klingon", "base64"])
def test_an_encoding_that_is_not_known_is_an_error(tmp_path: Path, name: str) -> None:
    data = f'<?xml version="1.0" encoding="{name}"?><tmx><body/></tmx>'.encode()
    with pytest.raises(DataError, match=rf"a\.tmx: .* {name!r}, which is unknown; set `encoding`"):
        read_bytes(tmp_path, data)


def test_a_unit_within_a_unit_is_damage(tmp_path: Path) -> None:
    with pytest.raises(DamagedShardError, match=r"a\.tmx: line 1: a <tu> begins within another"):
        read(tmp_path, f"<tu>{unit(en='one', zh='一')}</tu>")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<html><body/></html>", "root element is not <tmx>"),
        (b"<tmx><body><tu></body></tmx>", "truncated or malformed: mismatched tag"),
        (b"<tmx><body>", "truncated or malformed: no element found"),
        (b"no xml", "truncated or malformed"),
        (b"<tmx>\xff</tmx>", "truncated or malformed"),
    ],
)
def test_what_is_no_translation_memory_is_an_error(
    tmp_path: Path, data: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        read_bytes(tmp_path, data)


def test_an_over_long_segment_is_a_bad_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tmx, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(tmx, "CHUNK_BYTES", 64)
    bad, good = read(tmp_path, unit(en="x" * 500, zh="一") + unit(en="one", zh="一"))
    assert bad.error == "a segment is longer than 100 characters"
    assert good.value == {"en": "one", "zh": "一"}


def test_an_over_long_tag_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tmx, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(tmx, "CHUNK_BYTES", 64)
    with pytest.raises(DataError, match="a tag is longer than 100 bytes"):
        read(tmp_path, f'<tu a="{"x" * 1000}"></tu>')


def test_units_come_while_the_file_is_read(tmp_path: Path) -> None:
    data = f"<tmx><body>{unit(en='one', zh='一') * 40_000}".encode() + b"<broken"
    (tmp_path / "a.tmx").write_bytes(data)
    records = tmx.read_tmx(ShardFiles((tmp_path / "a.tmx",), (), ("en", "zh"), (), 0))
    assert next(records).record == 0
    with pytest.raises(DataError, match="truncated or malformed"):
        list(records)


NUM_UNITS = 4000
UNITS = [unit(en=f"{i} the old bridge", zh=f"{i} 老桥") + "\n" for i in range(NUM_UNITS)]
BAD_UNIT = 3000


def memory(*, bad_unit: str = "", after: str = "", before: str = "") -> bytes:
    """A translation memory, with a bad unit in place of unit 3,000."""
    units = list(UNITS)
    if bad_unit:
        units[BAD_UNIT] = bad_unit
    return f'{before}<?xml version="1.0"?><tmx><body>{"".join(units)}</body></tmx>{after}'.encode()


def segment(text: str) -> str:
    return f'<tu><tuv xml:lang="en"><seg>{text}</seg></tuv></tu>'


DAMAGE = {
    "raw ampersand": (memory(bad_unit=segment("salt & pepper")), BAD_UNIT),
    "raw less-than": (memory(bad_unit=segment("a < b")), BAD_UNIT),
    "control character": (memory(bad_unit=segment("a\x01b")), BAD_UNIT),
    "NUL": (memory(bad_unit=segment("a\0b")), BAD_UNIT),
    "reference to a surrogate": (memory(bad_unit=segment("&#xD83D;&#xDE00;")), BAD_UNIT),
    "reference to a control character": (memory(bad_unit=segment("&#1;")), BAD_UNIT),
    "reference beyond Unicode": (memory(bad_unit=segment("&#x110000;")), BAD_UNIT),
    "reference without an end": (memory(bad_unit=segment("&amp b")), BAD_UNIT),
    "unknown tag left open": (memory(bad_unit=segment("<b>bold")), BAD_UNIT),
    "unit in a unit": (memory(bad_unit="<tu>" + UNITS[0]), BAD_UNIT),
    "bad UTF-8": (memory(bad_unit=segment("@@")).replace(b"@@", b"\xff\xfe"), BAD_UNIT),
    "encoded surrogate": (memory(bad_unit=segment("@@")).replace(b"@@", b"\xed\xa0\xbd"), BAD_UNIT),
    "cut short": (memory()[: memory().index(b"3000 the")], BAD_UNIT),
    "junk at the end": (memory(after="junk"), NUM_UNITS),
    "NULs at the end": (memory(after="\0\0\0"), NUM_UNITS),
    "two files joined": (memory() + memory(), NUM_UNITS),
    "two files joined with a mark": (memory() + "\ufeff".encode() + memory(), NUM_UNITS),
    "two roots": (memory(after="<tmx><body/></tmx>"), NUM_UNITS),
    "no end of the root": (memory()[: -len("</tmx>")], NUM_UNITS),
}  # fmt: skip


@pytest.mark.parametrize("chunk", [1 << 10, 256 << 10])
@pytest.mark.parametrize("name", DAMAGE)
def test_units_before_damage_are_given_whatever_the_size_of_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, chunk: int
) -> None:
    monkeypatch.setattr(tmx, "CHUNK_BYTES", chunk)
    data, num_good = DAMAGE[name]
    (tmp_path / "a.tmx").write_bytes(data)
    found: list[RawRecord] = []
    with pytest.raises(DamagedShardError, match=r"a\.tmx: "):
        found.extend(  # as many as come before the error
            iter(tmx.read_tmx(ShardFiles((tmp_path / "a.tmx",), (), ("en", "zh"), (), 0)))
        )
    good = [raw for raw in found if raw.error is None]
    assert [raw.record for raw in good] == list(range(num_good))
    assert good[-1].value == {
        "en": f"{num_good - 1} the old bridge", "zh": f"{num_good - 1} 老桥"
    }  # fmt: skip


@pytest.mark.parametrize("keep", [0.5, 0.97])
def test_units_before_the_end_of_a_gzip_file_cut_short_are_given(
    tmp_path: Path, keep: float
) -> None:
    """The parser may hold units back that it was fed last."""
    packed = gzip.compress(memory())
    (tmp_path / "a.tmx.gz").write_bytes(packed[: int(len(packed) * keep)])
    fed = zlib.decompressobj(31).decompress(packed[: int(len(packed) * keep)])
    found: list[RawRecord] = []
    with pytest.raises(DamagedShardError, match="truncated"):
        found.extend(
            iter(tmx.read_tmx(ShardFiles((tmp_path / "a.tmx.gz",), (), ("en", "zh"), (), 0)))
        )
    assert len(found) == fed.count(b"</tu>")


def test_xml_of_another_kind_is_an_error_before_its_first_unit(tmp_path: Path) -> None:
    (tmp_path / "a.tmx").write_bytes(f"<xliff>{''.join(UNITS)}</xliff>".encode())
    records = tmx.read_tmx(ShardFiles((tmp_path / "a.tmx",), (), ("en", "zh"), (), 0))
    with pytest.raises(DataError, match="root element is not <tmx> but <xliff>"):
        next(records)
