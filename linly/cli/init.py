"""`linly init`: the recipe, curriculum and corpus files of a first run, for a model and data."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linly.cli.model_options import model_option
from linly.errors import ConfigError

if TYPE_CHECKING:
    from linly.config.sections.languages import Languages
    from linly.starter.first_run import Start


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init")(init)


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to; may exist.")],
    model: Annotated[Path, model_option("Model with safetensors and a vocabulary.")],
    language: Annotated[str, typer.Option(help="Language to learn, such as zh.")],
    kept: Annotated[str, typer.Option(help="Language that the model knows.")] = "en",
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="Shards: a quoted pattern, a folder, a file, a URL, or a corpus file (.yaml); "
            "repeatable. Default: linly's public corpora below the data root.",
        ),
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option(
            envvar="LINLY_DATA",
            exists=True,
            file_okay=False,
            help="Folder of the shards (default: one that holds all of them).",
        ),
    ] = None,
    tokens: Annotated[
        str | None, typer.Option(help="Tokens to train on, such as 2B (default: from the data).")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the recipe (default: model and language).")
    ] = None,
) -> None:
    """Write the recipe, curriculum and corpus files of a first run, for a model and data.

    The files say beside each value why it was chosen. No file is overwritten, and nothing is
    trained. A model on the hub (org/name) is downloaded.
    """
    from linly.shipped import CORPORA
    from linly.starter.first_run import StartRequest, prepare_start, write_start

    request = StartRequest(
        folder=folder,
        model=model,
        languages=_languages(kept, language),
        data=tuple(data or ()),
        data_root=data_root,
        public_corpora=CORPORA,
        tokens=None if tokens is None else _tokens(tokens),
        name=None if name is None else _name(name),
    )
    start = prepare_start(request)
    write_start(start, folder)
    for line in _lines(start, folder, request.languages):
        typer.echo(line)


def _languages(kept: str, learned: str) -> Languages:
    from pydantic import ValidationError

    from linly.config.sections.languages import Languages
    from linly.config.yaml.strict_model import first_problem

    try:
        return Languages(kept=kept, learned=learned)
    except ValidationError as error:
        context = first_problem(error).context or {}
        option = "--kept" if context["path"] == ("kept",) else "--language"
        raise ConfigError(f"{option}: {context['text']}") from None


def _name(written: str) -> str:
    from pydantic_core import PydanticCustomError

    from linly.config.yaml.strict_model import check_name

    try:
        check_name(written)
    except PydanticCustomError as error:
        raise ConfigError(f"--name: {(error.context or {})['text']}") from None
    return written


def _tokens(written: str) -> int:
    from pydantic_core import PydanticCustomError

    from linly.config.yaml.quantities import parse_tokens

    try:
        return parse_tokens(written)
    except PydanticCustomError as error:
        raise ConfigError(f"--tokens: {(error.context or {})['text']}") from None


def _lines(start: Start, folder: Path, languages: Languages) -> Iterator[str]:
    """Report what was found and written, what to know, and the next commands."""
    yield f"model: {start.look.describe()}"
    yield f"data in {start.data_root}:"
    yield from _corpus_lines(start, languages)
    yield from (f"left out: {path}: {reason}" for path, reason in start.left_out.items())
    for corpus in start.corpora:
        yield from (f"note: {corpus.name}: {remark}" for remark in corpus.found.remarks)
    yield from (f"note: {note}" for note in start.look.notes)
    num_corpora = sum(path.startswith("corpora/") for path in start.files)
    written = [str(folder / path) for path in start.files if not path.startswith("corpora/")]
    yield f"written: {', '.join(written)}, and {num_corpora} files in {folder / 'corpora'}"
    for advice in start.advice:
        yield f"\nnote: {advice.text}" + ":" * bool(advice.commands)
        yield from (f"  {command}" for command in advice.commands)
    yield "\nnext:"
    recipe = shlex.quote(f"recipes/{start.name}.yaml")
    if folder.resolve() != Path.cwd():
        yield f"  cd {shlex.quote(str(folder))}"
    for command in ("check", "plan", "train"):
        yield f"  linly {command} {recipe}"


def _corpus_lines(start: Start, languages: Languages) -> Iterator[str]:
    from linly.curriculum.wording import amount

    width = max(len(corpus.name) for corpus in start.corpora)
    for corpus in start.corpora:
        size = f"{amount(corpus.available.tokens, 3)} tokens"
        if corpus.role is None:
            size = f"not used: neither in {languages.kept} nor {languages.learned}"
        elif corpus.name not in start.run.curriculum.sources:
            size += ", not used: too little for a share"
        found = corpus.found.corpus
        yield f"  {corpus.name.ljust(width)}  {found.language:<5}  {found.kind:<11}  {size}"
