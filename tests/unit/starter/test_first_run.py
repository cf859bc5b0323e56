"""A first run's files follow from the model and the data, and train without an edit."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from linly.config.recipe import Recipe, load_recipe
from linly.modeling.load_model import init_model, save_model
from linly.storage.hub import HubModel
from linly.tokenization.sentence_piece import SentencePieceTokenizer
from tests.support.commands import linly, linly_ok
from tests.support.model_hub import folder_files, model_hub
from tests.support.vocabularies import byte_level, english_model
from tests.support.worlds import write_records

ENGLISH = (
    "The river rises in the mountains and reaches the sea after a long journey through the plain.",
    "People have lived on its banks for thousands of years, and many of them still fish there.",
    "A bridge was built last summer, so the children can walk to school in the next village.",
    "When the snow melts in spring, the water covers the meadows and the old road to the market.",
)
CHINESE = (
    "这条河发源于高山，经过平原，最后流入大海。",
    "几千年来，人们一直住在河边，许多人今天还在那里打鱼。",
    "去年夏天修了一座桥，孩子们可以走到邻村上学。",
    "春天雪化的时候，河水淹没草地和通往集市的老路。",
)
KOREAN = (
    "이 강은 산에서 시작하여 평야를 지나 바다로 흘러간다.",
    "수천 년 동안 사람들은 강가에 살았고 많은 사람이 아직도 그곳에서 물고기를 잡는다.",
    "작년 여름에 다리를 놓아서 아이들이 이웃 마을의 학교까지 걸어갈 수 있다.",
    "봄에 눈이 녹으면 물이 풀밭과 시장으로 가는 옛길을 덮는다.",
)
RUSSIAN = (
    "Эта река начинается в горах и после долгого пути по равнине впадает в море.",
    "Тысячи лет люди живут на её берегах, и многие до сих пор ловят там рыбу.",
    "Прошлым летом построили мост, и дети могут ходить в школу в соседнюю деревню.",
    "Когда весной тает снег, вода заливает луга и старую дорогу на рынок.",
)


def documents(sentences: Sequence[str], count: int) -> list[dict[str, str]]:
    """Different documents of a few sentences each."""
    return [
        {"text": f"{number}. " + " ".join(sentences[(number + at) % 4] for at in range(5))}
        for number in range(count)
    ]


PAIRS = [
    {"en": f"{number}: {en}", "zh": f"{number}: {zh}"}
    for number in range(60)
    for en, zh in zip(ENGLISH, CHINESE, strict=True)
]
TASKS = [
    {"instruction": f"第{number}题：这条河从哪里来？", "output": CHINESE[number % 4]}
    for number in range(200)
]
DATA = {
    "english": documents(ENGLISH, 300),
    "chinese": documents(CHINESE, 200),
    "korean": documents(KOREAN, 200),
    "pairs": PAIRS,
    "tasks": TASKS,
}


@dataclass(frozen=True)
class Project:
    """An empty working directory with data and a model."""

    folder: Path
    said: pytest.CaptureFixture[str]

    def init(self, *words: object, language: str = "zh", model: str = "model") -> str:
        """Output of `linly init .`."""
        self.said.readouterr()
        linly_ok("init", ".", "--model", model, "--language", language, *words)
        return self.said.readouterr().out

    def error(self, *words: object) -> str:
        """Error of `linly init .`, for a model that learns Chinese."""
        self.said.readouterr()
        assert linly("init", ".", "--model", "model", "--language", "zh", *words) == 1
        return self.said.readouterr().err

    def recipe(self, name: str = "model-zh") -> Recipe:
        return load_recipe(self.folder / "recipes" / f"{name}.yaml")


@pytest.fixture(scope="module")
def english_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder whose vocabulary knows English only."""
    folder = tmp_path_factory.mktemp("models") / "model"
    tokenizer = SentencePieceTokenizer(english_model())
    save_model(init_model("nano", tokenizer), tokenizer, folder)
    return folder


@pytest.fixture
def project(
    english_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Project:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LINLY_DATA", raising=False)
    for name, records in DATA.items():
        write_records(tmp_path / "data" / f"{name}.jsonl", records)
    shutil.copytree(english_folder, tmp_path / "model")
    return Project(tmp_path, capsys)


def data(*names: str) -> list[str]:
    return [word for name in names for word in ("--data", f"data/{name}.jsonl")]


def written(folder: Path) -> Mapping[str, bytes]:
    parts = ("corpora", "curricula", "recipes")
    files = (file for part in parts for file in (folder / part).glob("*"))
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_files_pass_check_and_plan_without_an_edit(project: Project) -> None:
    said = project.init(*data("english", "chinese", "pairs", "tasks"))
    recipe = project.recipe()
    assert list(recipe.curriculum.mixture) == ["english", "parallel", "instruction", "chinese"]
    assert (recipe.languages.kept, recipe.languages.learned) == ("en", "zh")
    next_commands = [line.strip() for line in said.split("next:\n")[1].splitlines()]
    assert [command.split()[1] for command in next_commands] == ["check", "plan", "train"]
    for command in next_commands[:2]:
        linly_ok(*shlex.split(command)[1:])
    assert "warning" not in project.said.readouterr().out.lower()


def test_every_corpus_holds_out_documents(project: Project) -> None:
    project.init(*data("english", "chinese", "pairs", "tasks"))
    linly_ok("plan", "recipes/model-zh.yaml")
    assert "no document is held out" not in project.said.readouterr().out


def test_choices_carry_their_reasons(project: Project) -> None:
    project.init(*data("english", "chinese"))
    recipe = (project.folder / "recipes" / "model-zh.yaml").read_text()
    for key in ("sequence_length", "global_batch", "lr", "micro_batch", "model", "trainable"):
        (line,) = [line for line in recipe.splitlines() if line.strip().startswith(f"{key}:")]
        above = recipe.splitlines()[recipe.splitlines().index(line) - 1]
        assert "#" in line or above.strip().startswith("#"), line
    curriculum = (project.folder / "curricula" / "model-zh.yaml").read_text()
    assert "epochs" in curriculum


def test_without_kept_text_forgetting_is_announced(project: Project) -> None:
    said = project.init(*data("chinese"))
    for text in (said, (project.folder / "recipes" / "model-zh.yaml").read_text()):
        assert "no text in English (en) was found" in " ".join(text.replace("#", "").split())
    assert list(project.recipe().curriculum.mixture) == ["chinese"]


def test_without_text_to_learn_nothing_is_written(project: Project) -> None:
    error = project.error(*data("english", "korean"))
    assert "no text in Chinese (zh) to learn from" in error
    assert "english (en text), korean (ko text)" in error
    error = project.error(*data("korean"), "--language", "kor")
    assert "no text in kor to learn from" in error
    assert "or learn a language that was found: --language ko" in error
    assert written(project.folder) == {}


def test_text_of_other_languages_is_not_used(project: Project) -> None:
    said = project.init(*data("english", "chinese", "korean"))
    assert "not used: neither in en nor zh" in said
    assert "korean" not in project.recipe().curriculum.sources


def test_files_are_never_overwritten(project: Project) -> None:
    project.init(*data("english", "chinese"))
    path = project.folder / "recipes" / "model-zh.yaml"
    path.write_text("mine")
    before = written(project.folder)
    error = project.error(*data("english", "chinese"))
    assert "recipes/model-zh.yaml" in error and "left unchanged" in error
    assert "curricula" not in error  # its text is the same
    assert written(project.folder) == before


def advised(said: str) -> list[list[str]]:
    """Words of the commands that `linly init` recommends before training."""
    lines = said.split("next:")[0].splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("  linly ")]


@pytest.mark.parametrize(("language", "name"), [("zh", "chinese"), ("ko", "korean")])
def test_advice_on_a_poor_vocabulary_works_as_printed(
    project: Project, language: str, name: str
) -> None:
    said = project.init(*data("english", name), language=language)
    assert "tokens per character" in said
    commands = advised(said)
    assert [words[:2] for words in commands] == [
        ["vocab", "characters"], ["vocab", "extend"], ["model", "extend"],
    ]  # fmt: skip
    for words in commands:
        linly_ok(*words)
    extended = commands[-1][-1]
    said = project.init(*data("english", name), language=language, model=extended)
    assert "tokens per character" not in said


def test_advice_for_a_byte_level_vocabulary_makes_a_folder(project: Project) -> None:
    tokenizer = byte_level(project.folder / "vocabulary")
    shutil.rmtree(project.folder / "model")
    save_model(init_model("nano", tokenizer), tokenizer, project.folder / "model")
    _, extend, grow = advised(project.init(*data("english", "chinese")))
    assert extend[-1] == "zh-vocabulary"
    assert grow[grow.index("--tokenizer") + 1] == "zh-vocabulary"


def test_a_language_without_a_standard_takes_characters_of_the_data(project: Project) -> None:
    write_records(project.folder / "data" / "russian.jsonl", documents(RUSSIAN, 200))
    said = project.init(*data("english", "russian"), language="ru")
    characters = advised(said)[0]
    assert characters[characters.index("--from-corpus") + 1] == "russian"
    linly_ok(*characters)
    assert "ы" in (project.folder / "ru-characters.txt").read_text().split()


def test_public_corpora_are_found_below_the_data_root(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project.folder / "public"
    write_records(root / "skypile" / "data" / "0.jsonl", DATA["chinese"])
    write_records(root / "wiki_zh" / "AA" / "wiki_00", DATA["chinese"][:50])
    monkeypatch.setenv("LINLY_DATA", str(root))
    project.init()
    recipe = project.recipe()
    assert set(recipe.curriculum.sources) == {"skypile", "wiki2019zh"}
    assert recipe.data_root == root
    text = (project.folder / "recipes" / "model-zh.yaml").read_text()
    assert "data_root: ${LINLY_DATA}" in text


def test_without_data_the_ways_to_name_it_are_listed(project: Project) -> None:
    error = project.error()
    assert "--data" in error and "LINLY_DATA" in error
    assert "none of linly's corpora" in project.error("--data-root", "data")


def test_a_missing_model_is_named_as_one(project: Project) -> None:
    shutil.rmtree(project.folder / "model")
    assert "model model: no such folder" in project.error(*data("english", "chinese"))


def test_a_model_on_the_hub_is_named_at_its_commit(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with model_hub(monkeypatch, project.folder / "cache") as hub:
        commit = hub.publish("org/base", folder_files(project.folder / "model"))
        project.init(*data("english", "chinese"), model="org/base")
        assert project.recipe("base-zh").model == HubModel("org/base", commit)
        linly_ok("check", "recipes/base-zh.yaml")


def test_a_corpus_file_is_taken_as_it_is(project: Project) -> None:
    corpus = project.folder / "mine.yaml"
    corpus.write_text("language: zh\nkind: text\npaths: [data/chinese.jsonl]\nheld_out: 10%\n")
    project.init("--data", corpus, *data("english"))
    assert (project.folder / "corpora" / "mine.yaml").read_bytes() == corpus.read_bytes()
    assert project.recipe().corpora["mine"].held_out == 0.1


def test_a_chat_model_keeps_its_template(project: Project) -> None:
    template = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    (project.folder / "model" / "chat_template.jinja").write_text(template)
    project.init(*data("english", "chinese", "tasks"))
    assert project.recipe().corpora["tasks"].template == "chat"


def test_names_and_paths_with_odd_characters_survive(project: Project) -> None:
    odd = project.folder / "my models: $x {1}"
    odd.mkdir()
    (project.folder / "model").rename(odd / "llama 7b, v1.5")
    project.init(*data("english", "chinese"), model=str(odd / "llama 7b, v1.5"))
    recipe = project.recipe("llama-7b-v1-5-zh")
    assert recipe.model == odd / "llama 7b, v1.5"
    linly_ok("check", "recipes/llama-7b-v1-5-zh.yaml")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--tokens", "many"), "--tokens: found 'many'"),
        (("--tokens", "50M"), "--tokens: found 50M"),
        (("--kept", "zh"), "--language: found 'zh', allowed: a language other than the kept one"),
        (("--kept", "English"), "--kept: found 'English', allowed: a language code such as en"),
        (("--name", "../mine"), "--name: found '../mine', allowed: a name of letters"),
    ],
)
def test_wrong_options_are_refused(project: Project, words: tuple[str, ...], problem: str) -> None:
    assert problem in project.error(*data("english", "chinese"), *words)
    assert written(project.folder) == {}
