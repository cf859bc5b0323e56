"""The corpus file: locations of shards, fields of a record, construction of documents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, model_validator

from linly.config.chat_format import CHAT_TEMPLATES, ChatFormat, read_chat_format
from linly.config.fields import (
    CONVERSATION_FORMS,
    is_conversation,
    is_form,
    parse_form,
    parse_path,
)
from linly.config.sections.data_section import Packing
from linly.config.sections.languages import (
    LANGUAGE,
    LANGUAGE_FORM,
    UNKNOWN_LANGUAGE,
    wrong_language,
)
from linly.config.sections.record_lists import (
    KEY as LISTS,
)
from linly.config.sections.record_lists import (
    RecordLists,
    check_list_names,
    with_hashes,
    with_list_paths,
    with_short_forms,
)
from linly.config.shard_formats import FORMATS, FileFormat
from linly.config.shard_patterns import Pattern, parse_patterns, patterns_schema
from linly.config.where import Where
from linly.config.yaml.json_forms import ALLOWED, JsonForm, JsonSchema
from linly.config.yaml.quantities import (
    Count,
    Date,
    Fraction,
    Seconds,
    Text,
    at_most,
    format_fraction,
    fraction_schema,
    parse_fraction,
)
from linly.config.yaml.strict_model import (
    OnResume,
    Settings,
    check_name,
    found,
    problem,
    suggestion,
    validate,
)
from linly.config.yaml.yaml import Located, read_yaml, shown
from linly.errors import ConfigError
from linly.storage.encodings import text_encoding

Kind = Literal["text", "parallel", "instruction", "conversation"]


TEMPLATES: dict[Kind, tuple[str, ...]] = {
    "text": ("text", "inscp"),
    "parallel": ("parallel",),
    "instruction": ("alpaca", "alpaca-no-input", "linly", "chat"),
    "conversation": ("alpaca", "alpaca-no-input", "linly", "chat"),
}
"""Templates that fit each kind; the first is the default."""

_PERCENT_LIKE = re.compile(r"\s*[-+0-9.]+\s*%?\s*")
_DEFAULT_FIELDS = {
    "text": {"text": "text"},
    "parallel": {"zh": "zh", "en": "en"},
    "instruction": {"instruction": "instruction", "input": "input?", "output": "output"},
}
_ALWAYS_WRITTEN = ("exclude", "where", "held_out", "max_bad_fraction")
"""Keys that a resolved corpus file has even at their defaults."""

LITERAL_ROLES = frozenset({"user_mark", "assistant_mark"})
"""Roles of `fields` that contain text themselves, not a path to it (marks of a conversation)."""


def _check_encoding(name: str) -> str:
    if (known := text_encoding(name)) is None:
        raise problem(found(name, "an encoding of text, such as utf-8, gb18030, big5 or utf-16"))
    return known


Encoding = Annotated[Text, AfterValidator(_check_encoding)]


def _language_pair(code: object) -> list[str] | None:
    """Split the code of parallel text, such as en-ko; None if it is not that of two languages."""
    parts = code.split("-") if isinstance(code, str) else []
    pairs = [["-".join(parts[:cut]), "-".join(parts[cut:])] for cut in range(1, len(parts))]
    found = [pair for pair in pairs if all(map(LANGUAGE.fullmatch, pair))]
    return found[0] if len(found) == 1 else None


def _check_delimiter(written: str) -> str:
    if len(written) != 1 or written in '"\r\n\\':
        raise problem(found(written, "one character, such as ';' or '|'"))
    return written


def _parse_held_out(value: Any) -> float | tuple[str, ...] | dict[str, str]:
    if isinstance(value, list | tuple | dict):
        return parse_patterns(value)
    if isinstance(value, str) and not _PERCENT_LIKE.fullmatch(value):
        allowed = f"a percentage of the records, or held-out files as a list, such as [{value}]"
        raise problem(found(value, allowed))
    return parse_fraction(value)


def _format_held_out(value: float | tuple[str, ...] | dict[str, str]) -> Any:
    return format_fraction(value) if isinstance(value, float) else value


def _held_out_schema() -> JsonSchema:
    forms = [fraction_schema(), *patterns_schema()["anyOf"]]
    return {"anyOf": forms, ALLOWED: "percentage, or patterns as in `paths`"}


class Corpus(Settings):
    r"""A set of shards of one shape.

    Attributes:
        name: Stem of the corpus file.
        language: Language of the text; for parallel text both, joined: `en-zh`, which is then the
            default.
        kind: Kind of the records.
        format: Format of the shards; by default that of the suffix before a compression suffix.
        encoding: Encoding of text formats: any that Python knows; gb18030 also reads GBK and
            GB2312. A TMX file may declare its own.
        paths: Patterns below the data root, or URLs (s3, hf, https); for line-aligned files one
            pattern per language.
        exclude: Patterns of shards to leave out.
        fields: Role -> dotted path in the record, or a form such as `{title}\n\n{text}`. A path
            that ends with `?` is optional; names with other characters are in backquotes.
            text: {text}; parallel: two language codes; instruction: {instruction, output} and
            optionally {input} and {choices} (a list that the prompt names, with one separator: of
            more than 8 choices, a sample of 4 to 8 that includes the output); conversation:
            {messages, role, content} (a list of turns), {messages, user, assistant} (a list of
            pairs of turns), {messages} (a list of texts, user and assistant alternating), or
            {text, user_mark, assistant_mark} (one text; the marks are literal and begin the
            turns); optionally {system} and {tools} of the record, and {weight} of a turn.
        columns: Names of a table's columns if the file has no header.
        delimiter: Character between the cells of CSV; a first line `sep=;` takes precedence.
        escape: Escape character of CSV: a backslash makes the next character literal (`\"`).
        where: Conditions, all of which a record must meet.
        exclude_records: Lists of records to leave out, as `linly corpora scan` writes them: leaked
            exam questions, near-duplicates, high perplexity.
        template: Template that turns records into documents; must fit the kind. The default is
            `text` for text, `parallel` for parallel text, `alpaca` for the others.
        chat: Chat format for the templates chat and inscp; filled in from the recipe's model.
        packing: Method of packing documents into rows. The default is `best-fit` for instructions
            and conversations, `chunk` for the others.
        held_out: Fraction of records, chosen by hash, that is never trained on; or held-out files.
        max_bad_fraction: Fraction of records that may be quarantined before the run stops.
        chat_date: Date that a chat template receives as today's (2024-07-26).
        damaged_shards: Reaction to a damaged shard: stop the run, or skip the rest of the shard.
            The rest counts as one bad record, since the number of lost records is unknown.
        read_attempts: Consecutive failed reads from storage before the run stops.
        read_delay_s: Approximate length of the first pause between attempts; each next one doubles.
    """

    name: Annotated[Text, OnResume.REFUSED]
    language: Annotated[Text, OnResume.REFUSED]
    kind: Annotated[Kind, OnResume.REFUSED]
    format: Annotated[FileFormat | None, OnResume.REFUSED] = None
    encoding: Annotated[Encoding, OnResume.REFUSED] = "utf-8"
    paths: Annotated[
        tuple[str, ...] | dict[str, str],
        BeforeValidator(parse_patterns),
        JsonForm(patterns_schema),
        OnResume.REFUSED,
    ]
    exclude: Annotated[tuple[Pattern, ...], OnResume.REFUSED] = ()
    fields: Annotated[dict[str, Text], OnResume.REFUSED]
    columns: Annotated[tuple[Text, ...], OnResume.REFUSED] = ()
    delimiter: Annotated[Text, AfterValidator(_check_delimiter), OnResume.REFUSED] = ","
    escape: Annotated[Literal["\\"] | None, OnResume.REFUSED] = None
    where: Annotated[tuple[Where, ...], OnResume.REFUSED] = ()
    exclude_records: RecordLists = {}  # noqa: RUF012 (pydantic copies it)
    template: Annotated[Text, OnResume.REFUSED]
    chat: Annotated[ChatFormat | None, OnResume.REFUSED] = None
    packing: Annotated[Packing, OnResume.REFUSED]
    held_out: Annotated[
        float | tuple[str, ...] | dict[str, str],
        BeforeValidator(_parse_held_out),
        PlainSerializer(_format_held_out),
        JsonForm(_held_out_schema),
        OnResume.REFUSED,
    ] = 0.0
    max_bad_fraction: Annotated[Fraction, OnResume.RECORDED] = 0.01
    chat_date: Annotated[Date | None, OnResume.REFUSED] = None
    damaged_shards: Annotated[Literal["error", "quarantine"], OnResume.RECORDED] = "error"
    read_attempts: Annotated[
        Count, at_most(1000, "the pauses before them are up to 30 s each"), OnResume.FREE
    ] = 5
    read_delay_s: Annotated[Seconds, OnResume.FREE] = 0.5

    @classmethod
    def shown_keys(cls) -> tuple[str, ...]:
        """Return all keys but `name` (the file's stem) and `chat` (filled in from the model)."""
        return tuple(key for key in cls.file_keys() if key not in ("name", "chat"))

    @classmethod
    def file_schema(cls, schema: JsonSchema) -> JsonSchema:
        """Remove the name, which is the file's, and what a kind fills in from the required keys."""
        keys = {key: form for key, form in schema["properties"].items() if key != "name"}
        keys["template"] |= {"enum": sorted({name for fit in TEMPLATES.values() for name in fit})}
        keys[LISTS] = with_short_forms(keys[LISTS])
        language = {"if": _is_kind("parallel"), "else": {"required": ["language"]}}
        fields = {"if": _is_kind("conversation"), "then": {"required": ["fields"]}}
        fitting = [
            {"if": _is_kind(kind), "then": {"properties": {"template": {"enum": list(names)}}}}
            for kind, names in TEMPLATES.items()
        ]
        return schema | {
            "properties": keys,
            "required": ["kind", "paths"],
            "allOf": [language, fields, *fitting],
        }

    @classmethod
    def from_file_form(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Fill in the defaults of the kind."""
        kind, paths = value.get("kind"), value.get("paths")
        full = dict(value)
        if not isinstance(kind, str) or kind not in TEMPLATES:
            return full
        full.setdefault("template", TEMPLATES[kind][0])
        is_dialogue = kind in ("instruction", "conversation")
        full.setdefault("packing", "best-fit" if is_dialogue else "chunk")
        if kind == "parallel" and isinstance(paths, dict):
            full.setdefault("fields", {language: language for language in paths})
        if kind == "parallel" and (pair := _language_pair(full.get("language"))):
            full.setdefault("fields", {language: language for language in pair})
        if kind in _DEFAULT_FIELDS:
            full.setdefault("fields", dict(_DEFAULT_FIELDS[kind]))
        if kind == "parallel" and isinstance(full.get("fields"), dict):
            full.setdefault("language", "-".join(sorted(map(str, full["fields"]))))
        return full

    @model_validator(mode="after")
    def _check(self) -> Corpus:
        check_name(self.name, "name")
        check_list_names(self.exclude_records)
        self._check_paths()
        self._check_fields()
        self._check_language()
        fitting = TEMPLATES[self.kind]
        if self.template not in fitting:
            raise problem(misfit(self.template, self.kind), "template")
        if len(set(self.columns)) != len(self.columns):
            raise problem("found the same name twice", "columns")
        if self.format is not None:
            self._check_format(self.format)
        return self

    def _check_format(self, name: FileFormat) -> None:
        for key in ("columns", "delimiter", "escape"):
            is_given = getattr(self, key) != type(self).model_fields[key].default
            if is_given and key not in FORMATS[name].keys:
                raise problem(f"found {key}, allowed: none for format {name}", key)
        if self.encoding != "utf-8" and FORMATS[name].has_own_encoding:
            text = f"found {self.encoding}, allowed: none for format {name} (it has its own)"
            raise problem(text, "encoding")

    def _check_paths(self) -> None:
        if not self.paths:
            raise problem(found(self.paths, "at least one pattern"), "paths")
        if isinstance(self.paths, dict):
            if self.kind != "parallel" or len(self.paths) != 2:
                allowed = "two, for kind parallel; else a list of patterns"
                raise problem(f"found {len(self.paths)} languages, allowed: {allowed}", "paths")
            if isinstance(self.held_out, tuple):
                raise problem(found(self.held_out, "one path a language, as in paths"), "held_out")
        if isinstance(self.held_out, dict) and (
            not isinstance(self.paths, dict) or set(self.held_out) != set(self.paths)
        ):
            raise problem(found(self.held_out, "the same languages as in paths"), "held_out")
        if isinstance(self.held_out, tuple) and not self.held_out:
            raise problem(found(self.held_out, "a percentage, or one path or more"), "held_out")

    def _check_fields(self) -> None:
        roles = set(self.fields)
        text = f"found {', '.join(self.fields) or 'none'}, allowed for kind {self.kind}: "
        if self.kind == "text" and roles != {"text"}:
            raise problem(text + "{text}", "fields")
        if self.kind == "parallel" and not (
            len(roles) == 2 and all(LANGUAGE.fullmatch(role) for role in roles - {UNKNOWN_LANGUAGE})
        ):
            raise problem(text + "exactly two language codes, such as {zh, en}", "fields")
        asked = roles - {"input", "choices"}
        if self.kind == "instruction" and asked != {"instruction", "output"}:
            raise problem(text + "{instruction, output}, and maybe input and choices", "fields")
        if is_form(choices := self.fields.get("choices", "")):
            raise problem(found(choices, "the path of a list of texts"), "fields", "choices")
        if self.kind == "conversation" and not is_conversation(roles):
            raise problem(text + CONVERSATION_FORMS, "fields")
        for role, form in self.fields.items():
            if role not in LITERAL_ROLES:
                check_form(form, "fields", role)
        for index, condition in enumerate(self.where):
            if is_form(condition.field):
                raise problem(found(condition.field, "a path"), "where", index, "field")
            check_form(condition.field, "where", index, "field")

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages of the text: both of parallel text."""
        return tuple(sorted(self.fields)) if self.kind == "parallel" else (self.language,)

    def _check_language(self) -> None:
        if UNKNOWN_LANGUAGE in self.language.split("-"):
            raise problem(
                f"found {UNKNOWN_LANGUAGE!r}, which `linly corpora new` writes where the language "
                f"is not clear; write {LANGUAGE_FORM}",
                "language",
            )
        if self.kind == "parallel":
            expected = "-".join(sorted(self.fields))
            if self.language != expected:
                allowed = f"{expected} (from fields; may be left out)"
                raise problem(found(self.language, allowed), "language")
        elif not LANGUAGE.fullmatch(self.language):
            raise problem(wrong_language(self.language), "language")

    def file_form(self) -> dict[str, Any]:
        """Return plain data that reads back equal, without the name."""
        form = self.model_dump(mode="json", include={*_ALWAYS_WRITTEN}) | self.short_form()
        return {key: form[key] for key in self.file_keys() if key in form and key != "name"}


def _is_kind(kind: Kind) -> JsonSchema:
    return {"properties": {"kind": {"const": kind}}, "required": ["kind"]}


def misfit(template: str, kind: Kind) -> str:
    """Return the error text for a template that does not fit a kind of record."""
    fitting = TEMPLATES[kind]
    near = suggestion(template, fitting)
    return f"found {template!r}{near or ','} allowed for kind {kind}: {', '.join(fitting)}"


def check_form(written: str, *path: str | int) -> None:
    """Refuse a field that is neither a path nor a form (`linly.config.fields`)."""
    try:
        if not is_form(written):
            parse_path(written)
        elif len(parse_form(written)) == 1:
            raise ValueError
    except ValueError:
        allowed = "a dotted path, or a form such as '{title}\\n\\n{text}'; a name with other "
        allowed += "characters is written in backquotes, such as `Question?`"
        raise problem(found(written, allowed), *path) from None


def needs_chat(corpus: Corpus, template: str | None) -> bool:
    """Whether a corpus lacks the chat format that its template, or the one given, needs."""
    return (template or corpus.template) in CHAT_TEMPLATES and corpus.chat is None


def with_chat(corpus: Corpus, template: str | None, folder: Path) -> Corpus:
    """Give a corpus the chat format of a model folder where its template needs one.

    Args:
        corpus: Corpus; returned unchanged if it has a chat format already.
        template: Template that replaces the corpus's own; None keeps the corpus's.
        folder: Model folder.

    Raises:
        ConfigError: If the folder has no chat template.
    """
    if not needs_chat(corpus, template):
        return corpus
    return corpus.model_copy(update={"chat": read_chat_format(folder)})


def with_packing(corpus: Corpus, packing: Packing | None) -> Corpus:
    """Replace a corpus's packing with the recipe's (`data.packing`), if it has one."""
    return corpus if packing is None else corpus.model_copy(update={"packing": packing})


def corpus_files(folders: Sequence[Path]) -> dict[str, Path]:
    """Map each corpus name to its file, over several folders.

    Raises:
        ConfigError: If a folder does not exist or two files have the same stem.
    """
    files: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"corpora: found {shown(folder)}, allowed: an existing folder")
        for path in sorted(folder.glob("*.yaml")):
            if path.stem in files:
                both = f"{shown(files[path.stem])} and {shown(path)}"
                raise ConfigError(f"corpora: found {path.stem!r} twice: {both}; rename one")
            files[path.stem] = path
    return files


def make_corpus(name: str, tree: Located, *, prefix: tuple[str | int, ...] = ()) -> Corpus:
    """Build a corpus from its document; the name is the file's stem and cannot be written in it."""
    written = tree.get("name")
    if written is not None:
        text = "unknown key 'name', a corpus is named by its file"
        raise ConfigError(f"{written.origin}: {text} ({name})")
    return validate(Corpus, with_list_paths(tree), prefix=prefix, name=name)


def with_pinned_lists(corpus: Corpus, tree: Located) -> Corpus:
    """Fill in the hashes of a corpus's record lists, so that a run recognizes them.

    Raises:
        ConfigError: If a list cannot be read.
    """
    if not corpus.exclude_records:
        return corpus
    return corpus.model_copy(update={LISTS: with_hashes(corpus.exclude_records, tree)})


def load_corpus(name: str, folders: Sequence[Path]) -> Corpus:
    """Read the corpus file of a name; the other files of the folders are not read.

    Raises:
        ConfigError: If there is none (lists the names), or it is invalid (names file, line, key).
    """
    files = corpus_files(folders)
    if name not in files:
        near = suggestion(name, files)
        raise ConfigError(
            f"corpus: found {name!r}{near or ','} allowed: {', '.join(sorted(files)) or 'none'} "
            f"(of {', '.join(map(str, folders))})"
        )
    return make_corpus(name, read_yaml(files[name]))
