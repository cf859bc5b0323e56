"""The recipe file: joins a curriculum and corpora with a model, an optimizer and their settings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer, model_validator

from linly.config.corpus import (
    TEMPLATES,
    Corpus,
    corpus_files,
    make_corpus,
    misfit,
    needs_chat,
    with_chat,
    with_packing,
    with_pinned_lists,
)
from linly.config.curriculum import Curriculum
from linly.config.deepspeed import with_own_deepspeed
from linly.config.sections.data_section import DataSettings
from linly.config.sections.evaluation_section import EvaluationSettings
from linly.config.sections.languages import Languages, with_prompts
from linly.config.sections.phases_setting import check_ends, last_steps
from linly.config.sections.saving_sections import CheckpointSettings
from linly.config.sections.tracker_sections import MlflowSettings, TrackioSettings, WandbSettings
from linly.config.sections.training_section import TrainingSettings, with_micro_batch
from linly.config.sections.watching_sections import AlarmSettings, GuardSettings
from linly.config.source import DATA_VARIABLE, Source, sources_of, with_data_root
from linly.config.yaml.json_forms import (
    ALLOWED,
    JsonForm,
    JsonSchema,
    either,
    without_required,
)
from linly.config.yaml.overrides import (
    Override,
    escape_variables,
    expand_variables,
    inherit,
    named_path,
    parse_override,
    relative_to_origin,
    with_override,
)
from linly.config.yaml.quantities import Count, Text
from linly.config.yaml.strict_model import (
    OnResume,
    Settings,
    check_name,
    describe,
    error_at,
    found,
    problem,
    unknown,
    validate,
)
from linly.config.yaml.yaml import Located, Origin, read_yaml, shown, write_yaml
from linly.errors import ConfigError
from linly.storage.hub import HubModel, configuration_folder, model_place, pin


def _parse_model(value: Any) -> Any:
    """A model in a resolved recipe: an absolute path, or a hub id."""
    if isinstance(value, str):
        return HubModel.parse(value) or Path(value)
    if not isinstance(value, Path | HubModel):
        raise problem(found(value, "a model folder or a hub id such as org/name"))
    return value


ModelPlace = Annotated[
    Path | HubModel,
    BeforeValidator(_parse_model),
    PlainSerializer(str),
    JsonForm(lambda: {"type": "string", ALLOWED: "path of a folder, or a hub id"}),
]


SECTIONS = (
    *("languages", "data", "training", "checkpoint", "evaluation", "guards", "alarms", "wandb"),
    *("mlflow", "trackio"),
)
"""Keys of a recipe whose own keys are merged by `extends`."""


class Recipe(Settings):
    """Complete description of a run: equal recipes over equal data train equally.

    Attributes:
        name: Name in logs and pages; by default the file's stem.
        run: Run folder; its name identifies the run when it resumes.
        data_root: Folder that the corpora's patterns are relative to; by default $LINLY_DATA.
        model: Model folder (weights, config and tokenizer), or a model on the hub: org/name or
            org/name@revision. Without it only the data path runs.
        languages: Languages that the run keeps and learns; they only describe it.
        data: Path from documents to global batches.
        training: Optimizer and training step.
        checkpoint: Saving and keeping of checkpoints.
        evaluation: Evaluation on held-out documents, and sampled prompts.
        guards: Conditions under which a step is skipped and the run fails.
        alarms: Thresholds of the alarms.
        wandb: Curves at Weights & Biases; without this section nothing is sent.
        mlflow: Curves at MLflow; without this section nothing is sent.
        trackio: Curves at Trackio; without this section none are written.
        stop_at_step: Step at which the run ends early; schedules keep their full length.
        curriculum: Curriculum file, or the curriculum itself; `linly:curricula/NAME.yaml` comes
            with linly.
        corpora: Corpora that the curriculum uses: folders of corpus files, or corpora by name;
            `linly:corpora` is the folder that comes with linly.
        corpus_folders: Folders in which an amended curriculum's other corpora are looked up; those
            of `corpora` if it lists folders.
    """

    name: Annotated[Text, OnResume.FREE]
    run: Annotated[Path, OnResume.FREE]
    data_root: Annotated[Path, OnResume.FREE]
    # Compared by its identity, not by its path.
    model: Annotated[ModelPlace | None, OnResume.FREE] = None
    languages: Annotated[Languages, OnResume.FREE] = Languages()
    data: DataSettings = DataSettings()
    training: TrainingSettings = TrainingSettings()
    checkpoint: Annotated[CheckpointSettings, OnResume.FREE] = CheckpointSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    guards: Annotated[GuardSettings, OnResume.RECORDED] = GuardSettings()
    alarms: Annotated[AlarmSettings, OnResume.FREE] = AlarmSettings()
    wandb: Annotated[WandbSettings | None, OnResume.FREE] = None
    mlflow: Annotated[MlflowSettings | None, OnResume.FREE] = None
    trackio: Annotated[TrackioSettings | None, OnResume.FREE] = None
    stop_at_step: Annotated[Count | None, OnResume.FREE] = None
    curriculum: Curriculum
    corpora: dict[str, Corpus]
    corpus_folders: Annotated[tuple[Path, ...], OnResume.FREE] = ()

    @classmethod
    def file_schema(cls, schema: JsonSchema) -> JsonSchema:
        """Add what is allowed in a file only; any key may come from the recipe that it extends."""
        keys = schema["properties"]
        path = {"type": "string", "minLength": 1}
        folders = {"type": "array", "items": path, "minItems": 1}
        keys["curriculum"] = either(
            keys["curriculum"], path, allowed="path of a file, or a mapping"
        )
        keys["corpora"] = either(
            keys["corpora"], path, folders, allowed="list of folders, or a mapping"
        )
        for section in SECTIONS:
            keys[section] = without_required(keys[section])
        extended = {
            "description": "Recipe whose keys this file overrides: a path relative to this file, "
            "or `linly:recipes/NAME.yaml`."
        }
        return without_required(schema) | {"properties": {"extends": path | extended} | keys}

    @property
    def num_rows(self) -> int:
        """Rows of the run; the last ones may not fill a step."""
        return self.curriculum.tokens // self.data.sequence_length

    @property
    def step_tokens(self) -> int:
        """Positions of a step."""
        return self.data.global_batch * self.data.sequence_length

    @property
    def curriculum_steps(self) -> int:
        """Whole steps of the curriculum."""
        return self.num_rows // self.data.global_batch

    @property
    def num_steps(self) -> int:
        """Whole steps of the run: an annealing branch ends before its curriculum."""
        annealing = self.training.annealing
        return annealing.last_step(self.step_tokens) if annealing else self.curriculum_steps

    @property
    def phase_ends(self) -> tuple[int, ...]:
        """Last step of each training phase; empty without phases. A branch keeps its trunk's."""
        steps = self.curriculum_steps
        return last_steps(self.training.phases, num_steps=steps, step_tokens=self.step_tokens)

    @property
    def sources(self) -> dict[str, Source]:
        """Sources of the curriculum by name, sorted."""
        shares = {name: share for name, (_, share) in self.curriculum.sources.items()}
        return sources_of(shares, self.corpora, self.data_root)

    @classmethod
    def from_file_form(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Fill in the defaults that depend on other settings."""
        return with_micro_batch(with_prompts(value))

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        check_name(self.name, "name")
        check_name(self.run.name, "run")
        batch, micro = self.data.global_batch, self.training.micro_batch
        if batch % micro:
            text = f"found {micro}, allowed: a divisor of data.global_batch ({batch})"
            raise problem(text, "training", "micro_batch")
        self._check_guarded_tasks()
        if not self.curriculum_steps:
            text = (
                f"found {self.curriculum.tokens:,} tokens, allowed: at least one step of "
                f"{batch} rows x {self.data.sequence_length} = {self.step_tokens:,} tokens "
                "(data.global_batch x data.sequence_length)"
            )
            raise problem(text, "curriculum", "tokens")
        self.training.check_length(num_steps=self.curriculum_steps, step_tokens=self.step_tokens)
        check_ends(self.training.phases, tokens=self.curriculum.tokens)
        return self

    def _check_guarded_tasks(self) -> None:
        tasks = [task.name for task in self.evaluation.tasks]
        for group, guard in self.curriculum.guards.items():
            if guard.task is not None and guard.task not in tasks:
                text = unknown("task of evaluation.tasks", guard.task, tasks)
                raise problem(text, "curriculum", "mixture", group, "ratio", "guard", "task")

    def file_form(self) -> dict[str, Any]:
        """Return plain data that reads back equal, including the curriculum and corpora."""
        documents = {  # variables in them are not expanded
            "curriculum": self.curriculum.file_form(),
            "corpora": {name: corpus.file_form() for name, corpus in self.corpora.items()},
        }
        form: dict[str, Any] = escape_variables(super().file_form()) | documents
        return form

    def to_yaml(self) -> str:
        """Return the resolved file; `load_recipe` reads it back equal."""
        return write_yaml(self.file_form())


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe with the recipes it extends, the files it names and overrides.

    Later overrides win. Relative paths are relative to the file that names them; `run` and paths in
    overrides are relative to the working directory. All paths of the result are absolute.
    `extends`, `curriculum` and `corpora` may name what comes with linly (`linly.shipped`).

    Args:
        path: The recipe file, or `linly:recipes/NAME.yaml`.
        overrides: `key.path=value`; keys reach into `curriculum.` and `corpora.NAME.`.

    Raises:
        ConfigError: If anything is invalid; names file, line and key of every error.
    """
    parsed = [parse_override(text) for text in overrides]
    is_inner = {id(o): o.path[0] in ("curriculum", "corpora") and len(o.path) > 1 for o in parsed}
    tree = _read_extended(path, ())
    for override in parsed:
        if not is_inner[id(override)]:
            tree = with_override(tree, override)
    tree = with_data_root(with_own_deepspeed(_expand(tree)))
    _check_top(tree)
    inner = [override for override in parsed if is_inner[id(override)]]
    curriculum = _curriculum(tree, inner, default_name=path.stem)
    corpora = _corpora(tree, inner, curriculum)
    return _assemble(tree, path.stem, curriculum[:2], corpora)


def _read_extended(path: Path, chain: tuple[Path, ...]) -> Located:
    """Read a recipe file and merge it over the ones it extends."""
    tree = read_yaml(path)
    if not isinstance(tree.value, dict):
        text = found(tree.plain(), "a mapping of keys to values")
        raise ConfigError(f"{tree.origin}: {text}")
    parent = tree.value.pop("extends", None)
    if parent is None:
        return tree
    expanded = expand_variables(parent, ("extends",))
    if not isinstance(expanded.value, str):
        text = found(expanded.plain(), "the path of one recipe")
        raise ConfigError(f"{parent.origin}: extends: {text}")
    parent_path = named_path("extends", expanded)
    chain = (*chain, Path(os.path.realpath(path)))
    if Path(os.path.realpath(parent_path)) in chain:
        names = " -> ".join(shown(file) for file in (*chain, parent_path))
        raise ConfigError(f"{parent.origin}: extends: found a circle: {names}")
    if not parent_path.is_file():
        text = found(parent.value, f"an existing recipe; {shown(parent_path)} does not exist")
        raise ConfigError(f"{parent.origin}: extends: {text}")
    return inherit(_read_extended(parent_path, chain), tree, sections=frozenset(SECTIONS))


def _expand(tree: Located) -> Located:
    """Expand variables in everything that belongs to the recipe itself."""
    assert isinstance(tree.value, dict)
    entries = {}
    for key, value in tree.value.items():
        is_other_document = key in ("curriculum", "corpora") and isinstance(value.value, dict)
        entries[key] = value if is_other_document else expand_variables(value, (key,))
    return Located(entries, tree.origin)


def _check_top(tree: Located) -> None:
    assert isinstance(tree.value, dict)
    known = tuple(Recipe.model_fields)
    for key, value in tree.value.items():
        if key == "extends":
            raise ConfigError(
                f"{value.origin}: extends is allowed only in a recipe file; pass that file instead"
            )
        if key not in known:
            names = (*(name for name in known if name != "corpus_folders"), "extends")
            raise error_at(tree, (key,), unknown("key", key, names))
    for key in ("curriculum", "corpora", "data_root", "run"):
        if key not in tree.value:
            text = "missing, this key is required (in the recipe, or what it extends)"
            if key == "data_root":
                text += f"; or export {DATA_VARIABLE}=FOLDER"
            raise ConfigError(f"{tree.origin}: {key}: {text}")


def _curriculum(
    tree: Located, overrides: Sequence[Override], *, default_name: str
) -> tuple[Curriculum, Located, tuple[str, ...]]:
    """Load the curriculum: itself, its document, and the document's key path in the recipe."""
    node = tree.get("curriculum")
    assert node is not None
    prefix: tuple[str, ...] = ()
    name = default_name
    if isinstance(node.value, str):
        path = _existing("curriculum", node, "file")
        document, name = read_yaml(path), path.stem
    elif isinstance(node.value, dict):
        document, prefix = node, ("curriculum",)
    else:
        raise error_at(tree, ("curriculum",), found(node.plain(), "the path of a curriculum"))
    for override in overrides:
        if override.path[0] == "curriculum":
            document = with_override(document, override, depth=1)
    return validate(Curriculum, document, prefix=prefix, name=name), document, prefix


def _corpora(
    tree: Located,
    overrides: Sequence[Override],
    curriculum: tuple[Curriculum, Located, tuple[str, ...]],
) -> dict[str, Corpus]:
    """Load the corpora that the curriculum uses, by name."""
    documents, where = _corpus_documents(tree)
    made, curriculum_tree, prefix = curriculum
    used = {share.corpus for _, share in made.sources.values()}
    _check_corpus_overrides(overrides, documents, used)
    corpora: dict[str, Corpus] = {}
    for source, (group, share) in made.sources.items():
        key = ("mixture", group, "sources", source)
        if share.corpus not in documents:
            text = f"{unknown('corpus', share.corpus, documents)} (in {where})"
            raise error_at(curriculum_tree, key, text, prefix=prefix)
        if share.corpus not in corpora:
            corpora[share.corpus] = _corpus(share.corpus, documents[share.corpus], overrides)
        kind = corpora[share.corpus].kind
        if share.template is not None and share.template not in TEMPLATES[kind]:
            text = misfit(share.template, kind)
            raise error_at(curriculum_tree, (*key, "template"), text, prefix=prefix)
    return corpora


def _corpus_documents(tree: Located) -> tuple[dict[str, Path | Located], str]:
    """Return corpus name -> file or document in the recipe, and a text of where they are."""
    node = tree.get("corpora")
    assert node is not None
    if isinstance(node.value, dict):
        return dict(node.value), str(node.origin)
    folders = _corpus_folders(tree, node)
    where = ", ".join(shown(folder) for folder in folders)
    return dict(corpus_files(folders)), where


def _corpus_folders(tree: Located, node: Located) -> list[Path]:
    items = node.value if isinstance(node.value, list) else [node]
    if not items or not all(isinstance(item.value, str) for item in items):
        allowed = "a list of folders, such as [../../corpora]"
        raise error_at(tree, ("corpora",), found(node.plain(), allowed))
    return [_existing("corpora", item, "folder") for item in items]


def _corpus(name: str, document: Path | Located, overrides: Sequence[Override]) -> Corpus:
    inline = isinstance(document, Located)
    tree = document if isinstance(document, Located) else read_yaml(document)
    for override in overrides:
        if override.path[:2] == ("corpora", name):
            tree = with_override(tree, override, depth=2)
    corpus = make_corpus(name, tree, prefix=("corpora", name) if inline else ())
    return with_pinned_lists(corpus, tree)


def _check_corpus_overrides(
    overrides: Sequence[Override], documents: dict[str, Path | Located], used: set[str]
) -> None:
    for override in overrides:
        if override.path[0] != "corpora":
            continue
        name, origin = override.path[1], override.value.origin
        if name not in documents:
            raise ConfigError(f"{origin}: {unknown('corpus', name, documents)}")
        if name not in used:
            names = ", ".join(sorted(used))
            text = f"the curriculum does not use this corpus, allowed: {names}"
            raise ConfigError(f"{origin}: {text}")


def _existing(key: str, node: Located, what: Literal["file", "folder"]) -> Path:
    path = named_path(key, node)
    if not (path.is_file() if what == "file" else path.is_dir()):
        text = f"found {describe(node.value)}, allowed: an existing {what}"
        raise ConfigError(f"{node.origin}: {key}: {text}; {shown(path)} does not exist")
    return path


def _assemble(
    tree: Located, name: str, curriculum: tuple[Curriculum, Located], corpora: dict[str, Corpus]
) -> Recipe:
    """Build the recipe from its document, curriculum and corpora."""
    assert isinstance(tree.value, dict)
    entries = dict(tree.value) | {"curriculum": curriculum[1]}  # for the lines in it
    for key in ("data_root", "run"):
        node = entries.get(key)
        if node is not None and isinstance(node.value, str):
            entries[key] = Located(str(_path(tree, key, node)), node.origin)
    made: dict[str, Any] = {"curriculum": curriculum[0], "corpora": corpora}
    node = entries.get("model")
    if node is not None and isinstance(node.value, str):
        model = model_place(node.value, _path(tree, "model", node))
        if isinstance(model, HubModel):
            model = _recorded(model, Path(str(entries["run"].value)))
        made |= _with_chat(corpora, curriculum[0], model)
    if not isinstance(entries["corpora"].value, dict):
        folders = _corpus_folders(tree, entries["corpora"])
        made["corpus_folders"] = [Path(os.path.abspath(folder)) for folder in folders]
    recipe = validate(Recipe, Located(entries, tree.origin), name=name, made=made)
    packed = {key: with_packing(one, recipe.data.packing) for key, one in recipe.corpora.items()}
    return recipe.model_copy(update={"corpora": packed})


def _recorded(model: HubModel, run: Path) -> HubModel:
    """The model at the commit that a run has recorded, if the run started from its repository."""
    file = run / "recipe.yaml"
    if model.is_pinned or not file.is_file():
        return model
    named = read_yaml(file).get("model")
    known = HubModel.parse(str(named.value)) if named is not None else None
    return known if known is not None and known.repository == model.repository else model


def _with_chat(
    corpora: Mapping[str, Corpus], curriculum: Curriculum, model: Path | HubModel
) -> dict[str, Any]:
    """The model, and the corpora with its chat format where their template needs it.

    A model on the hub is looked up only then; it is at a commit afterwards.
    """
    shares = [share for _, share in curriculum.sources.values()]
    if not any(needs_chat(corpora[share.corpus], share.template) for share in shares):
        return {"model": model}
    if isinstance(model, HubModel):
        model = pin(model)
    folder, found = configuration_folder(model), dict(corpora)
    for share in shares:
        found[share.corpus] = with_chat(found[share.corpus], share.template, folder)
    return {"model": model, "corpora": found}


def _path(tree: Located, key: str, node: Located) -> Path:
    text = str(node.value)
    if not text or "\0" in text:
        raise error_at(tree, (key,), found(text, "a path"))
    if key == "run":
        if ".." in Path(text).parts:
            raise error_at(
                tree, (key,), found(text, "a run folder such as runs/NAME, without '..'")
            )
        origin = Origin(node.origin.source, node.origin.line, Path.cwd())
        node = Located(node.value, origin)
    return relative_to_origin(node)
