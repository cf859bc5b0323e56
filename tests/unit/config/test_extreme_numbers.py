"""Every number of a recipe, at its extremes, is accepted and works or is refused by its key."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import orjson
import pytest
import typer.main
from pydantic import ValidationError

from linly.cli.main import build_app
from linly.config.corpus import Corpus
from linly.config.curriculum import Curriculum, SourceShare
from linly.config.curve import Curve, RatioGuard
from linly.config.recipe import Recipe, load_recipe
from linly.config.sections.average_setting import WeightAveraging
from linly.config.sections.data_section import DataSettings
from linly.config.sections.evaluation_section import EvaluationSettings
from linly.config.sections.phases_setting import LrScale, TrainingPhase
from linly.config.sections.saving_sections import CheckpointSettings
from linly.config.sections.schedule_setting import Annealing
from linly.config.sections.task_setting import TaskSettings
from linly.config.sections.trainable_setting import Lora
from linly.config.sections.training_section import TrainingSettings
from linly.config.sections.watching_sections import AlarmSettings, GuardSettings
from linly.config.shapes import CURVES
from linly.config.where import Where
from linly.config.yaml.run_position import Position
from linly.config.yaml.strict_model import Model
from linly.config.yaml.yaml import write_yaml
from linly.curriculum.learning_rate import LearningRate
from linly.curriculum.mixture import Mixture
from linly.errors import ConfigError
from linly.monitor.plans.plan_facts import kept_checkpoints

SECTIONS: dict[type[Model], tuple[str | int, ...]] = {
    Recipe: (),
    DataSettings: ("data",),
    TrainingSettings: ("training",),
    TrainingPhase: ("training", "phases", 0),
    LrScale: ("training", "lr_scale"),
    Lora: ("training", "trainable", "lora"),
    Annealing: ("training", "annealing"),
    WeightAveraging: ("training", "average"),
    CheckpointSettings: ("checkpoint",),
    EvaluationSettings: ("evaluation",),
    TaskSettings: ("evaluation", "tasks", 0),
    GuardSettings: ("guards",),
    AlarmSettings: ("alarms",),
    Corpus: ("corpora", "books"),
    Where: ("corpora", "books", "where", 0),
    Curriculum: ("curriculum",),
    SourceShare: ("curriculum", "mixture", "english", "sources", "books"),
    Curve: ("curriculum", "mixture", "english", "ratio"),
    RatioGuard: ("curriculum", "mixture", "english", "ratio", "guard"),
    **dict.fromkeys(CURVES.values(), ("curriculum", "mixture", "english", "ratio")),
}
"""The models of a recipe that hold numbers, and where a file has them."""

FORMS: dict[tuple[type[Model], str], tuple[tuple[str | int, ...], ...]] = {
    (TrainingSettings, "betas"): (("betas", 0), ("betas", 1)),
    (Curve, "points"): (("from",), ("to",), ("until",)),
    (Where, "in_"): (("in", 0),),
    (Where, "not_in"): (("not_in", 0),),
}
"""Fields that a file writes otherwise than by their name."""

EXTREMES = (
    *(0, -1, 1, 2, 3, 8, 200, 1 << 20, 2**31, 2**63 - 1, 2**63, 2**64, 10**30, -(2**63) - 1),
    *(5e-324, 1e-300, 1e-30, 1e-6, 0.5, 1e6, 1e30, 1e308),
    *("0%", "100%", "0.0000001%", "101%", "1T", "10000T", "99999999999T", "1e-320", "-1%"),
)
NO_NUMBERS = (".nan", ".inf", "-.inf", "1e999", "9" * 70)


def written() -> dict[str, Any]:
    """A recipe with all sections, as plain data."""
    return {
        "curriculum": {
            "tokens": "100M",
            "mixture": {
                "english": {
                    "ratio": {
                        "curve": "sigmoid",
                        "from": "30%",
                        "to": "20%",
                        "guard": {"source": "books", "max_rise": "3%", "cap": "60%"},
                    },
                    "sources": {"books": {"share": "100%"}},
                },
                "chinese": {"ratio": "rest", "sources": {"poems": {"share": "100%"}}},
            },
        },
        "corpora": {
            name: {"language": language, "kind": "text", "paths": [f"{name}.jsonl"]}
            for name, language in (("books", "en"), ("poems", "zh"))
        },
        "data_root": "data",
        "run": "runs/one",
        "data": {"sequence_length": 8, "global_batch": 4},
        "training": {"micro_batch": 1, "betas": [0.9, 0.95], "trainable": {"lora": {"rank": 8}}},
        "checkpoint": {"keep_every": None},
    }


def numeric_fields(model: type[Model], seen: set[type[Model]]) -> Iterator[tuple[type[Model], str]]:
    """Fields of a model and of the models in it that can hold a number."""
    seen.add(model)
    for name, field in model.model_fields.items():
        kinds = set(_leaves(field.annotation))
        if kinds & {int, float, Position}:
            yield model, name
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, Model) and kind not in seen:
                yield from numeric_fields(kind, seen)


def _leaves(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _leaves(get_args(annotation)[0])
    elif origin in (Union, types.UnionType, tuple, list, dict):
        for argument in get_args(annotation):
            yield from _leaves(argument)
    else:
        yield annotation


FIELDS = [
    *numeric_fields(Recipe, set()),
    *(field for shape in CURVES.values() for field in numeric_fields(shape, set())),
]


def paths(model: type[Model], field: str) -> list[tuple[str | int, ...]]:
    name = model.model_fields[field].alias or field
    return [(*SECTIONS[model], *form) for form in FORMS.get((model, field), ((name,),))]


PATHS = [path for field in FIELDS for path in paths(*field)]


def with_value(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """The recipe with a value set, in a list or a mapping that is made where it is not there."""
    tree = written()
    if path[:3] == ("corpora", "books", "where"):
        tree["corpora"]["books"]["where"] = [{"field": "score"}]
    if path[:2] == ("training", "phases"):
        del tree["training"]["trainable"]
        tree["training"]["phases"] = [{"trainable": "new_rows"}, {"trainable": "full"}]
    if path[:2] == ("evaluation", "tasks"):
        tree["evaluation"] = {"tasks": [{"name": "icl"}]}
    if path == ("evaluation", "tasks_every"):
        tree["evaluation"] = {"every": 1, "tasks": [{"name": "icl"}]}
    if path[-1] == "max_drop":
        tree["evaluation"] = {"tasks": [{"name": "icl"}]}
        guarded = tree["curriculum"]["mixture"]["english"]["ratio"]
        guarded["guard"] = {"task": "icl", "cap": "60%"}
    if path[:2] == ("training", "average"):
        tree["training"]["average"] = {"kind": "window" if path[2] == "steps" else "ema"}
    if path[:2] in (("training", "annealing"), ("training", "decay")):
        tree["training"]["schedule"] = "wsd"
    if path[:2] == ("training", "annealing"):
        tree["training"]["annealing"] = {"from_step": 1_000_000, "tokens": "1M"}
    for kind, shape in CURVES.items():
        if path[:-1] == SECTIONS[shape] and path[-1] in shape.file_keys():
            ratio = tree["curriculum"]["mixture"]["english"]["ratio"]
            ratio["curve"] = kind
            del ratio["guard"]
    place: Any = tree
    for key, following in pairwise(path):
        if isinstance(place, dict):
            place.setdefault(key, [None] if isinstance(following, int) else {})
        place = place[key]
    place[path[-1]] = value
    return tree


def read(folder: Path, tree: dict[str, Any], raw: tuple[str, str] | None = None) -> Recipe:
    text = write_yaml(tree)
    if raw is not None:
        assert raw[0] in text
        text = text.replace(raw[0], raw[1])
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    return load_recipe(folder / "recipe.yaml")


def put_to_use(recipe: Recipe) -> None:
    """Everything that is computed from a recipe before any data is read."""
    (recipe.data_root.parent / "again.yaml").write_text(write_yaml(recipe.file_form()))
    assert load_recipe(recipe.data_root.parent / "again.yaml") == recipe
    assert orjson.loads(orjson.dumps(recipe.file_form())) == recipe.file_form()
    steps = recipe.num_steps
    assert steps >= 1
    assert kept_checkpoints(recipe.checkpoint, steps) >= 2
    rate = LearningRate.from_recipe(recipe)
    for step in (1, max(1, steps // 2), steps):
        assert rate.at(step) >= 0
    assert rate.integral(steps) >= 0
    mixture = Mixture.from_curriculum(recipe.curriculum, num_rows=recipe.num_rows)
    shares = mixture.shares([0, recipe.num_rows // 2, recipe.num_rows])
    assert (shares >= -1e-9).all()
    assert (shares <= 1 + 1e-9).all()


def shown(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)[1:]


def test_all_models_with_numbers_are_known_here() -> None:
    assert {model for model, _ in FIELDS} <= SECTIONS.keys()
    assert len(PATHS) > 50


@pytest.mark.parametrize("path", PATHS, ids=shown)
def test_extreme_values_work_or_are_refused_by_key(
    path: tuple[str | int, ...], tmp_path: Path
) -> None:
    accepted = 0
    for value in EXTREMES:
        try:
            recipe = read(tmp_path, with_value(path, value))
        except ConfigError as error:
            text = str(error)
            assert str(path[-2 if isinstance(path[-1], int) else -1]) in text, text
            assert "allowed" in text, text
            assert "found" in text or "add up to" in text, text
            continue
        accepted += 1
        put_to_use(recipe)
    assert accepted, f"no value of {shown(path)} was accepted"


@pytest.mark.parametrize("path", PATHS, ids=shown)
def test_values_that_are_no_numbers_are_refused_by_key(
    path: tuple[str | int, ...], tmp_path: Path
) -> None:
    for value in NO_NUMBERS:
        with pytest.raises(ConfigError, match="allowed") as refused:
            read(tmp_path, with_value(path, "PLACE"), ("PLACE", value))
        assert "found" in str(refused.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("model", "field"), FIELDS)
def test_models_refuse_numbers_that_are_not_finite(
    model: type[Model], field: str, value: float
) -> None:
    name = model.model_fields[field].alias or field
    with pytest.raises(ValidationError):
        model.model_validate({name: copy.copy(value)})


def numeric_options() -> list[tuple[str, Any, Any]]:
    """The options of all commands that take numbers, but those that launchers set."""
    found: list[tuple[str, Any, Any]] = []

    def look(command: Any, name: str) -> None:
        for key, below in getattr(command, "commands", {}).items():
            look(below, f"{name} {key}")
        for option in command.params:
            descriptor = getattr(option, "type_descriptor", None)
            kinds = set(_leaves(descriptor.annotation)) if descriptor else set()
            if kinds & {int, float} and not getattr(option, "hidden", False):
                found.append((f"{name} {option.opts[0]}", option, command))

    look(typer.main.get_command(build_app()), "linly")
    assert len(found) > 30
    return found


@pytest.mark.parametrize(("name", "option", "command"), numeric_options())
def test_options_have_both_bounds_and_refuse_nan(name: str, option: Any, command: Any) -> None:
    assert option.min is not None, name
    assert option.max is not None, name
    assert option.max < 2**63, name
    context = typer.Context(command)
    for value in ("nan", "inf", str(2**64), "-1e300", "1e300"):
        with pytest.raises(typer.BadParameter):
            option.process_value(context, value)
