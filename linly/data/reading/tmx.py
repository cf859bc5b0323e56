"""Translation memories (TMX 1.1 to 1.4): units as `{language: text}`, streamed.

Expat reads them without external access or expansion: an entity declared in the file is an error,
the address of a document type is never opened, and the size of a unit is limited. Text inside
`bpt, ept, it, ph, ut` is another program's code and is left out; `hi` only marks its text. The
encoding is that of the corpus file, else the one that the file declares.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from xml.parsers import expat

from linly.data.reading.shard_files import ShardFiles
from linly.data.types import RawRecord
from linly.errors import DamagedShardError, DataError
from linly.storage.decompression import Readable
from linly.storage.encodings import text_encoding
from linly.streams import CHUNK_BYTES, MAX_LINE_BYTES, UTF8, as_utf8, open_stream

_CODE = frozenset({"bpt", "ept", "it", "ph", "ut"})
_DECLARED = re.compile(rb"""\s*<\?xml\s[^>]*?\sencoding\s*=\s*["']([^"'>]+)["']""")
_HEAD_BYTES = 512
_PART_OF = {"gb2312": "gb18030", "gbk": "gb18030"}
"""Encodings whose files often contain characters of a larger one (codec -> codec)."""


def read_tmx(shard: ShardFiles) -> Iterator[RawRecord]:
    """Read the units (`tu`) of a translation memory.

    A requested language is matched by its own code in any case, else by the first code that begins
    with it (`zh`: `zh-CN`). If no language is requested, all are returned.

    Raises:
        DamagedShardError: If the file is truncated or not XML, or a unit begins within another;
            raised after the complete units before it.
        DataError: If it is not TMX, declares entities, or declares an unknown encoding.
    """
    path = shard.paths[0]
    encoding = shard.encoding if shard.encoding != UTF8 else _declared_encoding(shard)
    units = _Units(shard, encoding)
    with open_stream(path, shard.retries) as stream:
        text = as_utf8(stream, encoding or UTF8)
        while not units.has_ended:
            units.feed(text)
            yield from units.take()


def _declared_encoding(shard: ShardFiles) -> str | None:
    """Encoding in the XML declaration; None for UTF-8 or an encoding with a byte order mark.

    Expat knows few encodings, and no multi-byte ones other than Unicode's.
    """
    head = b""
    with open_stream(shard.paths[0], shard.retries) as stream:
        while len(head) < _HEAD_BYTES and (piece := stream.read(_HEAD_BYTES - len(head))):
            head += piece
    declared = _DECLARED.match(head.removeprefix(codecs.BOM_UTF8))
    if declared is None:
        return None
    name = declared.group(1).decode("latin-1")
    codec = text_encoding(name)
    if codec is None:
        raise DataError(
            f"{shard.paths[0]}: declares the encoding {name!r}, which is unknown; set "
            f"`encoding` in the corpus file"
        )
    if codec.startswith(("utf-16", "utf-32")):
        return UTF8  # it was readable as ASCII: the file was converted, its declaration not
    return _PART_OF.get(codec, codec)


@dataclass(slots=True)
class _Unit:
    """A unit that is being parsed.

    Attributes:
        texts: Language as written -> text; the first text of a language.
        fault: First reason why it cannot be used.
    """

    texts: dict[str, str] = field(default_factory=dict)
    fault: str | None = None


class _Units:
    """Converts the parser's events into records.

    Attributes:
        parser: Parser of the file.
        has_ended: Whether the file was read to its end.
    """

    def __init__(self, shard: ShardFiles, encoding: str | None) -> None:
        # Expat passes text of a known encoding as UTF-8, whatever the XML declares.
        self.parser = expat.ParserCreate(None if encoding is None else UTF8)
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.EntityDeclHandler = self._refuse_entity
        self.parser.SkippedEntityHandler = self._skipped_entity
        self.has_ended = False
        self._error: DataError | None = None
        self._shard = shard
        self._records: list[RawRecord] = []
        self._num_units = 0
        self._fed_bytes = 0
        self._unit: _Unit | None = None
        self._language = ""
        self._segment: list[str] | None = None
        self._segment_size = 0
        self._code_depth = 0
        self._depth = 0

    def feed(self, text: Readable) -> None:
        """Parse the next part of the file; a fault in it is raised after the units before it."""
        if self._error is not None:
            raise self._error
        try:
            chunk = text.read(CHUNK_BYTES)
            self._parse(chunk)
        except DataError as error:
            self._error = error
            with suppress(expat.ExpatError, DataError):
                self.parser.Parse(b"", True)  # flushes the units before it

    def _parse(self, chunk: bytes) -> None:
        try:
            self.parser.Parse(chunk, not chunk)
        except expat.ExpatError as error:
            raise DamagedShardError(
                f"{self._shard.paths[0]}: the XML is truncated or malformed: {error}"
            ) from error
        self.has_ended = not chunk
        self._check_size(len(chunk))

    def take(self) -> list[RawRecord]:
        """Return the records that are complete."""
        taken, self._records = self._records, []
        return taken

    def _check_size(self, fed_bytes: int) -> None:
        """Reject a tag so long that the parser would hold it all in memory."""
        self._fed_bytes += fed_bytes
        if self._fed_bytes - self.parser.CurrentByteIndex > MAX_LINE_BYTES + CHUNK_BYTES:
            raise DataError(
                f"{self._shard.paths[0]}: a tag is longer than {MAX_LINE_BYTES:,} bytes"
            )

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        if self._depth == 0 and name != "tmx":
            raise DataError(
                f"{self._shard.paths[0]}: its root element is not <tmx> but <{name}>: not a "
                f"translation memory"
            )
        self._depth += 1
        if name == "tu":
            if self._unit is not None:
                raise DamagedShardError(
                    f"{self._shard.paths[0]}: line {self.parser.CurrentLineNumber}: a <tu> begins "
                    f"within another"
                )
            self._unit = _Unit()
        elif name == "tuv":
            self._language = attributes.get("xml:lang") or attributes.get("lang") or ""
        elif name == "seg":
            self._segment, self._segment_size, self._code_depth = [], 0, 0
        elif self._segment is not None and (name in _CODE or self._code_depth):
            self._code_depth += 1

    def _end(self, name: str) -> None:
        self._depth -= 1
        if name == "tu":
            self._finish_unit()
        elif name == "seg":
            if self._unit is not None and self._segment is not None:
                self._unit.texts.setdefault(self._language, "".join(self._segment))
            self._segment = None
        elif self._code_depth:
            self._code_depth -= 1

    def _characters(self, text: str) -> None:
        if self._segment is None or self._code_depth:
            return
        self._segment_size += len(text)
        if self._segment_size <= MAX_LINE_BYTES:
            self._segment.append(text)
        else:
            self._segment.clear()
            self._fault(f"a segment is longer than {MAX_LINE_BYTES:,} characters")

    def _fault(self, reason: str) -> None:
        if self._unit is not None and self._unit.fault is None:
            self._unit.fault = reason

    def _finish_unit(self) -> None:
        unit, self._unit = self._unit, None
        assert unit is not None, "expat refuses an end without its start"
        record = self._num_units
        self._num_units += 1
        if record < self._shard.start_record:
            return
        size = sum(len(text.encode(UTF8)) for text in unit.texts.values())
        texts = _asked_for(unit.texts, self._shard)
        missing = [name for name in self._shard.columns if name not in texts]
        if unit.fault is None and missing:
            found = ", ".join(unit.texts) or "none"
            unit.fault = f"no {', '.join(missing)} in the unit; its languages: {found}"
        value = dict(texts) if unit.fault is None else None
        self._records.append(RawRecord(record, value, unit.fault, size))

    def _refuse_entity(self, name: str, *_: object) -> None:
        raise DataError(
            f"{self._shard.paths[0]}: declares the XML entity {name!r}: entities can expand "
            f"without limit or read other files, so none is allowed; write its text instead"
        )

    def _skipped_entity(self, name: str, is_parameter: bool) -> None:
        self._fault(f"the XML entity &{name}; is not known")


def _asked_for(texts: Mapping[str, str], shard: ShardFiles) -> Mapping[str, str]:
    wanted = (*shard.columns, *shard.optional_columns)
    if not wanted:
        return texts
    codes = [(code.lower().replace("_", "-"), text) for code, text in texts.items()]
    found = {}
    for name in wanted:
        asked = name.lower()
        exact = [text for code, text in codes if code == asked]
        near = [text for code, text in codes if code.startswith(f"{asked}-")]
        if exact or near:
            found[name] = (exact or near)[0]
    return found
