"""Every corpus, curriculum and recipe that is shipped can be read, and names its sources."""

import re
from pathlib import Path

import pytest

from linly.config.curriculum import load_curriculum
from linly.config.recipe import load_recipe
from linly.config.yaml.yaml import Origin, parse_yaml
from tests.support.tiny_corpora import load_corpora

ROOT = Path(__file__).parents[3]
REAL = ROOT / "tests/real"
RECIPES = sorted(
    path
    for folder in (ROOT / "launch/recipes", REAL / "recipes")
    for path in folder.glob("*.yaml")
    if path.stem != "base"
)
CURRICULA = sorted((*(ROOT / "curricula").glob("*.yaml"), *(REAL / "curricula").glob("*.yaml")))


def stems(paths: list[Path]) -> list[str]:
    return [path.stem for path in paths]


@pytest.mark.parametrize("path", RECIPES, ids=stems(RECIPES))
def test_every_recipe_loads_and_reads_back(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINLY_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(path)
    assert recipe.num_steps > 0
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize("path", CURRICULA, ids=stems(CURRICULA))
def test_every_curriculum_loads_and_reads_back(path: Path, tmp_path: Path) -> None:
    curriculum = load_curriculum(path)
    (tmp_path / "resolved.yaml").write_text(curriculum.to_yaml(), encoding="utf-8")
    assert load_curriculum(tmp_path / "resolved.yaml") == curriculum


def test_every_corpus_loads() -> None:
    corpora = load_corpora(ROOT / "corpora")
    assert {corpus.kind for corpus in corpora.values()} == {
        "text",
        "parallel",
        "instruction",
        "conversation",
    }


def test_the_recipe_of_the_guide_loads(tmp_path: Path) -> None:
    guide = (ROOT / "docs/launching.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^```yaml\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    (tmp_path / "mine.yaml").write_text(recipe, encoding="utf-8")
    (tmp_path / "corpora").mkdir()
    (tmp_path / "models/llama2-7b-zh").mkdir(parents=True)  # or it is read as a hub id
    assert load_recipe(tmp_path / "mine.yaml").model == tmp_path / "models/llama2-7b-zh"


def test_the_published_sources_are_all_in_the_curriculum() -> None:
    curriculum = load_curriculum(ROOT / "curricula/linly-llama2.yaml")
    sources = set(curriculum.sources)
    chinese = {"wiki2019zh", "csl", "webtext2019zh", "baike2018qa", "news2016zh"}
    instruction = {
        "belle",
        "alpaca",
        "baize",
        "instructionwild",
        "flan",
        "coig",
        "firefly",
        "pclue",
    }
    assert sources >= chinese | instruction | {"slimpajama", "refinedweb", "translation2019zh"}


@pytest.mark.parametrize("size", ["7b", "13b"])
def test_the_published_settings_are_in_the_recipes(
    size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINLY_DATA", str(tmp_path))
    recipe = load_recipe(ROOT / f"launch/recipes/linly-llama2-{size}.yaml")
    assert (recipe.training.lr, recipe.training.schedule) == (5e-5, "cosine")
    assert (recipe.data.sequence_length, recipe.data.global_batch) == (2048, 512)
    assert recipe.training.trainable.kind == "full"
    assert recipe.num_steps == 4768


def test_every_value_of_the_shared_recipe_is_commented_as_published_or_chosen() -> None:
    text = (ROOT / "launch/recipes/base.yaml").read_text(encoding="utf-8")
    lines = text.splitlines()
    tree = parse_yaml(text, Origin("base.yaml", 1, ROOT))
    values = tree.plain()
    for section in ("data", "training", "checkpoint", "evaluation", "guards", "alarms"):
        for key in values[section]:
            node = tree.get(section, key)
            assert node is not None
            assert node.origin.line is not None
            line = lines[node.origin.line - 1]
            assert "# published" in line or "# chosen" in line, line


def test_the_shards_and_held_out_files_of_the_real_corpora_exist(real_data: Path) -> None:
    for name, corpus in load_corpora(REAL / "corpora").items():
        held_out = () if isinstance(corpus.held_out, float) else corpus.held_out
        for patterns in (corpus.paths, held_out):
            for pattern in patterns.values() if isinstance(patterns, dict) else patterns:
                assert any(real_data.glob(pattern)), (name, pattern)


@pytest.mark.parametrize(
    ("name", "lr", "steps", "batch", "kind"),
    [
        ("chinese-llama-7b-stage-1", 2e-4, 3000, 1024, "embeddings"),
        ("chinese-llama-7b-stage-2", 1e-4, 6000, 1024, "lora"),
        ("chinese-alpaca-7b", 1e-4, 8000, 512, "lora"),
    ],
)
def test_the_stages_of_chinese_llama_are_as_published(
    name: str,
    lr: float,
    steps: int,
    batch: int,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LINLY_DATA", str(tmp_path))
    recipe = load_recipe(ROOT / f"launch/recipes/{name}.yaml")
    assert (recipe.training.lr, recipe.num_steps) == (lr, steps)
    assert (recipe.data.sequence_length, recipe.data.global_batch) == (512, batch)
    assert recipe.training.trainable.kind == kind
    if recipe.training.trainable.lora is not None:
        assert recipe.training.trainable.lora.also == ("embed_tokens", "lm_head")
