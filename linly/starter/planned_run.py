"""Plans a run from measured corpora: tokens, settings, groups, and the curriculum they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from linly.config.curriculum import Curriculum
from linly.config.sections.languages import Languages, language_name
from linly.config.yaml.strict_model import validate
from linly.config.yaml.yaml import Origin, parse_yaml, write_yaml
from linly.curriculum.run_plan import Batch, Plan, check_plan, make_plan
from linly.errors import DataError
from linly.starter.measured_corpora import MeasuredCorpus
from linly.starter.mixture_choice import (
    MAX_TOKENS,
    GroupChoice,
    Role,
    check_tokens,
    choose_groups,
    choose_tokens,
)
from linly.starter.model_look import ModelLook
from linly.starter.settings_choice import SettingsChoice, choose_settings


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """Choices for a run.

    Attributes:
        groups: Groups of the mixture, in the order of the curriculum.
        settings: Settings of the recipe.
        curriculum: Curriculum that they make.
        plan: Plan of the run.
        is_limited: Whether the data would not suffice for more tokens.
    """

    groups: tuple[GroupChoice, ...]
    settings: SettingsChoice
    curriculum: Curriculum
    plan: Plan
    is_limited: bool


def plan_run(
    name: str,
    look: ModelLook,
    corpora: Sequence[MeasuredCorpus],
    languages: Languages,
    *,
    tokens: int | None,
) -> PlannedRun:
    """Choose tokens, settings and mixture.

    Args:
        name: Name of the curriculum.
        look: Properties of the model.
        corpora: Measured corpora.
        languages: Languages of the run.
        tokens: Tokens of the run; None chooses them from the data.

    Raises:
        DataError: If there is no text in the learned language.
        ConfigError: If the data do not suffice for the tokens.
    """
    available: dict[Role, dict[str, int]] = {}
    for corpus in corpora:
        if corpus.role is not None and corpus.available.tokens:
            available.setdefault(corpus.role, {})[corpus.name] = corpus.available.tokens
    if "learned" not in available:
        raise DataError(_no_text(corpora, languages))
    supply = {role: sum(found.values()) for role, found in available.items()}
    most = choose_tokens(supply)
    if tokens is not None:
        check_tokens(supply, tokens)
    settings = choose_settings(
        num_parameters=look.num_parameters,
        positions=look.positions,
        tokens=tokens or most,
        document_tokens=sum(corpus.document_tokens for corpus in corpora),
        world_size=max(1, torch.cuda.device_count()),
    )
    groups = choose_groups(available, settings.tokens)
    curriculum = _curriculum(name, groups, settings, languages)
    plan = make_plan(
        curriculum,
        sequence_length=settings.sequence_length,
        batch=Batch(settings.global_batch, settings.micro_batch),
        available={corpus.name: corpus.available for corpus in corpora},
    )
    check_plan(plan, curriculum)
    return PlannedRun(groups, settings, curriculum, plan, tokens is None and most < MAX_TOKENS)


def group_names(languages: Languages) -> dict[Role, str]:
    """Name of each group in the curriculum: the languages in English."""
    return {
        "kept": language_name(languages.kept).lower(),
        "parallel": "parallel",
        "instruction": "instruction",
        "learned": language_name(languages.learned).lower(),
    }


def _curriculum(
    name: str, groups: Sequence[GroupChoice], settings: SettingsChoice, languages: Languages
) -> Curriculum:
    names = group_names(languages)
    mixture = {names[group.role]: group.file_form() for group in groups}
    text = write_yaml({"tokens": settings.tokens, "mixture": mixture})
    tree = parse_yaml(text, Origin(f"{name}.yaml", None, Path.cwd()))
    return validate(Curriculum, tree, name=name)


def _no_text(corpora: Sequence[MeasuredCorpus], languages: Languages) -> str:
    learned = language_name(languages.learned)
    found = ", ".join(
        f"{corpus.name} ({corpus.found.corpus.language} {corpus.found.corpus.kind})"
        for corpus in corpora
    )
    code = f" ({languages.learned})" * (learned != languages.learned)
    others = {
        corpus.found.corpus.language for corpus in corpora if corpus.found.corpus.kind == "text"
    } - {languages.kept}
    cures = [f"Pass text in {learned} with --data GLOB"]
    if others:
        cures.append(
            f"or learn a language that was found: --language {' or '.join(sorted(others))}"
        )
    return (
        f"no text in {learned}{code} to learn from; found: {found or 'nothing'}. {', '.join(cures)}"
    )
