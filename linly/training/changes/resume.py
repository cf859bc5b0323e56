"""Settings that may change when a run resumes, as each says in its annotation (`OnResume`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

import orjson

from linly.config.curriculum import Curriculum
from linly.config.recipe import SECTIONS, Recipe
from linly.config.yaml.strict_model import OnResume, Settings
from linly.curriculum.timeline import Timeline, curriculum_form
from linly.errors import CheckpointError, ConfigError
from linly.training.changes.annealing import with_annealing

_NONE = object()


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One setting that differs between the run's recipe and the one given now."""

    key: str
    before: Any
    now: Any

    def to_json(self) -> dict[str, Any]:
        """Entry for decisions.jsonl."""
        return {"key": self.key, "before": self.before, "now": self.now}

    def __str__(self) -> str:
        """`training.lr: 5e-5 -> 1e-4`."""
        return f"{self.key}: {_shown(self.before)} -> {_shown(self.now)}"


def in_force(recipe: Recipe, timeline: Timeline) -> Recipe:
    """The recipe with the curriculum in force by the run's decisions.

    The recipe may name this curriculum or an earlier one of the run, so that its file need not be
    edited after an amendment. A recipe with any other curriculum is returned unchanged, and
    `allowed_changes` refuses it. A branch's decay likewise comes from the decisions, unless the
    recipe names one.
    """
    if recipe.training.annealing is None:
        recipe = with_annealing(recipe, timeline)
    given = _unnamed(recipe.curriculum)
    if all(_unnamed(curriculum) != given for curriculum in timeline.curricula):
        return recipe
    known = {**timeline.corpora, **recipe.corpora}
    used = sorted({share.corpus for _, share in timeline.curriculum.sources.values()})
    return recipe.model_copy(
        update={
            "curriculum": timeline.curriculum,
            "corpora": {name: known[name] for name in used},
        }
    )


def _unnamed(curriculum: Curriculum) -> Curriculum:
    return curriculum.model_copy(update={"name": ""})


def kept_amendments(run: Path, lost: Sequence[int], *, step: int, is_asked_for: bool) -> list[str]:
    """Notices for amendments that a resume undoes.

    Args:
        run: The run's folder.
        lost: Steps of the amendments.
        step: Step to resume from.
        is_asked_for: Whether `--resume` asks for the step.

    Raises:
        CheckpointError: If the step was not asked for: a later checkpoint is damaged.
    """
    if lost and not is_asked_for:
        raise CheckpointError(
            f"{run}: the run was amended at step {lost[-1]}, but its newest complete checkpoint is "
            f"of step {step}, before the amendment: restore the later checkpoint, or drop the "
            f"amendment with --resume step-{step} (it can be repeated from there)"
        )
    return [f"the amendment made at step {place} no longer applies" for place in lost]


def curriculum_notice(given: Recipe, recipe: Recipe) -> list[str]:
    """Notice for a recipe with a curriculum that an amendment has replaced."""
    if given.curriculum == recipe.curriculum:
        return []
    return [
        f"an amendment has replaced the recipe's curriculum {given.curriculum.name}: the run "
        f"continues with {recipe.curriculum.name}, as in {recipe.run / 'curriculum.yaml'}"
    ]


def plain_before(saved: Mapping[str, Any], timeline: Timeline) -> dict[str, Any]:
    """A checkpoint's recipe with the curriculum in force.

    Args:
        saved: File form of the checkpoint's recipe.
        timeline: Timeline of the decisions up to the checkpoint.
    """
    decided = curriculum_form(timeline.curriculum, timeline.corpora)
    corpora = {
        name: form | _changed_on_the_way(saved["corpora"].get(name, {}), name)
        for name, form in decided["corpora"].items()
    }
    now = {**saved, "curriculum": decided["curriculum"], "corpora": corpora}
    if timeline.annealing is not None:  # the checkpoint may be of the run that was forked
        now["training"] = saved["training"] | {"annealing": timeline.annealing.file_form()}
    return now


def _changed_on_the_way(corpus: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The settings of a corpus that a resume may change."""
    return {
        key: value
        for key, value in corpus.items()
        if policy_of(f"corpora.{name}.{key}") is not OnResume.REFUSED
    }


def policy_of(key: str) -> OnResume:
    """Whether a resume may change a setting.

    Args:
        key: Key of the setting in a recipe, such as `training.lr`; a key that this version does
            not know is refused.
    """
    settings: type[Settings] = Recipe
    names = key.split(".")
    while names and (name := names.pop(0)) in settings.model_fields:
        if (policy := settings.policy(name)) is not None:
            return policy
        inner = settings.inner(name)
        assert inner is not None, key
        if get_origin(settings.model_fields[name].annotation) is dict:
            names = names[1:]
        settings = inner
    return OnResume.REFUSED


def allowed_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[SettingChange]:
    """Changes of a resumed run's recipe, all of which a resume may make.

    Args:
        before: File form of the checkpoint's recipe.
        now: File form of the recipe at this start.

    Raises:
        ConfigError: If any other setting changed; the error lists each one.
    """
    saved, defaults = _flat(before), _default_settings()
    changes = [
        change
        for change in differences(before, now)
        # A setting that the checkpoint's version did not have had the effect of its default.
        if change.key in saved or change.now != defaults.get(change.key, _NONE)
    ]
    refused = [change for change in changes if policy_of(change.key) is OnResume.REFUSED]
    if refused:
        lines = "\n".join(f"  {change}" for change in refused)
        is_future = all(change.key.startswith("curriculum.") for change in refused)
        amend = "Apply it by `linly amend RUN CURRICULUM`, or undo" if is_future else "Undo"
        raise ConfigError(
            f"the run has another recipe; before -> now:\n{lines}\n{amend} these changes to "
            "resume, or start another run with run=PATH (its model= may be an export of this one)"
        )
    return changes


def recorded(changes: Iterable[SettingChange]) -> list[SettingChange]:
    """The changes that decisions.jsonl must record."""
    return [change for change in changes if policy_of(change.key) is OnResume.RECORDED]


def _default_settings() -> dict[str, Any]:
    """Defaults of all settings in a recipe's sections, by key."""
    sections = {name: Recipe.model_fields[name].default for name in SECTIONS}
    return _flat({name: section.file_form() for name, section in sections.items() if section})


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[SettingChange]:
    """All settings that differ, by key; the order of sources and keys is ignored."""
    old, new = _flat(before), _flat(now)
    return [
        SettingChange(key, old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Mappings flattened to dotted keys; an empty mapping equals a missing key."""
    if not isinstance(value, Mapping):
        return {key: value}
    return {
        inner_key: inner
        for name, entry in value.items()
        for inner_key, inner in _flat(entry, f"{key}.{name}" if key else str(name)).items()
    }


def _shown(value: Any) -> str:
    if value is None:
        return "(missing)"
    return value if isinstance(value, str) else orjson.dumps(value).decode()
