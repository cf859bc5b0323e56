"""`linly check`: what would keep a run from starting is found and named, all of it at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from linly.cli.main import main
from tests.support.tiny_world import make_tiny_world


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_world(tmp_path_factory.mktemp("world"))


def checked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as leaving:
        main(["check", *arguments])
    text = capsys.readouterr()
    return int(leaving.value.code or 0), text.out, text.err


def test_a_sound_recipe_is_found_sound(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = checked(capsys, str(recipe), "--world-size", "2", "--gpu-gib", "80")
    assert code == 0, err
    assert "BAD" not in out
    assert f"ok   run folder: {recipe.parent / 'runs' / 'tiny'}\n" in out
    assert "ok   checkpoint: none yet; the run starts with step 1" in out
    assert "ok   plan: no source is read too often" in out
    assert "ok   world size: 2: 2 micro-batches of 2 rows per step on each rank" in out
    assert "ok   source english: 2 shards" in out
    assert re.search(r"ok   model: llama, 3\d\d rows for 3\d\d pieces; training [\d,]+ of", out)
    assert "a GPU has 80.0 GiB" in out
    assert "ok   disk:" in out
    assert not (recipe.parent / "runs" / "tiny").exists()


def test_averaged_weights_are_in_memory_and_disk(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A window takes 8 bytes of a weight, sharded over the ranks, beside the usual 12 on disk."""
    overrides = ["checkpoint.keep_last=1", "checkpoint.every=99"]
    _, out, _ = checked(capsys, str(recipe), *overrides)
    parameters = int(re.findall(r"training ([\d,]+) of", out)[0].replace(",", ""))
    before = float(re.findall(r"disk: ([\d.]+) MB for 2 checkpoints", out)[0])
    overrides += ["training.average={kind: window, steps: 10, every: 5}", "--world-size", "2"]
    _, out, _ = checked(capsys, str(recipe), *overrides)
    found = re.findall(r"ok   host memory: ([\d.]+) kB per rank for averaged weights", out)
    assert float(found[0]) == pytest.approx(parameters * 8 / 2 / 1000, rel=0.01)
    after = float(re.findall(r"disk: ([\d.]+) MB for 2 checkpoints", out)[0])
    assert after / before == pytest.approx(20 / 12, rel=0.02)


def test_a_mirror_of_another_run_is_found(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "shelf" / "tiny"
    code, out, _ = checked(capsys, str(recipe), f"checkpoint.mirror={tmp_path}/shelf")
    assert (code, f"ok   mirror: {place} is free" in out) == (0, True), out
    place.mkdir(parents=True)
    (place / "decisions.jsonl").write_text('{"step":0,"kind":"start","time":1500000000.0}\n')
    code, out, _ = checked(capsys, str(recipe), f"checkpoint.mirror={tmp_path}/shelf")
    assert code == 1
    assert f"BAD  mirror: checkpoint.mirror: {place} is the mirror of another run" in out
    (tmp_path / "file").write_text("")
    code, out, _ = checked(capsys, str(recipe), f"checkpoint.mirror={tmp_path}/file")
    assert f"note mirror: {tmp_path}/file/tiny cannot be reached" in out


def test_completions_longer_than_the_model_are_found(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = checked(capsys, str(recipe), "evaluation.max_new_tokens=2048")
    assert code == 1
    assert re.search(r"BAD +model: evaluation\.max_new_tokens: found 2,048, allowed: 2,0\d\d", out)


def test_everything_wrong_is_named_at_once(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = checked(
        capsys,
        str(recipe),
        "corpora.english.paths=['nowhere/*.jsonl']",
        "corpora.chinese.fields={text: words}",
        "model=nowhere",
        "--world-size",
        "3",
    )
    assert code == 1
    bad = [line.split(":")[0] for line in out.splitlines() if line.startswith("BAD")]
    assert bad == ["BAD  source chinese", "BAD  source english", "BAD  world size", "BAD  model"]
    assert "nowhere/*.jsonl" in out and "words" in out and "fit: 1, 2, 4" in out
    assert "4 of 8 checks failed" in err


def test_a_guard_that_never_decides_is_noted(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guard = "{source: tuned, max_rise: 3%, cap: 20%}"
    override = (
        f"curriculum.mixture.tuned.ratio={{curve: linear, from: 20%, to: 10%, guard: {guard}}}"
    )
    for every, says in ((5, "ok   guards: tuned: decide 3 times"), (20, "note guards: guards of")):
        code, out, err = checked(capsys, str(recipe), override, f"evaluation.every={every}")
        assert code == 0, err
        assert says in out


def test_a_folder_that_holds_no_run_is_named(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = checked(capsys, str(recipe), f"run={recipe.parent}", "--gpu-gib", "80")
    assert code == 1
    (line,) = [line for line in out.splitlines() if line.startswith("BAD")]
    assert line.startswith(f"BAD  run folder: run folder {recipe.parent}: is not a run")
    assert "found corpora/, curriculum.yaml, data/, model/, recipe.yaml and " in line


def test_every_empty_shard_is_named(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those that come after the first records: a run stops at each, or leaves it out."""
    for name in ("0", "1"):
        (tmp_path / f"{name}.jsonl").write_text('{"text": "the cat"}\n')
    for name in ("2.jsonl", "3.jsonl.zst"):
        (tmp_path / name).touch()
    paths = ("corpora.english.paths=['*.jsonl*']", f"data_root={tmp_path}")
    code, out, _ = checked(capsys, str(recipe), *paths)
    assert code == 1
    listed = "2 of 4 shards are empty: '2.jsonl', '3.jsonl.zst'"
    assert f"BAD  source english: {listed}; the run would stop at each" in out
    _, out, _ = checked(capsys, str(recipe), *paths, "corpora.english.damaged_shards=quarantine")
    (line,) = (line for line in out.splitlines() if " source english: " in line)
    assert line.startswith("note source english: 4 shards, ")
    assert line.endswith(f"; {listed}, and are quarantined")


def test_the_limit_of_zero_2_is_told_apart_from_too_few_gpus(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from linly.modeling import suitability
    from linly.modeling.parameters import ParameterCount

    def count(size: int) -> None:
        monkeypatch.setattr(suitability, "count_trained", lambda _: ParameterCount(size, size))

    count(70_000_000_000)
    code, out, _ = checked(capsys, str(recipe), "--world-size", "4", "--gpu-gib", "80")
    assert code == 1
    assert "no number of GPUs helps" in out
    count(7_000_000_000)
    code, out, _ = checked(capsys, str(recipe), "--world-size", "1", "--gpu-gib", "80")
    assert code == 1
    assert "use more ranks" in out


def test_a_part_that_trains_is_counted_and_a_target_that_is_none_is_named(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = ("--world-size", "1", "--gpu-gib", "80")
    _, out, _ = checked(capsys, str(recipe), "training.trainable=embeddings", *size)
    found = re.search(r"training ([\d,]+) of ([\d,]+) parameters \(\d+\.\d\d%\)", out)
    assert found is not None
    trained, total = (int(number.replace(",", "")) for number in found.groups())
    assert 0 < trained < total / 2
    setting = "training.trainable={lora: {targets: [q_prj]}}"
    code, out, _ = checked(capsys, str(recipe), setting, *size)
    assert code == 1
    assert "BAD  model: training.trainable.lora.targets: unknown linear layer" in out
    assert "did you mean 'q_proj'?" in out
    with pytest.raises(SystemExit):
        main(["plan", str(recipe), "--without-data", "training.trainable=embeddings"])
    assert found[0] in capsys.readouterr().out
