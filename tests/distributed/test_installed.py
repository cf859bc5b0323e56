"""A wheel installed outside the checkout has all that a user needs, and trains on two ranks."""

from __future__ import annotations

import random
import re
from zipfile import ZipFile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linly import __version__
from linly.modeling.load_model import init_model, save_model
from linly.tokenization.growth.new_vocabulary import VocabularySpec, train_vocabulary
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.installation import Installation, install
from tests.support.rank_processes import REPOSITORY, lines_of
from tests.support.tiny_world import CHINESE, ENGLISH
from tests.support.worlds import write_records

pytestmark = pytest.mark.distributed
SHIPPED = ("corpora", "curricula", "launch/recipes")
NUM_STEPS = 6
RECIPE = f"""\
extends: linly:recipes/base.yaml
curriculum:
  tokens: {NUM_STEPS * 8 * 32}
  mixture:
    english: {{ratio: {{curve: linear, from: 80%, to: 20%}}, sources: {{refinedweb: 100%}}}}
    chinese: {{ratio: rest, sources: {{skypile: 100%}}}}
corpora: [linly:corpora]
data_root: data
model: model
run: runs/mine
data: {{sequence_length: 32, global_batch: 8}}
training: {{micro_batch: 4, activation_checkpointing: none}}
checkpoint: {{every: 6, keep_every: null}}
evaluation: {{every: 6, max_documents: 5, prompts: []}}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return install(tmp_path_factory.mktemp("installed"))


def test_the_wheel_holds_the_package_and_what_comes_with_it(installed: Installation) -> None:
    names = set(ZipFile(installed.wheel).namelist())
    package = {
        str(path.relative_to(REPOSITORY))
        for path in (REPOSITORY / "linly").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    shipped = {
        f"linly/shipped_files/{path.relative_to(REPOSITORY)}"
        for folder in SHIPPED
        for path in (REPOSITORY / folder).glob("*.yaml")
        if not path.stem.startswith("demo")  # `make demo` runs in a checkout
    }
    assert {name for name in names if ".dist-info/" not in name} == package | shipped


def test_it_runs_outside_the_checkout_and_knows_its_corpora(installed: Installation) -> None:
    place = installed.run("python", "-c", "import linly; print(linly.__file__)")
    assert place.startswith(str(installed.programs.parent))
    assert installed.run("python", "-m", "linly", "--version") == f"linly {__version__}\n"
    corpora = installed.run("linly", "corpora", "list").splitlines()[1:]
    assert {line.split()[0] for line in corpora} == {
        path.stem for path in (REPOSITORY / "corpora").glob("*.yaml")
    }


def test_a_copied_recipe_makes_a_batch_script(installed: Installation) -> None:
    """The script names programs of this environment, and nothing of the checkout."""
    assert "linly-llama2-7b" in installed.run("linly", "recipes", "list")
    said = installed.run("linly", "recipes", "copy", "linly-llama2-7b", "copy")
    recipe = re.search(r"next: linly plan (\S+)", said)
    assert recipe is not None
    script = installed.run("linly", "slurm", recipe[1])
    assert f"PATH={installed.programs}:" in script
    assert f"linly train {recipe[1]} ||" in script
    assert str(REPOSITORY) not in script


def test_a_recipe_of_a_few_lines_trains_in_two_processes(installed: Installation) -> None:
    generator = random.Random(3)
    texts = {
        language: [space.join(generator.choices(words, k=40)) for _ in range(200)]
        for language, words, space in (("en", ENGLISH, " "), ("zh", CHINESE, ""))
    }
    data = installed.folder / "data"
    write_records(data / "skypile" / "data" / "0.jsonl", [{"text": text} for text in texts["zh"]])
    (data / "refinedweb" / "data").mkdir(parents=True)
    pq.write_table(pa.table({"content": texts["en"]}), data / "refinedweb" / "data" / "0.parquet")
    words = [" ".join(ENGLISH), " ".join(CHINESE)] * 20
    tokenizer = SentencePieceTokenizer(train_vocabulary(words, VocabularySpec(360, coverage=1.0)))
    save_model(init_model("nano", tokenizer, seed=1), tokenizer, installed.folder / "model")
    (installed.folder / "mine.yaml").write_text(RECIPE)

    held_out = [f"corpora.{name}.held_out=5%" for name in ("refinedweb", "skypile")]
    said = installed.run("linly", "launch", "mine.yaml", *held_out, "--nproc", "2")

    run = installed.folder / "runs" / "mine"
    assert [line["step"] for line in lines_of(run, "metrics")] == list(range(1, NUM_STEPS + 1))
    assert (run / "report.html").exists()
    assert "export: linly export runs/mine" in said
    assert str(REPOSITORY) not in (run / "recipe.yaml").read_text()
