"""Advice before a first run: on forgetting, and on a vocabulary that spells a language poorly."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from linly.config.sections.languages import Languages, language_name
from linly.curriculum.wording import amount
from linly.starter.mixture_choice import OTHER_EPOCHS, RATIOS
from linly.starter.model_look import ModelLook
from linly.starter.planned_run import PlannedRun
from linly.starter.text_measures import TextMeasure

_STANDARDS = {"zh": (), "ja": ("jis",), "ko": ("ksx1001",), "th": ("tis620",)}
"""Language -> character standards of `linly vocab characters`, none for its default."""


_MUCH_LOWERED = 0.8
"""Factor of the kept language's ratio below which its lack of text is worth a warning."""


@dataclass(frozen=True, slots=True)
class Advice:
    """A finding, and the commands that help, to run in the working directory."""

    text: str
    commands: tuple[str, ...] = ()


def forgetting_advice(run: PlannedRun, languages: Languages) -> Advice | None:
    """Warn if there is too little text of the kept language, or none."""
    kept = language_name(languages.kept)
    group = next((group for group in run.groups if group.role == "kept"), None)
    wanted = RATIOS["kept"].mean * run.settings.tokens / OTHER_EPOCHS
    cure = f"Add text in {kept} with --data GLOB; {amount(wanted, 2)} tokens are enough"
    if group is None:
        return Advice(
            f"no text in {kept} ({languages.kept}) was found, so nothing keeps the model from "
            f"forgetting it: expect its {kept} to become much worse. {cure}"
        )
    if group.factor < _MUCH_LOWERED:
        return Advice(
            f"there is little text in {kept}, so its ratio is lower than planned and more of it "
            f"will be forgotten. {cure}"
        )
    return None


def vocabulary_advice(
    look: ModelLook,
    learned: TextMeasure,
    languages: Languages,
    *,
    corpora: Sequence[str],
    folder: Path,
    data_root: Path,
) -> Advice | None:
    """Recommend new pieces if the vocabulary spells the learned language in many tokens.

    Args:
        look: Properties of the model.
        learned: Texts of the learned language under its vocabulary.
        languages: Languages of the run.
        corpora: Names of the corpora in the learned language.
        folder: Folder of the project, which has their corpus files.
        data_root: Folder of the shards.
    """
    if not learned.is_poor:
        return None
    language = languages.learned
    extended = folder / "models" / f"{look.name}-extended"
    text = (
        f"the vocabulary needs {learned.per_character:.2f} tokens per character of "
        f"{language_name(language)}: {len(learned.missing):,} characters in the data have no piece "
        f"of their own. With one for each it would be {learned.extended_per_character:.2f}, so the "
        f"same tokens would teach more text. Extend the model first, and run `linly init` again "
        f"with --model {shlex.quote(str(extended))}"
    )
    characters = folder / f"{language}-characters.txt"
    is_folder = look.vocabulary == "byte-level"
    vocabulary = folder / (f"{language}-vocabulary" if is_folder else f"{language}.model")
    standards = _STANDARDS.get(language.split("-")[0])
    chosen: list[object] = [word for name in standards or () for word in ("--standard", name)]
    if standards is None:
        chosen = [word for name in corpora for word in ("--from-corpus", name)]
        chosen += ["--corpora", folder / "corpora", "--data-root", data_root]
    model = look.hub or look.path
    base = ("--base", model)
    commands = (
        ("vocab", "characters", *base, *chosen, "--output", characters),
        ("vocab", "extend", *base, "--characters", characters, "--output", vocabulary),
        ("model", "extend", "--model", model, "--tokenizer", vocabulary, "--output", extended),
    )
    return Advice(text, tuple(shlex.join(["linly", *map(str, words)]) for words in commands))
