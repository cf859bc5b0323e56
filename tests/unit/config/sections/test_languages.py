"""The languages of a recipe describe its run, and choose its default prompts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from linly.config.recipe import Recipe, load_recipe
from linly.config.sections.languages import (
    KNOWN_LANGUAGES,
    Languages,
    default_prompts,
    language_name,
    recipe_languages,
)
from linly.errors import ConfigError
from tests.support.worlds import write_world

SCRIPTS = {
    "ar": r"[\u0600-\u06ff]",
    "de": r"[äöüß]",
    "en": r"[a-z]",
    "es": r"[áéíóúñ¿]",
    "fr": r"[éèà]",
    "id": r"[a-z]",
    "ja": r"[\u3040-\u30ff]",
    "ko": r"[\uac00-\ud7a3]",
    "ru": r"[\u0400-\u04ff]",
    "th": r"[\u0e00-\u0e7f]",
    "vi": r"[\u1ea0-\u1ef9]",
    "zh": r"[\u4e00-\u9fff]",
}
RECIPE = """\
run: {run}
data: {{sequence_length: 32, global_batch: 2}}
training: {{micro_batch: 1}}
{languages}
"""
CURRICULUM = "tokens: 10K\nmixture: {a: {ratio: rest, sources: {books: 100%}}}\n"
CORPORA = {"books": "language: en\nkind: text\npaths: ['books/*.jsonl']\n"}


def recipe(folder: Path, languages: str, *overrides: str) -> Recipe:
    text = RECIPE.format(run=folder / "run", languages=languages)
    return load_recipe(
        write_world(folder, corpora=CORPORA, curriculum=CURRICULUM, recipe=text), overrides
    )


def test_a_recipe_keeps_english_and_learns_chinese_by_default(tmp_path: Path) -> None:
    found = recipe(tmp_path, "")
    assert found.languages.both == ("en", "zh")
    assert found.evaluation.prompts == default_prompts("en", "zh")


def test_default_prompts_are_of_the_recipes_languages(tmp_path: Path) -> None:
    written = "languages: {kept: fr}\nevaluation: {every: 3}"
    found = recipe(tmp_path, written, "languages.learned=ko")
    assert found.languages == Languages(kept="fr", learned="ko")
    assert found.evaluation.prompts == default_prompts("fr", "ko")
    assert len(found.evaluation.prompts) == 8
    assert found.evaluation.every == 3
    own = recipe(tmp_path / "own", written, "evaluation.prompts=['a']")
    assert own.evaluation.prompts == ("a",)


def test_other_languages_have_no_default_prompts(tmp_path: Path) -> None:
    found = recipe(tmp_path, "languages: {kept: sw, learned: zh-Hant}")
    assert found.evaluation.prompts == ()
    assert language_name("zh-Hant") == "zh-Hant"


def test_the_document_lists_the_languages_with_prompts() -> None:
    text = (Path(__file__).parents[4] / "docs" / "monitoring.md").read_text(encoding="utf-8")
    names = sorted(language_name(language) for language in KNOWN_LANGUAGES)
    assert f"There are such prompts in {', '.join(names[:-1])} and {names[-1]}; " in text


@pytest.mark.parametrize("language", sorted(KNOWN_LANGUAGES))
def test_default_prompts_are_in_their_language(language: str) -> None:
    prompts = default_prompts(language)
    assert len(prompts) == len(set(prompts)) == 4
    assert re.search(SCRIPTS[language], "".join(prompts[:3]))
    assert prompts[3].endswith("\n") and "def " in prompts[3]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (
            "languages: {kept: English}",
            "languages.kept: found 'English', allowed: a language code such as en",
        ),
        ("languages: {learned: 3}", "languages.learned: found 3, allowed: text"),
        ("languages: {learned: en}", "learned: found 'en', allowed: a language other than"),
        ("languages: zh", "languages: found 'zh', allowed: a mapping"),
        ("languages: {kept: en, lerned: zh}", "unknown key 'lerned', did you mean 'learned'?"),
    ],
)
def test_other_values_are_refused_where_they_stand(tmp_path: Path, written: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        recipe(tmp_path, written)
    assert text in str(caught.value)
    assert re.search(r"recipe\.yaml:\d+: ", str(caught.value))


def test_a_recipe_of_an_earlier_version_has_the_defaults() -> None:
    assert recipe_languages({"name": "old"}) == Languages()


def test_languages_are_ordered_kept_learned_others() -> None:
    codes = ["de", "en", "en-ko", "ko", "zh"]
    assert Languages(learned="ko").ordered(codes) == ["en", "ko", "de", "en-ko", "zh"]
