"""Starts a project: a recipe, its curriculum and its corpora for a model and data.

model folder, data --look, measure, plan--> texts --read back--> files
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from linly.config.recipe import load_recipe
from linly.config.sections.languages import Languages
from linly.config.yaml.overrides import escape_variables
from linly.errors import ConfigError, DataError
from linly.files import publish_together
from linly.starter.advice import Advice, forgetting_advice, vocabulary_advice
from linly.starter.found_corpora import FoundCorpora, find_corpora, find_public_corpora
from linly.starter.measured_corpora import MeasuredCorpus, measure_corpus, source_of
from linly.starter.model_look import ModelLook, look_at_model
from linly.starter.planned_run import PlannedRun, plan_run
from linly.starter.starter_texts import RecipePlaces, curriculum_text, recipe_text
from linly.starter.text_measures import measure_texts, sample_texts

DATA_VARIABLE = "LINLY_DATA"
_NAME_LIMIT = 64
_UNDETERMINED = "und"


@dataclass(frozen=True, slots=True)
class StartRequest:
    """Wishes of a user.

    Attributes:
        folder: Folder to write to.
        model: Model folder.
        languages: Languages of the run.
        data: Patterns of shards, folders, files and corpus files; none looks for public corpora.
        data_root: Folder of the shards, if given.
        public_corpora: Folder of the corpus files of public corpora.
        tokens: Tokens of the run; None chooses them from the data.
        name: Name of the recipe and its curriculum; None takes those of model and language.
    """

    folder: Path
    model: Path
    languages: Languages
    data: tuple[str, ...]
    data_root: Path | None
    public_corpora: Path
    tokens: int | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Files of a project, and the findings that they follow from.

    Attributes:
        name: Name of the recipe and its curriculum.
        look: Properties of the model.
        data_root: Folder of the shards.
        corpora: Measured corpora.
        left_out: Files that no corpus reads, with the reason.
        run: Plan of the run.
        advice: Advice before the run.
        files: Texts of the files to write, by their paths below the folder.
    """

    name: str
    look: ModelLook
    data_root: Path
    corpora: tuple[MeasuredCorpus, ...]
    left_out: Mapping[str, str]
    run: PlannedRun
    advice: tuple[Advice, ...]
    files: Mapping[str, str]


def prepare_start(request: StartRequest) -> Start:
    """Look at model and data, choose, and compose the files; nothing is written to the folder.

    Raises:
        ConfigError: If the model cannot be trained, or a file exists already.
        DataError: If the data cannot be read, or hold no text in the learned language.
    """
    look = look_at_model(request.model)
    name = request.name or _name(look, request.languages)
    found = _find(request)
    corpora = tuple(
        measure_corpus(one, look, request.languages, found.data_root) for one in found.corpora
    )
    run = plan_run(name, look, corpora, request.languages, tokens=request.tokens)
    advice = _advice(request, look, corpora, found.data_root, run)
    files = {
        **_corpus_texts(corpora, run),
        f"curricula/{name}.yaml": curriculum_text(run, request.languages),
    }
    recipe = f"recipes/{name}.yaml"

    def with_recipe(data_root: str, model: str) -> dict[str, str]:
        places = RecipePlaces(name, data_root, model)
        return {
            recipe: recipe_text(places, look, run.settings, request.languages, advice),
            **files,
        }

    absolute = [_escaped(os.path.abspath(path)) for path in (found.data_root, request.model)]
    _read_back(with_recipe(*absolute), recipe, run, near=request.folder)
    model = str(look.hub) if look.hub else _written(request.model, request.folder)
    files = with_recipe(_written_root(found.data_root, request.folder), model)
    _refuse_existing(request.folder, files)
    return Start(name, look, found.data_root, corpora, found.left_out, run, advice, files)


def write_start(start: Start, folder: Path) -> None:
    """Write the files of a project; none appears unless all can be written."""
    publish_together(folder, {name: text.encode() for name, text in start.files.items()})


def _name(look: ModelLook, languages: Languages) -> str:
    """Name of the recipe: those of the model and of the learned language."""
    model = re.sub(r"[^\w-]+", "-", look.name, flags=re.ASCII).strip("-")
    language = languages.learned
    return f"{model[: _NAME_LIMIT - len(language) - 1]}-{language}".removeprefix("-")


def _find(request: StartRequest) -> FoundCorpora:
    if request.data:
        found = find_corpora(request.data, request.data_root)
    elif request.data_root is not None:
        found = find_public_corpora(request.public_corpora, request.data_root)
        if not found.corpora:
            raise DataError(
                f"none of linly's corpora has files below {request.data_root}; pass your shards "
                f"with --data GLOB, or see `linly corpora list` for the places of public corpora"
            )
    else:
        raise ConfigError(
            f"no data to look at: pass your shards with --data GLOB (repeatable), or set "
            f"{DATA_VARIABLE} to the folder of the public corpora that linly has corpus files for"
        )
    unclear = [one for one in found.corpora if one.corpus.language == _UNDETERMINED]
    if unclear:
        raise DataError(
            f"the language of {unclear[0].name} ({', '.join(map(str, unclear[0].corpus.paths))}) "
            f"is not clear: write its corpus file with `linly corpora new`, set `language` in it, "
            f"and pass that file with --data"
        )
    return found


def _advice(
    request: StartRequest,
    look: ModelLook,
    corpora: Sequence[MeasuredCorpus],
    data_root: Path,
    run: PlannedRun,
) -> tuple[Advice, ...]:
    learned = [one for one in corpora if one.role == "learned"]
    texts = (
        text
        for one in learned
        for text in sample_texts(source_of(one.found, look, data_root), one.found.shards)
    )
    found = (
        forgetting_advice(run, request.languages),
        vocabulary_advice(
            look,
            measure_texts(texts, look.tokenizer),
            request.languages,
            corpora=[one.name for one in learned],
            folder=request.folder,
            data_root=data_root,
        ),
    )
    return tuple(one for one in found if one is not None)


def _corpus_texts(corpora: Sequence[MeasuredCorpus], run: PlannedRun) -> dict[str, str]:
    """Texts of the corpora that the curriculum uses, by path."""
    used = run.curriculum.sources
    return {f"corpora/{one.name}.yaml": one.found.text for one in corpora if one.name in used}


def _read_back(files: Mapping[str, str], recipe: str, run: PlannedRun, *, near: Path) -> None:
    """Read the files as a run does, from a temporary folder beside the place of the project."""
    place = next(path for path in (near, *near.absolute().parents) if path.is_dir())
    with tempfile.TemporaryDirectory(dir=place, prefix=".linly-init-") as folder:
        publish_together(Path(folder), {name: text.encode() for name, text in files.items()})
        loaded = load_recipe(Path(folder) / recipe)
    assert loaded.curriculum == run.curriculum
    assert loaded.num_steps == run.settings.num_steps


def _refuse_existing(folder: Path, files: Mapping[str, str]) -> None:
    """Refuse to overwrite files, except with the same text.

    Raises:
        ConfigError: If a file exists with another text; names all of them.
    """
    existing = [
        str(folder / name)
        for name, text in files.items()
        if (folder / name).exists() and (folder / name).read_bytes() != text.encode()
    ]
    if existing:
        raise ConfigError(
            f"these files exist already and are left unchanged: {', '.join(existing)}; choose "
            f"another folder or --name, or remove them"
        )


def _written_root(data_root: Path, folder: Path) -> str:
    """Return the data root as a recipe names it."""
    variable = os.environ.get(DATA_VARIABLE)
    if variable and Path(variable).resolve() == data_root.resolve():
        return "${" + DATA_VARIABLE + "}"
    return _written(data_root, folder)


def _written(path: Path, folder: Path) -> str:
    """Return a path as a recipe names it: relative to the recipe unless it was absolute."""
    text = str(path)
    if not path.is_absolute():
        text = os.path.relpath(os.path.abspath(path), os.path.abspath(folder / "recipes"))
    return _escaped(text)


def _escaped(text: str) -> str:
    """Return a text that a recipe reads without expanding variables in it."""
    return str(escape_variables(text))
