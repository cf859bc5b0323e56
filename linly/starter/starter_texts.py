"""Texts of a curriculum and a recipe, with the reason for each choice beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from linly.config.sections.languages import Languages, language_name
from linly.config.yaml.quantities import format_fraction
from linly.curriculum.run_plan import SourcePlan
from linly.curriculum.wording import amount, percent
from linly.starter.advice import Advice
from linly.starter.commented_yaml import Entry, commented_yaml
from linly.starter.mixture_choice import LEARNED_EPOCHS, GroupChoice, Role
from linly.starter.model_look import ModelLook
from linly.starter.planned_run import PlannedRun, group_names
from linly.starter.settings_choice import MAX_SEQUENCE_LENGTH, SettingsChoice

_SEED = 2023
_KEPT_CHECKPOINTS = 3


@dataclass(frozen=True, slots=True)
class RecipePlaces:
    """Paths in a recipe, as they are written in it.

    Attributes:
        name: Name of the curriculum, the recipe and the run.
        data_root: Folder of the shards.
        model: Model folder.
    """

    name: str
    data_root: str
    model: str


def curriculum_text(run: PlannedRun, languages: Languages) -> str:
    """Write the file of a run's curriculum."""
    settings = run.settings
    learned = language_name(languages.learned)
    plans = {plan.name: plan for plan in run.plan.sources}
    why = (
        f"{settings.num_steps:,} steps of {settings.global_batch:,} rows of "
        f"{settings.sequence_length:,}"
    )
    if run.is_limited:
        why += f"; enough for {LEARNED_EPOCHS:g} epochs of {learned}"
    entries = [Entry("tokens", settings.tokens, why), Entry("mixture", None)]
    names = group_names(languages)
    for group in run.groups:
        form = group.file_form()
        entries.append(Entry(names[group.role], None, depth=1))
        entries.append(Entry("ratio", form["ratio"], _reason(group, languages, plans), depth=2))
        entries.append(Entry("sources", None, "by size, so that all are read equally often", 2))
        for name, share in form["sources"].items():
            entries.append(Entry(name, share, _amounts(plans[name]), 3))
    head = (
        f"Shares of the corpora over the run, along the curves of Linly's published curriculum. "
        f"{learned} takes the rest.\n`linly plan` shows the shares, rows and epochs that follow."
    )
    return commented_yaml(head, entries)


def recipe_text(
    places: RecipePlaces,
    look: ModelLook,
    settings: SettingsChoice,
    languages: Languages,
    advice: Sequence[Advice],
) -> str:
    """Write a recipe file; its head repeats the advice."""
    learned, kept = (language_name(code) for code in (languages.learned, languages.kept))
    head = (
        f"A {look.model_type} of {amount(look.num_parameters, 3)} parameters learns {learned} and "
        f"keeps {kept}: continual pre-training of all parameters.\n"
        f"Written by `linly init` with the reason beside each choice. Change what you like, and "
        f"run `linly check` and `linly plan` on it."
    )
    for one in advice:
        head += f"\nNote: {one.text}" + ":" * bool(one.commands)
        head += "".join(f"\n  {command}" for command in one.commands)
    entries = [
        Entry("languages", {"kept": languages.kept, "learned": languages.learned}),
        Entry("curriculum", f"../curricula/{places.name}.yaml"),
        Entry("corpora", ["../corpora"]),
        Entry("data_root", places.data_root, "folder of the shards"),
        Entry("run", f"runs/{places.name}", "in the working directory; the same name resumes"),
        Entry("model", places.model, look.describe()),
        *_data_entries(look, settings),
        *_training_entries(look, settings),
        *_interval_entries(settings),
    ]
    return commented_yaml(head, entries)


def _reason(group: GroupChoice, languages: Languages, plans: Mapping[str, SourcePlan]) -> str:
    learned, kept = (language_name(code) for code in (languages.learned, languages.kept))
    if group.ratio is None:
        shares = [sum(plans[name].shares[at] for name in group.shares) for at in (0, -1)]
        return f"what the others leave: from {percent(shares[0], 2)} to {percent(shares[1], 2)}"
    reasons: dict[Role, str] = {
        "kept": f"much {kept} at first, then enough that little of it is forgotten",
        "parallel": "pairs tie the languages together, most of all at first",
        "instruction": "instructions come in late and stay; only the answers carry loss",
        "learned": learned,
    }
    why = reasons[group.role]
    return (
        f"{why}; lowered to {100 * group.factor:.0f}%, since there is little text"
        if group.factor < 1
        else why
    )


def _amounts(plan: SourcePlan) -> str:
    assert plan.available is not None and plan.epochs is not None
    about = "" if plan.available.exact else "about "
    return f"{about}{amount(plan.available.tokens, 3)} tokens, {plan.epochs:.2g} epochs"


def _data_entries(look: ModelLook, settings: SettingsChoice) -> Iterator[Entry]:
    length = settings.sequence_length
    if length == look.positions:
        why = "all positions of the model"
    elif length == MAX_SEQUENCE_LENGTH:
        why = "as Linly's; longer rows cost memory and keep the model used to long texts"
    else:
        why = "shorter than the model allows, so that a step of few tokens has many rows"
    yield Entry("data", None)
    yield Entry("sequence_length", length, why, 1)
    yield Entry("global_batch", settings.global_batch, f"{settings.step_tokens:,} tokens a step", 1)
    yield Entry("seed", _SEED, "of all shuffles", 1)


def _training_entries(look: ModelLook, settings: SettingsChoice) -> Iterator[Entry]:
    size = amount(look.num_parameters, 2)
    yield Entry("training", None)
    yield Entry("trainable", "full", "a new language changes every layer", 1)
    yield Entry("lr", settings.lr, f"for {size} parameters: a fraction of pre-training's rate", 1)
    yield Entry("schedule", "cosine", "down to final_lr", 1)
    yield Entry("warmup", format_fraction(settings.warmup / 100), "of the steps", 1)
    yield Entry("final_lr", "10%", "of lr", 1)
    yield Entry("micro_batch", settings.micro_batch, "rows at once; lower it if memory runs out", 1)
    saves = "saves memory, costs a third of the speed"
    if settings.recomputes and look.can_recompute:
        yield Entry("activation_checkpointing", "full", saves, 1)
    else:
        why = "`full` saves memory" if look.can_recompute else "not supported by this model"
        yield Entry("activation_checkpointing", "none", why, 1)


def _interval_entries(settings: SettingsChoice) -> Iterator[Entry]:
    saves = {"every": settings.save_every, "keep_last": _KEPT_CHECKPOINTS}
    saves["keep_every"] = 5 * settings.save_every
    yield Entry("checkpoint", saves, "in steps; older ones are removed")
    documents = "held-out documents of each corpus"
    yield Entry("evaluation", None)
    yield Entry("every", settings.evaluate_every, "steps", 1)
    yield Entry("max_documents", settings.max_documents, documents, 1)
    yield Entry("max_new_tokens", settings.max_new_tokens, "completion of each prompt", 1)
