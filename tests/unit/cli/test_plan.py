"""`linly plan`: what it prints for a curriculum and a recipe, as text, JSON and picture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CURRICULUM = """
tokens: 20K
mixture:
  english:
    ratio: {curve: cosine, from: 70%, to: 20%}
    sources: {stories: 100%}
  chinese:
    ratio: rest
    sources: {poems: {share: 100%, max_epochs: 3}}
"""

CORPUS = """
language: en
kind: text
paths: ["NAME/*.jsonl"]
fields: {text: text}
held_out: 0%
"""

RECIPE = """
curriculum: small.yaml
corpora: [corpora]
data_root: data
run: runs/small
data: {sequence_length: 64, global_batch: 12}
training: {micro_batch: 2}
"""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A curriculum, a recipe over it, and a few documents."""
    (tmp_path / "small.yaml").write_text(CURRICULUM, encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "corpora").mkdir()
    for name in ("stories", "poems"):
        corpus = CORPUS.replace("NAME", name)
        (tmp_path / "corpora" / f"{name}.yaml").write_text(corpus, encoding="utf-8")
        (tmp_path / "data" / name).mkdir(parents=True)
        lines = [json.dumps({"text": f"{name} {n}: a word and another " * 8}) for n in range(60)]
        shard = tmp_path / "data" / name / "0.jsonl"
        shard.write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def linly(world: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "linly.cli.main", "plan", *arguments]
    return subprocess.run(
        command, cwd=world, env=environment, capture_output=True, text=True, check=False
    )


def test_a_curriculum_is_planned_with_2048_and_says_so(world: Path) -> None:
    done = linly(world, "small.yaml", "tokens=20M", "--at", "25%")
    assert done.returncode == 0, done.stderr
    assert "20M tokens = 9,765 rows of 2048" in done.stdout
    assert "planned with sequence_length 2048; a recipe sets its own" in done.stdout
    stories = next(line.split() for line in done.stdout.splitlines() if "stories" in line)
    assert stories[:6] == ["english", "stories", "70%", "62.68%", "45%", "20%"]
    assert stories[6:] == ["4,394", f"{4394 * 2048:,}"]
    assert "lr-weighted" not in done.stdout  # a curriculum has no learning rate


def test_json_holds_what_the_table_shows(world: Path) -> None:
    done = linly(world, "recipe.yaml", "--json", "curriculum.tokens=200K", "--without-data")
    plan = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert plan["recipe"] == "recipe"
    assert plan["num_rows"] == 200_000 // 64
    assert plan["num_steps"] == 200_000 // 64 // 12
    assert plan["remainder_rows"] == 200_000 // 64 % 12
    assert plan["world_sizes"] == [1, 2, 3, 6]
    assert [source["name"] for source in plan["sources"]] == ["poems", "stories"]
    assert plan["sources"][0]["shares"] == pytest.approx([0.3, 0.55, 0.8])
    assert sum(source["rows"] for source in plan["sources"]) == plan["trained_rows"]
    groups = {group["name"]: group for group in plan["groups"]}
    assert groups["chinese"]["token_share"] == pytest.approx(0.55, abs=1e-3)
    # A cosine over a cosine: (0.55^2 - 0.25 * 0.45 / 2) / 0.55, but for the warmup.
    assert groups["chinese"]["lr_share"] == pytest.approx(0.4477, abs=2e-3)
    assert sum(source["lr_share"] for source in plan["sources"]) == pytest.approx(1.0)
    unread, remainder, rate = plan["notes"]
    assert "weighted by the learning rate: chinese 55.0% -> 44." in rate
    assert "With training.schedule: wsd with decay: 10% it would be chinese 5" in rate
    assert unread == "the data was not read (--without-data): epochs are unknown"
    assert remainder.startswith("the last 5 rows do not fill a step and are not trained on")


def test_a_recipe_shows_available_tokens_epochs_and_world_sizes(
    world: Path, llama_tokenizer_path: Path
) -> None:
    done = linly(world, "recipe.yaml", "--tokenizer", str(llama_tokenizer_path))
    assert done.returncode == 0, done.stderr
    assert "steps: 26 of 12 rows (768 tokens), remainder 0 rows" in done.stdout
    assert "world sizes with micro_batch 2: 1, 2, 3, 6" in done.stdout
    assert "warning: source poems: no document is held out" in done.stdout
    header = next(line for line in done.stdout.splitlines() if "available" in line).split()
    assert header[-8:-5] == ["of", "tokens", "lr-weighted"]
    assert header[-5:] == ["available", "with", "loss", "epochs", "allowed"]


@pytest.mark.parametrize(
    ("recipe", "of_tokens", "by_rate"),
    [("linly-llama2-7b", "37.2%", "29.1%"), ("linly-llama2-7b-wsd", "37.2%", "36.3%")],
)
def test_the_7b_recipes_show_what_the_rate_gives_chinese(
    recipe: str, of_tokens: str, by_rate: str, tmp_path: Path
) -> None:
    file = Path(__file__).parents[3] / "launch" / "recipes" / f"{recipe}.yaml"
    done = linly(tmp_path, str(file), "--without-data", f"data_root={tmp_path}")
    assert done.returncode == 0, done.stderr
    chinese = next(line.split() for line in done.stdout.splitlines() if "chinese" in line)
    assert chinese[:3] == ["chinese", "all", "5"]
    assert chinese[-2:] == [of_tokens, by_rate]
    assert ("note: the learning rate is low" in done.stdout) == (by_rate == "29.1%")


def test_too_many_epochs_end_with_an_error_after_the_table(
    world: Path, llama_tokenizer_path: Path
) -> None:
    arguments = ("curriculum.tokens=400K", "--tokenizer", str(llama_tokenizer_path))
    done = linly(world, "recipe.yaml", *arguments)
    assert done.returncode == 1
    assert "poems" in done.stdout
    assert "error: curriculum small: source poems: " in done.stderr
    assert "allowed: 3 (max_epochs). Enough would be tokens: " in done.stderr


def test_ratios_that_do_not_add_up_name_the_place(world: Path) -> None:
    bad = "mixture.chinese.ratio={curve: linear, from: 30%, to: 80%}"
    done = linly(world, "small.yaml", bad)
    assert done.returncode == 1
    assert "error: curriculum small: mixture: the ratios add up to 10" in done.stderr
    assert "of the run (" in done.stderr


@pytest.mark.parametrize("place", ["140%", "soon", "30K"])
def test_a_place_outside_the_run_is_refused(world: Path, place: str) -> None:
    done = linly(world, "small.yaml", "--at", place)
    assert done.returncode == 1
    assert f"error: --at: found {place!r}" in done.stderr


def test_the_plan_is_drawn_on_a_page(world: Path) -> None:
    assert linly(world, "small.yaml", "--plot", "shares.html").returncode == 0
    page = (world / "shares.html").read_text(encoding="utf-8")
    assert "<script src=" not in page
    assert "stories" in page
    done = linly(world, "small.yaml", "--plot", "shares.png")
    assert "found '.png', allowed: .html (a browser saves a chart as PNG)" in done.stderr


def test_torch_is_not_imported(world: Path) -> None:
    code = (
        "import sys; from linly.cli.main import build_app;"
        "build_app()(['plan', 'small.yaml', 'tokens=1M'], standalone_mode=False);"
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=world, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_guarded_group_shows_its_band(world: Path) -> None:
    guard = "{source: english, max_rise: 3%, cap: 60%}"
    text = CURRICULUM.replace("to: 20%}", f"to: 20%, guard: {guard}}}")
    (world / "small.yaml").write_text(text, encoding="utf-8")
    done = linly(world, "small.yaml", "tokens=20M", "--plot", "plan.html")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "guard of english: while held-out english (stories) is more than 3% above" in said
    assert "the ratio goes up to 60% in 4 steps, one at each evaluation, at the cost of" in said
    assert "start 70% to 70%, middle 45% to 60%, end 20% to 60%" in said
    plan = json.loads(linly(world, "small.yaml", "tokens=20M", "--json").stdout)
    assert plan["guards"][0]["raised_ratios"] == pytest.approx([0.7, 0.6, 0.6])
    stories = next(source for source in plan["sources"] if source["name"] == "stories")
    assert stories["most_rows"] > stories["rows"]
    done = linly(world, "recipe.yaml", "--without-data", "evaluation.every=5")
    assert "note: guards decide at evaluations: every 5 steps, 5 times in the run" in done.stdout
    assert "never act" not in done.stdout


def test_a_guard_that_never_decides_is_a_warning(world: Path) -> None:
    """At the last step nothing is left to decide: an evaluation there does not count."""
    guard = "{source: english, max_rise: 3%, cap: 60%}"
    text = CURRICULUM.replace("to: 20%}", f"to: 20%, guard: {guard}}}")
    (world / "small.yaml").write_text(text, encoding="utf-8")
    for every, is_idle in ((25, False), (26, True), (1000, True)):
        done = linly(world, "recipe.yaml", "--without-data", f"evaluation.every={every}", "--json")
        plan = json.loads(done.stdout)
        assert plan["num_steps"] == 26
        said = [text for text in plan["warnings"] if text.startswith("guards of english: never")]
        assert len(said) == is_idle
    assert "evaluation.every is 1,000 of 26 steps" in said[0]
