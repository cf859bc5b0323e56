"""docs/first-run.md as typed: from a model and text to a trained model, by an installed linly."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from linly.config.recipe import load_recipe
from tests.support.installation import Installation, install
from tests.support.rank_processes import REPOSITORY, lines_of
from tests.support.vocabularies import english_model
from tests.support.worlds import write_records

pytestmark = pytest.mark.distributed
PAGE = REPOSITORY / "docs" / "first-run.md"
DATA = ("chinese/wiki_zh", "english/refinedweb", "parallel/tatoeba", "instruction/alpaca_zh")
MOST_COMMANDS = 8
LEFT_OUT = "..."
KOREAN_COMMANDS = (
    "linly model init --config nano --tokenizer tokenizer.model --output models/nano",
    "linly init . --model models/nano --language ko --data data --tokens 60K",
    "linly check recipes/nano-ko.yaml",
    "linly train recipes/nano-ko.yaml",
    "linly export runs/nano-ko --output models/nano-ko",
    "linly generate models/nano-ko --prompt 파일 --max-new-tokens 8",
)
_NUMBER = re.compile(r"[-+−]?\d[\d,.:e-]*")


@dataclass(frozen=True)
class Typed:
    """A command of the page and the output that the page shows."""

    command: str
    shown: tuple[str, ...]


def transcript(page: Path) -> Iterator[Typed]:
    """Commands of a page's console blocks."""
    for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = part.rstrip().split("\n")
            yield Typed(command, tuple(line for line in shown if line))


def masked(line: str) -> str:
    """A line without its numbers and columns, which differ between machines."""
    return " ".join(_NUMBER.sub("#", line).split())


def check_output(typed: Typed, output: str) -> None:
    """Every shown line is in the output, in order; what is left out is marked."""
    lines = iter([masked(line) for line in output.splitlines()])
    for shown in typed.shown:
        if shown.strip() == LEFT_OUT:
            continue
        start, is_cut, _ = masked(shown).partition(f" {LEFT_OUT}")
        found = any(line.startswith(start) if is_cut else line == start for line in lines)
        assert found, f"{typed.command} does not print {shown!r} there, but:\n{output}"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return install(tmp_path_factory.mktemp("installed"))


@pytest.mark.real
def test_the_page_runs_as_typed(installed: Installation, real_data: Path, tmp_path: Path) -> None:
    for name in DATA:
        shutil.copytree(real_data / name, tmp_path / "data" / name)
    shutil.copy(real_data / "tokenizers" / "llama" / "tokenizer.model", tmp_path)
    typed = list(transcript(PAGE))
    assert len(typed) <= MOST_COMMANDS

    for one in typed:
        check_output(one, installed.shell(one.command, tmp_path))

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "models" / "nano-zh")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "models" / "nano-zh")
    assert model.generate(**tokenizer("高山", return_tensors="pt"), max_new_tokens=2).shape[1] > 2


def test_another_language_takes_the_same_commands(installed: Installation, tmp_path: Path) -> None:
    """Korean, from the messages of JupyterLab and their English originals."""
    write_messages(tmp_path / "data")
    (tmp_path / "tokenizer.model").write_bytes(english_model())

    said = [installed.shell(command, tmp_path) for command in KOREAN_COMMANDS]

    assert re.search(r"korean +ko +text", said[1])
    assert "in Korean" not in said[1]  # nothing is missing
    run = tmp_path / "runs" / "nano-ko"
    assert {*lines_of(run, "metrics")[-1]["loss_by_source"]} == {"english", "korean", "pairs"}
    recipe = load_recipe(run / "recipe.yaml")
    assert (recipe.languages.kept, recipe.languages.learned) == ("en", "ko")
    assert any("질문" in prompt for prompt in recipe.evaluation.prompts)
    losses = [line["loss"] for line in lines_of(run, "metrics")]
    assert losses[-1] < losses[0]


def write_messages(folder: Path) -> None:
    """English, Korean, and pairs of both, as JSON lines."""
    catalogs = files("jupyterlab_language_pack_ko_KR") / "locale" / "ko_KR" / "LC_MESSAGES"
    pairs = [
        (key.split("\x04")[-1], translations[0])
        for catalog in sorted(catalogs.iterdir(), key=lambda file: file.name)
        if catalog.name.endswith(".json")
        for key, translations in json.loads(catalog.read_text(encoding="utf-8")).items()
        if key and translations[0]
    ]
    folder.mkdir()
    for side, name in enumerate(("english", "korean")):
        texts = [pair[side] for pair in pairs]
        chapters = ("\n".join(texts[at : at + 20]) for at in range(0, len(texts), 20))
        write_records(folder / f"{name}.jsonl", [{"text": text} for text in chapters])
    write_records(folder / "pairs.jsonl", [{"en": en, "ko": ko} for en, ko in pairs])
