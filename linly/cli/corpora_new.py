"""`linly corpora new`: corpus files for shards, guessed from their first records."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linly.cli.shown_text import printable
from linly.config.source import Source
from linly.config.yaml.yaml import read_yaml
from linly.errors import ConfigError, DataError

if TYPE_CHECKING:
    from linly.data.guessing.corpus_drafts import CorpusDraft, CorpusDrafts

_MAX_LEFT_OUT = 20


def new(
    shards: Annotated[
        list[str],
        typer.Argument(
            metavar="GLOB...", help="Quoted pattern of shards, files, a folder, or a URL."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the corpus (default: that of its folder).")
    ] = None,
    corpora: Annotated[
        Path, typer.Option(help="Folder to write the file to; created if missing.")
    ] = Path("corpora"),
    data_root: Annotated[
        Path | None,
        typer.Option(
            envvar="LINLY_DATA",
            help="Folder of the shards (default: this folder, or one that holds the shards).",
        ),
    ] = None,
) -> None:
    """Guess the format, fields and language of shards, and write a corpus file for you to check.

    Files of several kinds, languages or folders become several corpora.
    """
    from linly.data.guessing.corpus_drafts import draft_corpora

    taken = _paths_by_name(corpora)
    try:
        found = draft_corpora(shards, data_root, taken=() if name is not None else taken)
    except DataError as error:
        raise DataError(f"no corpus file is written: {error}") from error
    drafts = found.drafts if name is None else (_only(found).named(name),)
    if name is None:
        drafts = _without_described(drafts, corpora, taken)
    for file, reason in list(found.left_out.items())[:_MAX_LEFT_OUT]:
        print(f"left out: {printable(file)}: {printable(reason)}")
    if (more := len(found.left_out) - _MAX_LEFT_OUT) > 0:
        print(f"left out: {more:,} more files")
    for draft in drafts:
        path = corpora / f"{draft.name}.yaml"
        _write_new(path, draft.text)
        is_default = found.data_root == Path(os.environ.get("LINLY_DATA", "."))
        _show(draft, path, found.data_root, is_default=is_default)


def _only(found: CorpusDrafts) -> CorpusDraft:
    if len(found.drafts) > 1:
        names = ", ".join(draft.name for draft in found.drafts)
        raise ConfigError(
            f"no corpus file is written: --name names one corpus, found {len(found.drafts)} "
            f"({names}); pass a pattern for one of them, or leave --name out"
        )
    return found.drafts[0]


def _show(draft: CorpusDraft, path: Path, data_root: Path, *, is_default: bool) -> None:
    """Print the first record and document, what to check, and the corpus file last."""
    from linly.cli.corpora_view import open_view

    view = open_view(Source(draft.name, draft.corpus, None, data_root), None)
    print(f"{draft.name}: the fields of its first record; * marks those that are used")
    view.show_fields(draft.record)
    view.show_document(draft.document)
    for remark in draft.remarks:
        print(f"note: {printable(remark)}")
    root = "" if is_default else f" --data-root {shlex.quote(str(data_root))}"
    if not is_default:
        print(
            f"note: its paths are below {data_root}: write `data_root: {data_root}` in the recipe, "
            f"or set LINLY_DATA"
        )
    print(f"written: {path}; it is a guess: check it, and see more by")
    print(f"    linly corpora show {shlex.quote(str(path))}{root}\n")
    print(draft.text)


def _paths_by_name(corpora: Path) -> dict[str, object]:
    """Return the paths of the corpus files in a folder, by name; None for a file with an error."""
    found: dict[str, object] = {}
    for path in sorted(corpora.glob("*.yaml")):
        found[path.stem] = None
        with suppress(ConfigError):
            paths = read_yaml(path).get("paths")
            found[path.stem] = None if paths is None else paths.plain()
    return found


def _without_described(
    drafts: Sequence[CorpusDraft], corpora: Path, described: Mapping[str, object]
) -> tuple[CorpusDraft, ...]:
    """Leave out drafts of shards that have a corpus file already.

    Raises:
        ConfigError: If all of them have.
    """
    new = []
    for draft in drafts:
        paths = draft.corpus.paths
        written = list(paths) if isinstance(paths, tuple) else paths
        name = next((name for name, others in described.items() if others == written), None)
        if name is None:
            new.append(draft)
            continue
        text = f"{corpora / name}.yaml exists already for these shards and is left unchanged"
        if len(drafts) == 1:
            raise ConfigError(f"{text}; remove it, or pass another --name")
        print(text)
    if not new:
        raise ConfigError("no corpus file is written: these shards have theirs already")
    return tuple(new)


def _write_new(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(
            f"{path} exists already and is left unchanged; pass another --name"
        ) from None
    except OSError as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written: {error}") from error
