"""Which changes of a recipe a resumed run takes."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from linly.config.recipe import Recipe
from linly.config.yaml.strict_model import OnResume, Settings
from linly.errors import ConfigError
from linly.training.changes.resume import (
    allowed_changes,
    differences,
    policy_of,
    recorded,
)

BEFORE: dict[str, Any] = {
    "name": "a",
    "model": "/old/model",
    "stop_at_step": None,
    "data": {"seed": 1, "producers": 1, "sequence_length": 32, "global_batch": 8},
    "training": {"lr": 1e-4, "micro_batch": 2},
    "evaluation": {"every": 20, "prompts": ["a"], "max_documents": 10},
    "guards": {"spike": 10},
    "checkpoint": {"every": 5},
    "curriculum": {"name": "c", "mixture": {"en": {"ratio": "70%"}, "zh": {"ratio": "rest"}}},
    "corpora": {"wiki": {"template": "text", "max_bad_fraction": "1%"}},
}


def changed(**sections: Any) -> dict[str, Any]:
    return {
        key: {**value, **sections[key]}
        if key in sections and isinstance(value, dict)
        else sections.get(key, value)
        for key, value in BEFORE.items()
    }


FREE = [
    "name",
    "run",
    "data_root",
    "model",
    "languages.kept",
    "languages.learned",
    "stop_at_step",
    "corpus_folders",
    "curriculum.name",
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
    "checkpoint.every",
    "checkpoint.async",
    "evaluation.max_documents",
    "evaluation.prompts",
    "evaluation.max_new_tokens",
    "alarms.drift",
    "wandb.project",
    "corpora.wiki.read_attempts",
    "corpora.wiki.read_delay_s",
]
RECORDED = [
    "training.lr",
    "training.schedule",
    "training.warmup",
    "training.final_lr",
    "training.decay",
    "training.decay_form",
    "training.weight_decay",
    "training.betas",
    "training.eps",
    "training.clip",
    "training.deepspeed.steps_per_print",
    "evaluation.every",
    "guards.spike",
    "corpora.wiki.max_bad_fraction",
    "corpora.wiki.damaged_shards",
]
REFUSED = [
    "curriculum.tokens",
    "curriculum.mixture.english.ratio",
    "data.sequence_length",
    "data.global_batch",
    "data.seed",
    "data.attention",
    "data.packing",
    "training.optimizer",
    "training.annealing.from_step",
    "training.trainable.lora.rank",
    "corpora.wiki.name",
    "corpora.wiki.paths",
    "corpora.wiki.fields.text",
    "corpora.wiki.template",
    "corpora.wiki.held_out",
    "corpora.wiki.chat.text",
    "corpora.wiki",
    "data",
    "training.gone",
    "gone",
]


@pytest.mark.parametrize(
    ("keys", "policy"),
    [(FREE, OnResume.FREE), (RECORDED, OnResume.RECORDED), (REFUSED, OnResume.REFUSED)],
)
def test_settings_say_whether_a_resume_may_change_them(keys: list[str], policy: OnResume) -> None:
    assert {key: policy_of(key) for key in keys} == dict.fromkeys(keys, policy)


def test_a_setting_that_does_not_say_it_cannot_be_declared() -> None:
    with pytest.raises(TypeError, match=r"Other\.lr: does not say whether a resume may change it"):

        class Other(Settings):
            lr: float = 1.0

    class Section(Settings):
        lr: Annotated[float, OnResume.FREE] = 1.0

    class Whole(Settings):
        section: Section = Section()
        sections: dict[str, Section]

    assert Whole.inner("section") is Whole.inner("sections") is Section
    assert Recipe.policy("curriculum") is None


def test_free_changes_leave_no_trace() -> None:
    now = changed(
        name="b",
        model="/moved/model",
        stop_at_step=5,
        data={"producers": 4},
        training={"micro_batch": 4},
        checkpoint={"every": 1},
        evaluation={"prompts": [], "max_documents": 5},
    )
    assert recorded(allowed_changes(BEFORE, now)) == []


def test_optimizer_and_guards_are_changed_on_the_record() -> None:
    now = changed(training={"lr": 2e-4}, guards={"spike": 5})
    texts = [str(change) for change in recorded(allowed_changes(BEFORE, now))]
    assert texts == ["guards.spike: 10 -> 5", "training.lr: 0.0001 -> 0.0002"]


def test_how_often_it_is_evaluated_is_changed_on_the_record() -> None:
    """A guarded curve decides from evaluations."""
    texts = [str(c) for c in recorded(allowed_changes(BEFORE, changed(evaluation={"every": 10})))]
    assert texts == ["evaluation.every: 20 -> 10"]


def test_how_many_bad_records_are_borne_is_changed_on_the_record() -> None:
    now = changed(corpora={"wiki": {"template": "text", "max_bad_fraction": "5%"}})
    texts = [str(change) for change in recorded(allowed_changes(BEFORE, now))]
    assert texts == ["corpora.wiki.max_bad_fraction: 1% -> 5%"]


@pytest.mark.parametrize(
    ("now", "shown"),
    [
        (changed(data={"seed": 2}), "data.seed: 1 -> 2"),
        (changed(data={"sequence_length": 64}), "data.sequence_length: 32 -> 64"),
        (changed(data={"global_batch": 16}), "data.global_batch: 8 -> 16"),
        (changed(corpora={"wiki": {"template": "x"}}), "corpora.wiki.template: text -> x"),
        (
            changed(curriculum={"mixture": {"en": {"ratio": "60%"}, "zh": {"ratio": "rest"}}}),
            "curriculum.mixture.en.ratio: 70% -> 60%",
        ),
        (
            changed(corpora={"more": {"template": "text"}}),
            "corpora.more.template: (missing) -> text",
        ),
    ],
)
def test_the_past_is_immutable(now: dict[str, Any], shown: str) -> None:
    with pytest.raises(ConfigError) as refused:
        allowed_changes(BEFORE, now)
    assert shown in str(refused.value)
    assert "run=PATH" in str(refused.value)


def test_order_is_no_difference() -> None:
    mixture = {"zh": {"ratio": "rest"}, "en": {"ratio": "70%"}}
    assert differences(BEFORE, changed(curriculum={"mixture": mixture})) == []


def test_a_setting_that_an_older_checkpoint_lacks_is_at_its_default() -> None:
    assert allowed_changes(BEFORE, changed(training={"optimizer": "adamw"})) == []
    with pytest.raises(ConfigError, match=r"training\.optimizer: \(missing\) -> other"):
        allowed_changes(BEFORE, changed(training={"optimizer": "other"}))
    (change,) = allowed_changes(BEFORE, changed(training={"clip": 2.0}))
    assert str(change) == "training.clip: (missing) -> 2.0"


def test_another_record_list_is_refused_by_name_and_a_moved_one_is_free() -> None:
    def with_list(path: str, sha256: str) -> dict[str, Any]:
        lists = {"leaks": {"path": path, "sha256": sha256}}
        return changed(corpora={"wiki": {"template": "text", "exclude_records": lists}})

    before = with_list("/a/leaks.parquet", "1" * 64)
    (moved,) = allowed_changes(before, with_list("/b/leaks.parquet", "1" * 64))
    assert moved.key == "corpora.wiki.exclude_records.leaks.path"
    assert recorded([moved]) == []
    for now in (with_list("/a/leaks.parquet", "2" * 64), BEFORE):
        with pytest.raises(ConfigError, match=r"corpora\.wiki\.exclude_records\.leaks\.sha256"):
            allowed_changes(before, now)
