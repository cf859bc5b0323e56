"""linly.data.tmx: units, languages, inline codes; what XML could do harm with is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from linly.data import tmx
from linly.data.shard_files import ShardFiles
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


def test_a_document_type_is_passed_over_and_its_address_not_opened(tmp_path: Path) -> None:
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


def test_a_declaration_that_the_file_outlived_is_passed_over(tmp_path: Path) -> None:
    declared = '<?xml version="1.0" encoding="utf-16"?>'
    data = f"{declared}<tmx><body>{unit(en='one', zh='一')}</body></tmx>".encode("utf-8-sig")
    assert values(read_bytes(tmp_path, data)) == [{"en": "one", "zh": "一"}]


@pytest.mark.parametrize("name", ["klingon", "base64"])
def test_an_encoding_that_is_not_known_is_an_error(tmp_path: Path, name: str) -> None:
    data = f'<?xml version="1.0" encoding="{name}"?><tmx><body/></tmx>'.encode()
    with pytest.raises(
        DataError, match=rf"a\.tmx: .* {name!r}, which is not known; set `encoding`"
    ):
        read_bytes(tmp_path, data)


def test_a_unit_within_a_unit_is_damage(tmp_path: Path) -> None:
    with pytest.raises(DamagedShardError, match=r"a\.tmx: line 1: a <tu> begins within another"):
        read(tmp_path, f"<tu>{unit(en='one', zh='一')}</tu>")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<html><body/></html>", "root element is not <tmx>"),
        (b"<tmx><body><tu></body></tmx>", "cut short or broken: mismatched tag"),
        (b"<tmx><body>", "cut short or broken: no element found"),
        (b"no xml", "cut short or broken"),
        (b"<tmx>\xff</tmx>", "cut short or broken"),
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
    with pytest.raises(DataError, match="cut short or broken"):
        list(records)
