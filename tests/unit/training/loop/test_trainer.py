"""A run in this process: what it records, how guards act, what comes out of it."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from linly.config.recipe import load_recipe
from linly.curriculum.mixture import Mixture
from linly.errors import CheckpointError, ConfigError, DataError, ExhaustedError, TrainingError
from linly.export.generation import Sampling, apply_template, generate_texts, open_model
from linly.export.model_export import ExportForm, assemble, export_run
from linly.export.run_checkpoints import open_checkpoints, parse_run
from linly.modeling.load_model import init_model
from linly.runs.runs import RunFolder
from linly.tokenization.load_tokenizer import load_tokenizer
from linly.training.checkpoints.manifest import verified
from linly.training.engine.losses import Losses
from linly.training.engine.objective import Objective
from linly.training.loop.start import prepare
from linly.training.loop.trainer import Outcome, train
from linly.training.ranks.processes import Processes
from tests.support.tiny_world import make_tiny_world

METRICS = {
    "step", "time", "tokens_seen", "loss", "loss_by_source", "lr", "grad_norm",
    "tokens_per_second", "data_wait_fraction", "target_share_by_source",
    "realized_share_by_source", "rows_by_source", "planned_rows_by_source",
    "drift_rows_by_source", "supervised_tokens_by_source", "padding_by_source", "epoch_by_source",
    "mfu", "skipped",
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_tiny_world(folder, num_steps=16)
    return folder


def start(
    world: Path, alone: Processes, name: str, *overrides: str, step: int | None = None
) -> Outcome:
    run = world / "runs" / name
    recipe = load_recipe(world / "recipe.yaml", [f"run={run}", "data.producers=0", *overrides])
    return train(recipe, alone, resume_step=step)


@pytest.fixture(scope="module")
def whole(world: Path, alone: Processes) -> Path:
    """A run of 16 steps with checkpoints at 7, 14 and 16."""
    outcome = start(world, alone, "whole")
    assert (outcome.step, outcome.is_complete, outcome.is_preempted) == (16, True, False)
    assert outcome.summary.startswith("zh ")
    assert "bits/byte, en " in outcome.summary
    assert "largest drift 0." in outcome.summary
    return world / "runs" / "whole"


def lines(run: Path, name: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (run / f"{name}.jsonl").read_bytes().splitlines()]


def row_table(run: Path) -> list[dict[str, Any]]:
    return [
        row
        for part in sorted((run / "rows").glob("*.parquet"))
        for row in pq.read_table(part).to_pylist()
    ]


def test_the_run_folder_holds_what_it_should(whole: Path) -> None:
    for name in ("recipe.yaml", "curriculum.yaml", "shards/chinese.jsonl", "held_out/tuned.jsonl"):
        assert (whole / name).stat().st_size > 0
    assert list((whole / "tensorboard").iterdir())
    assert [line["step"] for line in lines(whole, "evaluations")] == [0, 16]
    events = {line["kind"]: line["text"] for line in lines(whole, "events")}
    assert events.keys() == {"start", "model", "checkpoint", "end"}
    assert events["model"].endswith("; attention sdpa, loss chunked")
    assert lines(whole, "samples")[0]["prompt"] == "the cat"


def test_metrics_equal_a_recount_of_the_row_record(whole: Path, world: Path) -> None:
    rows = row_table(whole)
    recipe = load_recipe(world / "recipe.yaml")
    mixture = Mixture.from_curriculum(recipe.curriculum, num_rows=recipe.num_rows)
    for metrics in lines(whole, "metrics"):
        assert set(metrics) == METRICS
        step = metrics["step"]
        seen = rows[: step * 8]
        now = rows[(step - 1) * 8 : step * 8]
        assert {row["step"] for row in now} == {step}
        for source in mixture.sources:
            own = [row for row in seen if row["source"] == source]
            assert metrics["rows_by_source"][source] == len(own)
            assert metrics["supervised_tokens_by_source"][source] == sum(
                row["supervised_tokens"] for row in own
            )
            assert metrics["padding_by_source"][source] == sum(row["padding"] for row in own)
            share = sum(row["source"] == source for row in now) / 8
            assert metrics["realized_share_by_source"][source] == pytest.approx(share)
        integral = mixture.integral([step * 8])[0]
        for source, planned in zip(mixture.sources, integral, strict=True):
            assert metrics["planned_rows_by_source"][source] == pytest.approx(planned)
        targets = sum(row["supervised_tokens"] for row in now)
        nll = sum(row["loss"] * row["supervised_tokens"] for row in now if row["loss"] is not None)
        assert metrics["loss"] == pytest.approx(nll / targets, rel=1e-5)
        assert metrics["tokens_seen"] == step * 8 * 32


def test_the_model_learns(whole: Path) -> None:
    before, after = (line["sources"] for line in lines(whole, "evaluations"))
    for source in ("chinese", "english", "tuned"):
        assert after[source]["bits_per_byte"] < before[source]["bits_per_byte"]


def test_resuming_a_finished_run_trains_nothing(whole: Path, world: Path, alone: Processes) -> None:
    run = world / "runs" / "again"
    shutil.copytree(whole, run)
    assert start(world, alone, "again").step == 16
    assert lines(run, "metrics") == lines(whole, "metrics")


def test_going_back_to_a_step_repeats_its_future(
    whole: Path, world: Path, alone: Processes
) -> None:
    run = world / "runs" / "back"
    shutil.copytree(whole, run)
    start(world, alone, "back", step=7)
    assert row_table(run) == row_table(whole)
    kinds = [line["kind"] for line in lines(run, "events")]
    assert "resume" in kinds
    assert (run / "checkpoints" / "abandoned-step-00000016").is_dir()
    with pytest.raises(CheckpointError, match="step-00000009 was requested"):
        start(world, alone, "back", step=9)


def test_a_lower_rate_is_taken_on_the_record(whole: Path, world: Path, alone: Processes) -> None:
    run = world / "runs" / "slower"
    shutil.copytree(whole, run)
    start(world, alone, "slower", "training.lr=1e-4", step=14)
    resumed = [line for line in lines(run, "events") if line["kind"] == "resume"]
    assert "training.lr: 0.001 -> 0.0001" in resumed[0]["text"]
    assert lines(run, "metrics")[-1]["lr"] == pytest.approx(1e-5)


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A function that multiplies the loss in steps of a range; micro-batches are counted."""
    calls, factor = 0, math.nan
    steps = range(0)
    real = Objective.forward

    def sick(*arguments: Any) -> Losses:
        nonlocal calls
        step = calls // 4 + 1
        calls += 1
        losses = real(*arguments)
        return Losses(*(loss * factor for loss in losses)) if step in steps else losses

    def choose(chosen: range, by: float = math.nan) -> None:
        nonlocal steps, factor
        steps, factor = chosen, by

    monkeypatch.setattr(Objective, "forward", sick)
    yield choose


def test_a_nan_is_skipped_named_and_counted(
    world: Path, alone: Processes, poison: Callable[..., None]
) -> None:
    poison(range(3, 5))
    start(world, alone, "nan", "stop_at_step=7")
    run = world / "runs" / "nan"
    metrics = lines(run, "metrics")
    assert [line["step"] for line in metrics if line["skipped"]] == [3, 4]
    assert all(line["loss"] is None for line in metrics if line["skipped"])
    skips = [line for line in lines(run, "events") if line["kind"] == "skip"]
    assert [skip["rows"] for skip in skips] == [list(range(16, 24)), list(range(24, 32))]
    checkpoint, _ = verified(run / "checkpoints", 7)
    state = orjson.loads((checkpoint / "state.json").read_bytes())
    assert state["optimizer_steps"] == 5
    assert state["guards"]["total"] == 2
    assert metrics[-1]["loss"] < metrics[0]["loss"] * 1.1


def test_a_spike_is_skipped_though_its_gradient_is_finite(
    world: Path, alone: Processes, poison: Callable[..., None]
) -> None:
    poison(range(13, 14), 1e3)
    start(world, alone, "spike")
    run = world / "runs" / "spike"
    assert [line["step"] for line in lines(run, "metrics") if line["skipped"]] == [13]
    checkpoint, _ = verified(run / "checkpoints", 16)
    state = orjson.loads((checkpoint / "state.json").read_bytes())
    assert state["optimizer_steps"] == 15


def test_too_many_nans_in_a_row_end_the_run(
    world: Path, alone: Processes, poison: Callable[..., None]
) -> None:
    poison(range(9, 99))
    with pytest.raises(TrainingError, match=r"3 steps in a row were skipped"):
        start(world, alone, "sick")
    run = world / "runs" / "sick"
    assert [line["step"] for line in lines(run, "metrics")] == list(range(1, 12))
    assert row_table(run)[-1]["step"] == 11  # the rows to look at are on disk
    assert verified(run / "checkpoints", None)[0].name == "step-00000007"


def test_a_world_size_that_does_not_fit_is_refused_before_anything_is_read(world: Path) -> None:
    run, three = world / "runs" / "three", Processes(0, 3, torch.device("cpu"))
    recipe = load_recipe(world / "recipe.yaml", [f"run={run}", "model=nowhere"])
    with pytest.raises(ConfigError, match=r"world size 3 .*micro_batch 2.*that fit: 1, 2, 4$"):
        prepare(recipe, RunFolder(run), three, resume_step=None)
    assert not run.exists()


def test_a_source_that_would_run_out_is_refused_before_the_first_step(
    world: Path, alone: Processes
) -> None:
    with pytest.raises(ConfigError, match=r"max_epochs") as refused:
        start(world, alone, "exhausted", "curriculum.tokens=4M")
    assert "tuned" in str(refused.value)
    assert not (world / "runs" / "exhausted" / "metrics.jsonl").exists()


def test_a_planned_end_of_a_source_completes_the_run(
    world: Path, alone: Processes, tmp_path: Path
) -> None:
    """Also when it is started again, and the bad records past the last row are in the ledger."""
    copy = tmp_path / "world"
    shutil.copytree(world, copy, ignore=shutil.ignore_patterns("runs"))
    tuned = copy / "data" / "tuned" / "0.jsonl"
    records = tuned.read_bytes().splitlines(keepends=True)[:100]
    tuned.write_bytes(b"".join(records) + b'{"instruction": "no output"}\n' * 3)
    share = "{share: 100%, max_epochs: 1, on_exhausted: stop}"
    curriculum = copy / "curriculum.yaml"
    text = curriculum.read_text().replace("tuned: 100%", f"tuned: {share}")
    for name in ("english", "chinese"):
        text = text.replace(f"{name}: 100%", f"{name}: {{share: 100%, max_epochs: 20}}")
    curriculum.write_text(text)
    for _ in range(2):
        outcome = start(copy, alone, "ended", "curriculum.tokens=400K", "evaluation.every=1000")
        assert outcome.is_complete
        assert outcome.step < 400_000 // 32 // 8
        assert "tuned" in str(outcome.exhausted)
    assert [line["reason"] for line in lines(copy / "runs" / "ended", "quarantine")] == [
        "field 'output' is missing; fields found: 'instruction'"
    ] * 3
    every = f"evaluation.every={outcome.step}"
    start(copy, alone, "evaluated", "curriculum.tokens=400K", every, "checkpoint.every=1000")
    evaluated = [
        record.step for record in RunFolder.open(copy / "runs" / "evaluated").read_evaluations()
    ]
    assert evaluated == [0, outcome.step], "the last step is evaluated once"


def test_what_was_trained_before_a_source_ran_out_is_saved(
    world: Path, alone: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan may let it run out where it has but an estimate of the tokens."""
    monkeypatch.setattr(
        "linly.training.loop.start_checks.check_plan", lambda plan, curriculum: None
    )
    copy = tmp_path / "world"
    shutil.copytree(world, copy, ignore=shutil.ignore_patterns("runs"))
    tuned = copy / "data" / "tuned" / "0.jsonl"
    tuned.write_bytes(b"".join(tuned.read_bytes().splitlines(keepends=True)[:20]))
    curriculum = copy / "curriculum.yaml"
    text = curriculum.read_text().replace("tuned: 100%", "tuned: {share: 100%, max_epochs: 1}")
    curriculum.write_text(text)
    long = ("curriculum.tokens=400K", "evaluation.every=1000", "checkpoint.every=1000")
    with pytest.raises(ExhaustedError, match="'tuned' has read its max_epochs 1"):
        start(copy, alone, "ran-out", *long)
    run = copy / "runs" / "ran-out"
    num_steps = len(lines(run, "metrics"))
    assert num_steps > 2
    assert [path.name for path in (run / "checkpoints").iterdir()] == [f"step-{num_steps:08}"]
    with pytest.raises(ExhaustedError):
        start(copy, alone, "ran-out", *long)
    assert len(lines(run, "metrics")) == num_steps


def test_a_source_without_held_out_documents_trains_unevaluated(
    world: Path, alone: Processes, tmp_path: Path
) -> None:
    copy = tmp_path / "world"
    shutil.copytree(world, copy, ignore=shutil.ignore_patterns("runs"))
    for name in ("english", "chinese", "tuned"):
        corpus = copy / "corpora" / f"{name}.yaml"
        if name != "chinese":
            corpus.write_text(corpus.read_text().replace("held_out: 10%", "held_out: 0%"))
    start(copy, alone, "blind", "stop_at_step=1")
    assert set(lines(copy / "runs" / "blind", "evaluations")[0]["sources"]) == {"chinese"}


def test_a_shard_changed_since_the_start_is_refused(
    world: Path, alone: Processes, tmp_path: Path
) -> None:
    copy = tmp_path / "world"
    shutil.copytree(world, copy, ignore=shutil.ignore_patterns("runs"))
    start(copy, alone, "changed", "stop_at_step=7")
    for shard in (copy / "data" / "english").iterdir():
        shard.write_bytes(b"".join(shard.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match="it has changed since"):
        start(copy, alone, "changed")


def test_every_resume_is_a_decision(world: Path, alone: Processes) -> None:
    start(world, alone, "decided", "stop_at_step=7")
    start(world, alone, "decided", "stop_at_step=14", "training.lr=5e-4")
    start(world, alone, "decided", "stop_at_step=14", step=7)
    start_line, *decisions = lines(world / "runs" / "decided", "decisions")
    assert start_line["kind"] == "start"
    assert [line["step"] for line in decisions] == [7, 7]
    assert decisions[0]["changes"] == [{"key": "training.lr", "before": 1e-3, "now": 5e-4}]
    assert decisions[1]["changes"] == []
    assert decisions[1]["set_aside"] == ["abandoned-step-00000014"]


def test_a_tokenizer_larger_than_the_embedding_is_refused(world: Path, alone: Processes) -> None:
    model = world / "small-model"
    shutil.copytree(world / "model", model)
    config = orjson.loads((model / "config.json").read_bytes())
    tokenizer = load_tokenizer(model)
    small = init_model("nano", tokenizer)
    small.resize_token_embeddings(tokenizer.vocab_size - 8, mean_resizing=False)
    small.save_pretrained(model)
    with pytest.raises(ConfigError, match=rf"{config['vocab_size']} pieces.*linly model extend"):
        start(world, alone, "vocabulary", f"model={model}")


def test_an_export_gives_the_checkpoints_logits_in_plain_transformers(
    whole: Path, tmp_path: Path
) -> None:
    exported = export_run(whole, steps=[14], output=tmp_path / "out", form=ExportForm("bf16"))
    assert exported.steps == (14,)
    assert exported.tokenizer.exact
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="bfloat16")
    run = RunFolder.open(whole)
    ours = assemble(open_checkpoints(run, [14]), torch.bfloat16)
    tokenizer = load_tokenizer(whole / "model")
    text = "the cat 看见大树"
    ids = AutoTokenizer.from_pretrained(tmp_path / "out")(text, return_tensors="pt").input_ids
    assert ids[0, 1:].tolist() == tokenizer.encode(text).tolist()
    with torch.no_grad():
        assert torch.equal(model(ids).logits, ours(ids).logits)
    assert "| chinese |" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(ConfigError, match="not an empty folder"):
        export_run(whole, steps=[14], output=tmp_path / "out", form=ExportForm("bf16"))


def test_a_command_prints_what_it_found_and_nothing_else(
    whole: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In processes of their own: DeepSpeed writes to stdout where it is loaded first."""
    monkeypatch.setenv("DS_ACCELERATOR", "")
    monkeypatch.delenv("DS_ACCELERATOR")
    recipe, model = str(world / "recipe.yaml"), str(tmp_path / "exported")
    words = (("export", str(whole), "--output", model), ("check", recipe, "run=runs/next"))
    exported, checked = (
        subprocess.run(
            [sys.executable, "-m", "linly.cli.main", *command],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.splitlines()
        for command in words
    )
    assert [line.split(",")[0] for line in exported] == [f"{model}: step 16"]
    assert {line[:5] for line in checked} == {"ok   ", "note "}


def test_generation_from_a_run_and_from_its_export_agree(whole: Path, tmp_path: Path) -> None:
    export_run(whole, steps=[], output=tmp_path / "out", form=ExportForm("bf16"))
    sampling = Sampling(max_new_tokens=6, temperature=0)
    texts = [
        list(generate_texts(open_model(name), ["the cat"], template="linly", sampling=sampling))
        for name in (str(whole), str(tmp_path / "out"))
    ]
    assert texts[0] == texts[1]
    warm = Sampling(max_new_tokens=6, seed=3)
    first, second = (
        list(generate_texts(open_model(str(whole)), ["猫"], template="text", sampling=warm))
        for _ in range(2)
    )
    assert first == second


def test_prompts_stand_in_the_templates_of_training() -> None:
    assert apply_template("linly", "hi") == "### Instruction:hi  ### Response:"
    assert apply_template("text", "hi") == "hi"
    with pytest.raises(ConfigError, match="allowed: text, alpaca"):
        apply_template("lama", "hi")


def test_a_run_may_be_named_with_a_step(tmp_path: Path) -> None:
    assert parse_run("runs/a@step-20") == (Path("runs/a"), (20,))
    assert parse_run("runs/a") == (Path("runs/a"), ())
    (tmp_path / "a@2").mkdir()
    assert parse_run(str(tmp_path / "a@2")) == (tmp_path / "a@2", ())
