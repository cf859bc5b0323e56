"""A recipe joins its files, `extends`, overrides and variables; errors name the place of each."""

import os
import pickle
from pathlib import Path

import pytest

from linly.config.chat_format import read_chat_format
from linly.config.recipe import Recipe, load_recipe
from linly.config.sections.training_section import TrainingSettings
from linly.config.shapes import Linear
from linly.config.yaml.overrides import parse_override
from linly.errors import ConfigError
from linly.shipped import CORPORA
from tests.support.chat_templates import LLAMA3, write_byte_level

CURRICULUM = """\
tokens: 1M
mixture:
  english:
    ratio: {curve: cosine, from: 70%, to: 20%}
    sources: {books: 100%}
  parallel:
    ratio: rest
    sources: {pairs: {share: 100%, max_epochs: 9}}
"""
BOOKS = 'language: en\nkind: text\npaths: ["books/*.jsonl"]\n'
PAIRS = 'kind: parallel\npaths: {en: "*.en", zh: "*.zh"}\n'
BASE = """\
curriculum: ../curricula/mix.yaml
corpora: [../corpora]
data: {sequence_length: 128, global_batch: 16}
training:
  lr: 1e-4
  betas: [0.8, 0.9]
"""
RECIPE = """\
extends: base.yaml
data_root: ${LINLY_TEST_ROOT}/data
run: runs/mine
model: ../models/tiny
data: {global_batch: 8}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder; the working directory is beside it."""
    files = {
        "curricula/mix.yaml": CURRICULUM,
        "corpora/books.yaml": BOOKS,
        "corpora/pairs.yaml": PAIRS,
        "corpora/unused.yaml": "this: is no corpus\n",
        "recipes/base.yaml": BASE,
        "recipes/mine.yaml": RECIPE,
    }
    for name, text in files.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("LINLY_TEST_ROOT", "/big")
    return tmp_path / "project"


def load(project: Path, *overrides: str) -> Recipe:
    return load_recipe(project / "recipes/mine.yaml", overrides)


def error(project: Path, *overrides: str) -> str:
    """The message, with the project's folder left out."""
    with pytest.raises(ConfigError) as caught:
        load(project, *overrides)
    return str(caught.value).replace(f"{project}/", "")


def edit(project: Path, name: str, old: str, new: str) -> None:
    path = project / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_recipe_joins_what_it_names(project: Path) -> None:
    recipe = load(project)
    assert (recipe.name, recipe.curriculum.name) == ("mine", "mix")
    assert set(recipe.corpora) == {"books", "pairs"}
    assert (recipe.num_rows, recipe.num_steps) == (1_000_000 // 128, 1_000_000 // 128 // 8)
    assert recipe.stop_at_step is None


def test_sections_are_inherited_key_by_key_and_lists_as_a_whole(project: Path) -> None:
    recipe = load(project)
    assert (recipe.data.sequence_length, recipe.data.global_batch) == (128, 8)
    assert (recipe.training.lr, recipe.training.betas) == (1e-4, (0.8, 0.9))
    edit(project, "recipes/mine.yaml", "data: ", "training: {betas: [0.1, 0.2]}\ndata: ")
    assert load(project).training.betas == (0.1, 0.2)
    assert load(project).training.lr == 1e-4


def test_paths_start_at_the_file_that_names_them_and_run_where_the_user_is(project: Path) -> None:
    recipe = load(project)
    assert recipe.model == project / "models/tiny"
    assert recipe.data_root == Path("/big/data")
    assert recipe.run == Path.cwd() / "runs/mine"
    other = load(project, "model=./models/x", "data_root=../d", "run=/abs/run")
    assert other.model == Path.cwd() / "models/x"
    assert other.data_root == Path.cwd().parent / "d"
    assert other.run == Path("/abs/run")


def test_a_chain_of_extends_is_followed_from_each_files_own_folder(project: Path) -> None:
    deeper = project / "deeper/child.yaml"
    deeper.parent.mkdir()
    deeper.write_text("extends: ../recipes/mine.yaml\nmodel: tiny\ntraining: {lr: 3}\n")
    recipe = load_recipe(deeper)
    assert recipe.model == project / "deeper/tiny"
    assert recipe.curriculum.name == "mix"
    assert (recipe.training.lr, recipe.training.betas) == (3.0, (0.8, 0.9))


def test_a_recipe_anywhere_can_name_what_comes_with_linly(tmp_path: Path) -> None:
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "books.yaml").write_text(BOOKS, encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(
        "extends: linly:recipes/base.yaml\n"
        "curriculum: linly:curricula/linly-llama2-guarded.yaml\n"
        "corpora: [linly:corpora, corpora]\n"
        "data_root: data\nrun: runs/mine\n",
        encoding="utf-8",
    )
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert recipe.curriculum.name == "linly-llama2-guarded"
    assert recipe.data.global_batch == 512
    assert recipe.corpora["slimpajama"].language == "en"
    assert recipe.data_root == tmp_path / "data"
    assert recipe.corpus_folders == (CORPORA, tmp_path / "corpora")


def test_a_recipe_that_comes_with_linly_is_read_by_its_name(tmp_path: Path) -> None:
    settings = [f"data_root={tmp_path}", "curriculum=linly:curricula/linly-llama2-guarded.yaml"]
    recipe = load_recipe(Path("linly:recipes/linly-llama2-7b.yaml"), settings)
    assert recipe.name == "linly-llama2-7b"
    assert recipe.curriculum.name == "linly-llama2-guarded"


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("extends", "linly:recipes/bass.yaml"),
        ("curriculum", "linly:curricula/../recipes/base.yaml"),
        ("corpora", "linly:corpora/alpaca.yaml"),
    ],
)
def test_what_does_not_come_with_linly_is_named_with_its_place(
    project: Path, key: str, name: str
) -> None:
    recipe = project / "recipes" / "wrong.yaml"
    values = {"extends": "base.yaml", "run": "runs/mine", "data_root": "data", key: name}
    lines = [f"{known}: {value}" for known, value in values.items()]
    recipe.write_text("\n".join(lines), encoding="utf-8")
    place = f"wrong.yaml:{list(values).index(key) + 1}"
    with pytest.raises(ConfigError) as refused:
        load_recipe(recipe)
    assert f"{place}: {key}: found {name!r}, which does not come" in str(refused.value)


def test_a_circle_of_extends_is_refused(project: Path) -> None:
    edit(project, "recipes/base.yaml", "curriculum:", "extends: mine.yaml\ncurriculum:")
    assert error(project) == (
        "recipes/base.yaml:1: extends: found a circle: recipes/mine.yaml -> recipes/base.yaml -> "
        "recipes/mine.yaml"
    )


def test_a_missing_parent_is_refused(project: Path) -> None:
    edit(project, "recipes/mine.yaml", "base.yaml", "bse.yaml")
    assert error(project) == (
        "recipes/mine.yaml:1: extends: found 'bse.yaml', allowed: an existing recipe; "
        "recipes/bse.yaml does not exist"
    )


def test_overrides_reach_recipe_curriculum_and_corpora(project: Path) -> None:
    recipe = load(
        project,
        "training.lr=2e-5",
        "curriculum.tokens=200K",
        "curriculum.mixture.english.ratio={curve: linear, from: 50%, to: 0%}",
        "curriculum.mixture.parallel.sources.pairs.max_epochs=2",
        "corpora.books.held_out=1%",
        "stop_at_step=20",
        "model=null",
        "evaluation.prompts=[a, '中']",
        "training.lr=3e-5",
    )
    assert recipe.training.lr == 3e-5
    assert recipe.curriculum.tokens == 200_000
    curve = recipe.curriculum.mixture["english"].ratio
    assert curve is not None
    assert curve.shape == Linear()
    assert recipe.curriculum.sources["pairs"][1].max_epochs == 2
    assert recipe.corpora["books"].held_out == 0.01
    assert recipe.stop_at_step == 20
    assert recipe.model is None
    assert recipe.evaluation.prompts == ("a", "中")


def test_a_recipes_packing_is_that_of_every_corpus(project: Path, tmp_path: Path) -> None:
    assert {corpus.packing for corpus in load(project).corpora.values()} == {"chunk"}
    recipe = load(project, "data.packing=one-document")
    assert {corpus.packing for corpus in recipe.corpora.values()} == {"one-document"}
    (tmp_path / "resolved.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(tmp_path / "resolved.yaml") == recipe
    one = load(project, "corpora.books.packing=one-document")
    assert [one.corpora[name].packing for name in ("books", "pairs")] == ["one-document", "chunk"]
    text = error(project, "data.packing=onedocument")
    assert "data.packing=onedocument: found 'onedocument', did you mean 'one-document'?" in text


def test_an_override_may_name_another_curriculum_and_change_it(project: Path) -> None:
    other = Path.cwd() / "other.yaml"
    other.write_text("tokens: 5M\nmixture: {en: {ratio: 100%, sources: {books: 100%}}}\n")
    recipe = load(project, "curriculum.tokens=1M", "curriculum=other.yaml")
    assert (recipe.curriculum.name, recipe.curriculum.tokens) == ("other", 1_000_000)
    assert set(recipe.corpora) == {"books"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1e-4", 1e-4),
        ("a=no", "no"),
        ("a=12:30", "12:30"),
        ("a=true", True),
        ("a='true'", "true"),
        ("a=null", None),
        ("a=[1, x]", [1, "x"]),
        ("a={b: 70%}", {"b": "70%"}),
        ("a=x=y", "x=y"),
        ("a=../b", "../b"),
    ],
)
def test_an_overrides_value_has_its_yaml_type(text: str, value: object) -> None:
    assert parse_override(text).value.plain() == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "training.lr",
            "override 'training.lr': allowed: KEY=VALUE, such as training.lr=1e-4",
        ),
        (
            "training..lr=1",
            "override 'training..lr=1': allowed: KEY=VALUE, such as training.lr=1e-4",
        ),
        (
            "training.lr=",
            "override 'training.lr=': found no value, allowed: a YAML value (or null)",
        ),
        (
            "training.lr=.nan",
            "override training.lr=.nan: found .nan, allowed: a finite number",
        ),
        (
            "training.lr=!!float 1",
            "override training.lr=!!float 1: found the tag 'tag:yaml.org,2002:float', allowed "
            "are none",
        ),
        (
            "training.lr='1'",
            "override training.lr='1': found '1', allowed: a number",
        ),
        (
            "training.lrr=1",
            "override training.lrr=1: unknown key 'lrr', did you mean 'lr'? allowed: "
            + ", ".join(sorted(TrainingSettings.file_keys())),
        ),
        (
            "trainig.lr=1",
            "override trainig.lr=1: trainig: unknown key 'trainig', did you mean 'training'? "
            "allowed: alarms, checkpoint, corpora, curriculum, data, data_root, evaluation, "
            "extends, guards, languages, mlflow, model, name, run, stop_at_step, trackio, "
            "training, wandb",
        ),
        (
            "training.lr.x=1",
            "override training.lr.x=1: training.lr is 0.0001 (recipes/base.yaml:5), allowed: a "
            "mapping there, or an override of all of it, training.lr=...",
        ),
        (
            "data.global_batch=true",
            "override data.global_batch=true: found true, allowed: a whole number",
        ),
        (
            "data.global_batch=8.0",
            "override data.global_batch=8.0: found 8.0, allowed: a whole number",
        ),
        (
            "data.global_batch=0",
            "override data.global_batch=0: found 0, allowed: 1 or more",
        ),
        (
            "training.activation_checkpointing=yes",
            "override training.activation_checkpointing=yes: found 'yes', allowed: full, "
            "selective, none",
        ),
        (
            "training.betas=[0.9]",
            "override training.betas=[0.9]: training.betas[1]: missing, one more item is required",
        ),
        (
            "training.micro_batch=3",
            "override training.micro_batch=3: found 3, allowed: a divisor of data.global_batch (8)",
        ),
        (
            "curriculum.tokens=1K",
            "override curriculum.tokens=1K: found 1,000 tokens, allowed: at least one step of "
            "8 rows x 128 = 1,024 tokens (data.global_batch x data.sequence_length)",
        ),
        (
            "curriculum.tokns=1K",
            "override curriculum.tokns=1K: unknown key 'tokns', did you mean 'tokens'? allowed: "
            "mixture, name, tokens",
        ),
        (
            "curriculum.mixture.english.ratio.from=101%",
            "override curriculum.mixture.english.ratio.from=101%: found '101%', allowed: a "
            "percentage from 0% to 100%",
        ),
        (
            "corpora.boks.held_out=1%",
            "override corpora.boks.held_out=1%: unknown corpus 'boks', did you mean 'books'? "
            "allowed: books, pairs, unused",
        ),
        (
            "corpora.unused.held_out=1%",
            "override corpora.unused.held_out=1%: the curriculum does not use this corpus, "
            "allowed: books, pairs",
        ),
        (
            "corpora.books.held=1%",
            "override corpora.books.held=1%: unknown key 'held', did you mean 'held_out'? "
            "allowed: chat_date, columns, damaged_shards, delimiter, encoding, escape, exclude, "
            "exclude_records, fields, format, held_out, "
            "kind, language, max_bad_fraction, packing, paths, read_attempts, read_delay_s, "
            "template, where",
        ),
        (
            "corpora=nope",
            "override corpora=nope: corpora: found 'nope', allowed: an existing folder; nope "
            "does not exist",
        ),
        (
            "corpora=[]",
            "override corpora=[]: found an empty list, allowed: a list of folders, such as "
            "[../../corpora]",
        ),
        (
            "curriculum=nope.yaml",
            "override curriculum=nope.yaml: curriculum: found 'nope.yaml', allowed: an existing "
            "file; nope.yaml does not exist",
        ),
        (
            "extends=other.yaml",
            "override extends=other.yaml: extends is allowed only in a recipe file; "
            "pass that file instead",
        ),
        (
            "data=5",
            "override data=5: found 5, allowed: a mapping of keys to values",
        ),
        (
            "model=5",
            "override model=5: found 5, allowed: a model folder or a hub id such as org/name",
        ),
        (
            "data_root=${LINLY_NOT_SET}",
            "override data_root=${LINLY_NOT_SET}: data_root: found ${LINLY_NOT_SET}, but the "
            "environment variable LINLY_NOT_SET is not set: export LINLY_NOT_SET=..., or pass "
            "data_root=... on the command line",
        ),
    ],
)
def test_wrong_overrides_are_named(project: Path, override: str, message: str) -> None:
    assert error(project, override) == message


@pytest.mark.parametrize("run", ["../x", "a/../x", "..", "/", '"a\\0b"', '""', "a/b c", "runs/.x"])
def test_a_run_name_that_could_lead_astray_is_refused(project: Path, run: str) -> None:
    assert error(project, f"run={run}").startswith(f"override run={run}: ")


def test_a_missing_corpus_is_named_with_the_nearest(project: Path) -> None:
    edit(project, "curricula/mix.yaml", "books: 100%", "boks: 100%")
    assert error(project) == (
        "curricula/mix.yaml:5: mixture.english.sources.boks: unknown corpus 'boks', did you mean "
        "'books'? allowed: books, pairs, unused (in corpora)"
    ).replace("(in corpora)", f"(in {project}/corpora)".replace(f"{project}/", ""))


def test_a_template_that_does_not_fit_the_corpus_is_refused(project: Path) -> None:
    edit(project, "curricula/mix.yaml", "books: 100%", "books: {share: 100%, template: linly}")
    assert error(project) == (
        "curricula/mix.yaml:5: mixture.english.sources.books.template: found 'linly', allowed for "
        "kind text: text, inscp"
    )


def test_the_models_chat_format_is_given_to_the_corpora_that_need_it(project: Path) -> None:
    edit(project, "curricula/mix.yaml", "books: 100%", "books: {share: 100%, template: inscp}")
    assert "models/tiny: no chat template" in error(project)
    folder = write_byte_level(project / "models/tiny", LLAMA3)
    recipe = load(project)
    assert recipe.corpora["books"].chat == read_chat_format(folder)
    assert recipe.corpora["pairs"].chat is None
    (project / "resolved.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    write_byte_level(folder, "another template")
    assert load_recipe(project / "resolved.yaml") == recipe


def test_required_keys_are_named(project: Path) -> None:
    edit(project, "recipes/mine.yaml", "run: runs/mine\n", "")
    assert error(project) == (
        "recipes/mine.yaml:1: run: missing, this key is required (in the recipe, or what it "
        "extends)"
    )


def test_an_error_in_an_inherited_key_names_the_file_that_has_it(project: Path) -> None:
    edit(project, "recipes/base.yaml", "lr: 1e-4", "lr: fast")
    assert error(project) == "recipes/base.yaml:5: training.lr: found 'fast', allowed: a number"


def test_a_variable_that_is_empty_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINLY_TEST_ROOT", "")
    assert error(project).startswith(
        "recipes/mine.yaml:2: data_root: found ${LINLY_TEST_ROOT}, but the environment variable "
        "LINLY_TEST_ROOT is empty"
    )


@pytest.mark.parametrize("text", ["${", "${}", "${a b}", "${A"])
def test_what_is_no_variable_is_refused(project: Path, text: str) -> None:
    assert "found '${" in error(project, f"data_root='{text}'")


def test_variables_are_not_looked_up_in_what_they_hold(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINLY_TEST_ROOT", "/${HOME}")
    assert load(project).data_root == Path("/${HOME}/data")


def test_the_resolved_recipe_reads_back_equal_from_anywhere(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINLY_TEST_ROOT", "/with ${odd: #chars}")
    recipe = load(
        project,
        "evaluation.prompts=['$${X}', 'a: b', '1e-4', '中']",
        "training.warmup=3.3%",
        "corpora.books.where=[{field: n, at_least: 1e-4}]",
        "curriculum.mixture.english.ratio={curve: sigmoid, from: 33.3%, to: 0%}",
    )
    assert recipe.evaluation.prompts[0] == "${X}"
    resolved = tmp_path / "elsewhere/recipe.yaml"
    resolved.parent.mkdir()
    resolved.write_text(recipe.to_yaml(), encoding="utf-8")
    monkeypatch.chdir(resolved.parent)
    assert load_recipe(resolved) == recipe
    assert load_recipe(resolved).to_yaml() == recipe.to_yaml()


def test_a_resolved_recipe_can_be_overridden_and_names_its_own_lines(
    project: Path, tmp_path: Path
) -> None:
    resolved = tmp_path / "recipe.yaml"
    text = load(project).to_yaml()
    resolved.write_text(text, encoding="utf-8")
    recipe = load_recipe(resolved, ["curriculum.tokens=2M", "corpora.books.held_out=2%"])
    assert (recipe.curriculum.tokens, recipe.corpora["books"].held_out) == (2_000_000, 0.02)
    resolved.write_text(text.replace("tokens: 1M", "tokens: x"), encoding="utf-8")
    line = text[: text.index("tokens: 1M")].count("\n") + 1
    with pytest.raises(ConfigError, match=f"recipe.yaml:{line}: curriculum.tokens: found 'x'"):
        load_recipe(resolved)
    resolved.write_text(text.replace("kind: parallel", "kind: paralel"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"corpora\.pairs\.kind: found 'paralel', did you mean"):
        load_recipe(resolved)


def test_a_recipe_survives_the_way_to_another_process(project: Path) -> None:
    recipe = load(project)
    assert pickle.loads(pickle.dumps(recipe)) == recipe  # noqa: S301 - our own bytes


def test_a_link_in_the_way_is_not_replaced_by_its_target(project: Path) -> None:
    os.symlink(project, project.parent / "link")
    recipe = load_recipe(project.parent / "link/recipes/mine.yaml")
    assert recipe.model == project.parent / "link/models/tiny"


def test_nothing_is_sent_anywhere_unless_the_recipe_has_a_section_for_it(project: Path) -> None:
    assert load(project).wandb is None
    asked = load(project, "wandb.project='a $${b}'", "wandb.mode=offline")
    assert asked.wandb is not None
    assert (asked.wandb.project, asked.wandb.mode, asked.wandb.entity) == (
        "a ${b}",
        "offline",
        None,
    )
    (project / "resolved.yaml").write_text(asked.to_yaml(), encoding="utf-8")
    assert load_recipe(project / "resolved.yaml") == asked
    assert "wandb.project: missing" in error(project, "wandb.mode=offline").replace("  ", " ")
    assert "online" in error(project, "wandb.project=x", "wandb.mode=live")


def test_default_prompts_may_be_replaced_or_left_out(project: Path) -> None:
    usual = load(project).evaluation.prompts
    assert load(project, "evaluation.prompts=[]").evaluation.prompts == ()
    own = load(project, "evaluation.prompts=['a']")
    (project / "resolved.yaml").write_text(own.to_yaml(), encoding="utf-8")
    assert load_recipe(project / "resolved.yaml").evaluation.prompts == ("a",)
    (project / "usual.yaml").write_text(load(project).to_yaml(), encoding="utf-8")
    assert load_recipe(project / "usual.yaml").evaluation.prompts == usual
