"""What may change between two starts of a run: the past is immutable, the future may be edited.

Some settings are free (they change no number that matters), some are changed on the record, and
the rest is refused, because the run would no longer be what its name says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import orjson

from linly.config.curriculum import Curriculum
from linly.config.recipe import Recipe
from linly.curriculum.decisions import Course, curriculum_form
from linly.errors import CheckpointError, ConfigError

FREE = (
    "name",
    "run",
    "data_root",
    "model",  # compared by its configuration and tokenizer, not by its path
    "stop_at_step",
    "curriculum.name",
    "corpus_folders",
    "data.producers",
    "data.prefetch_rows",
    "data.timeout_s",
    "training.micro_batch",
    "training.activation_checkpointing",
    "training.attention_backend",
    "training.loss",
    "training.compile",
    "training.reduce_bucket_size",
    "training.allgather_bucket_size",
    "training.collective_timeout_s",
    "checkpoint",
    "evaluation.max_documents",
    "evaluation.prompts",
    "evaluation.max_new_tokens",
    "alarms",
    "wandb",
    "corpora.*.read_attempts",
    "corpora.*.read_delay_s",
)
RECORDED = (
    "training.lr",
    "training.schedule",
    "training.warmup",
    "training.final_lr",
    "training.weight_decay",
    "training.betas",
    "training.eps",
    "training.clip",
    "training.deepspeed",
    "evaluation.every",  # a guarded curve decides at evaluations
    "guards",
    "corpora.*.max_bad_fraction",
    "corpora.*.damaged_shards",
)
"""A `*` stands for one name."""


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that differs between the run's recipe and the one given now."""

    key: str
    before: Any
    now: Any

    def to_json(self) -> dict[str, Any]:
        """As decisions.jsonl keeps it."""
        return {"key": self.key, "before": self.before, "now": self.now}

    def __str__(self) -> str:
        """`training.lr: 5e-5 -> 1e-4`."""
        return f"{self.key}: {_shown(self.before)} -> {_shown(self.now)}"


def in_force(recipe: Recipe, course: Course) -> Recipe:
    """The recipe with the curriculum that the run's decisions have put in force.

    The recipe may say that one or any that held earlier in the run: its file need not be edited
    after an amendment. With a curriculum that never held it is given back as it is, for
    `recorded_changes` to refuse.
    """
    given = _unnamed(recipe.curriculum)
    if all(_unnamed(curriculum) != given for curriculum in course.curricula):
        return recipe
    known = {**course.corpora, **recipe.corpora}
    used = sorted({share.corpus for _, share in course.curriculum.sources.values()})
    return recipe.model_copy(
        update={
            "curriculum": course.curriculum,
            "corpora": {name: known[name] for name in used},
        }
    )


def _unnamed(curriculum: Curriculum) -> Curriculum:
    return curriculum.model_copy(update={"name": ""})


def kept_amendments(run: Path, lost: Sequence[int], *, step: int, is_asked_for: bool) -> list[str]:
    """What to say of amendments that going back undoes.

    Args:
        run: The run's folder.
        lost: Steps at which they were made.
        step: That the run goes back to.
        is_asked_for: By `--resume`.

    Raises:
        CheckpointError: Nobody asked to go back: a later checkpoint is torn.
    """
    if lost and not is_asked_for:
        raise CheckpointError(
            f"{run}: the run was amended at step {lost[-1]}, but its newest whole checkpoint is of "
            f"step {step}, where that does not hold: bring the later checkpoint back, or give the "
            f"amendment up with --resume step-{step} (it can be made again from there)"
        )
    return [f"the amendment made at step {place} no longer holds" for place in lost]


def curriculum_notice(given: Recipe, recipe: Recipe) -> list[str]:
    """What to say where a recipe names a curriculum that an amendment has replaced."""
    if given.curriculum == recipe.curriculum:
        return []
    return [
        f"the run was amended since its recipe's curriculum {given.curriculum.name}: it goes on "
        f"with {recipe.curriculum.name}, as in {recipe.run / 'curriculum.yaml'}"
    ]


def plain_before(saved: Mapping[str, Any], course: Course) -> dict[str, Any]:
    """A checkpoint's recipe with the curriculum that has been put in force since.

    Args:
        saved: `plain_recipe` of the checkpoint.
        course: Of the decisions up to it.
    """
    decided = curriculum_form(course.curriculum, course.corpora)
    corpora = {
        name: form | _changed_on_the_way(saved["corpora"].get(name, {}), name)
        for name, form in decided["corpora"].items()
    }
    plain: dict[str, Any] = orjson.loads(orjson.dumps(decided["curriculum"], default=str))
    return {**saved, "curriculum": plain, "corpora": corpora}


def _changed_on_the_way(corpus: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a corpus may say otherwise than the decisions do: what a resume changes."""
    allowed = FREE + RECORDED
    return {key: value for key, value in corpus.items() if _under(f"corpora.{name}.{key}", allowed)}


def recorded_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Changes of a resumed run's recipe that belong into its record.

    Args:
        before: `plain_recipe` of the checkpoint.
        now: `plain_recipe` of this start.

    Raises:
        ConfigError: Something else changed that a run may not change; lists every difference.
    """
    changes = differences(before, now)
    refused = [change for change in changes if not _under(change.key, FREE + RECORDED)]
    if refused:
        lines = "\n".join(f"  {change}" for change in refused)
        is_future = all(_under(change.key, ("curriculum",)) for change in refused)
        amend = "Go on with it by `linly amend RUN CURRICULUM`, or take" if is_future else "Take"
        raise ConfigError(
            f"the run has another recipe; before -> now:\n{lines}\n{amend} these changes back to "
            "resume, or start another run with run=PATH (its model= may be an export of this one)"
        )
    return [change for change in changes if _under(change.key, RECORDED)]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """All settings that differ, by key; the order of sources or keys is no difference."""
    old, new = _flat(before), _flat(now)
    return [
        Change(key, old.get(key), new.get(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Mappings opened into dotted keys; an empty mapping and a missing key are the same."""
    if not isinstance(value, Mapping):
        return {key: value}
    return {
        inner_key: inner
        for name, entry in value.items()
        for inner_key, inner in _flat(entry, f"{key}.{name}" if key else str(name)).items()
    }


def _under(key: str, prefixes: tuple[str, ...]) -> bool:
    names = key.split(".")
    return any(
        all(fnmatchcase(name, part) for name, part in zip(names, prefix.split("."), strict=False))
        for prefix in prefixes
        if len(names) >= prefix.count(".") + 1
    )


def _shown(value: Any) -> str:
    if value is None:
        return "(not there)"
    return value if isinstance(value, str) else orjson.dumps(value).decode()
