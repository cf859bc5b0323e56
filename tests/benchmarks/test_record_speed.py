"""What recording a step costs beside computing it, and how soon a long run's page is there."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForCausalLM

from linly.config.curriculum import load_curriculum
from linly.config.sections.watching_sections import AlarmSettings
from linly.curriculum.apportion import Apportioner, Phase
from linly.curriculum.mixture import Mixture
from linly.data.cursor import SourceCursor
from linly.data.mixing.mixed_row import MixedRow
from linly.data.types import Row
from linly.monitor.history.follow import RunFollower
from linly.monitor.pages.live import serve
from linly.records.row_loss import RowLoss
from linly.records.row_record import RowRecord
from linly.records.span import Span
from linly.runs.runs import RunFolder
from linly.training.recording.alarms import AlarmWatch
from linly.training.recording.recorder import row_records
from linly.training.recording.run_counts import Machine, RunCounts, StepFacts
from linly.training.recording.trackers.scalars import scalars_of
from linly.training.recording.trackers.tensorboard import TensorBoardLog

pytestmark = pytest.mark.benchmark

NUM_STEPS, ROWS, LENGTH = 5000, 16, 256
CURSOR = SourceCursor()
SOURCES = tuple(f"source-{number:02d}" for number in range(12))


def curriculum_text() -> str:
    shares = ", ".join(f"{name}: 16.6666666666%" for name in SOURCES[:5])
    rest = ", ".join(f"{name}: 16.6666666666%" for name in SOURCES[6:11])
    return (
        f"name: long\ntokens: {NUM_STEPS * ROWS * LENGTH}\nmixture:\n"
        "  english:\n    ratio: {curve: cosine, from: 80%, to: 20%}\n"
        f"    sources: {{{shares}, {SOURCES[5]}: 16.666666667%}}\n"
        f"  chinese:\n    ratio: rest\n    sources: {{{rest}, {SOURCES[11]}: 16.666666667%}}\n"
    )


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A run of 5,000 steps x 12 sources, recorded as the trainer does, and seconds a step."""
    path = tmp_path_factory.mktemp("runs") / "long"
    run = RunFolder.create_or_open(path)
    (path / "curriculum.yaml").write_text(curriculum_text())
    curriculum = load_curriculum(path / "curriculum.yaml")
    mixture = Mixture.from_curriculum(curriculum, num_rows=NUM_STEPS * ROWS)
    phase = Phase(0, mixture)
    counts = RunCounts(mixture.sources, Machine(1.0, None), sequence_length=LENGTH)
    order = Apportioner([phase])
    watch, board = AlarmWatch(AlarmSettings()), TensorBoardLog(run, resumed_step=0)
    ids = np.zeros(LENGTH, np.int32)
    recorded: list[RowRecord] = []
    spent = 0.0
    for step in range(1, NUM_STEPS + 1):
        rows = [make_row((step - 1) * ROWS + number, next(order), ids) for number in range(ROWS)]
        losses = [RowLoss(r.index, r.row.source, 700.0, LENGTH - 1) for r in rows]
        began = time.perf_counter()
        facts = StepFacts(step=step, lr=1e-4, grad_norm=1.0, skipped=False, seconds=1.0, wait_s=0.0)
        record = counts.count(rows, losses, facts, phase)
        recorded += row_records(rows, losses, step=step, world_size=1, is_trained=True)
        run.append_step(record)
        board.add(scalars_of(record), step=step)
        watch.step(record)
        if step % 200 == 0:
            run.write_rows(recorded)
            recorded.clear()
        spent += time.perf_counter() - began
    board.close()
    run.close()
    return path, spent / NUM_STEPS


def make_row(index: int, source: str, ids: NDArray[np.int32]) -> MixedRow:
    pieces = (Span(f"{source}/0.jsonl", index, 0, 100), Span(f"{source}/1.jsonl", 7, 0, 156))
    starts = np.array([0, 100], np.int32)
    row = Row(source, 0, ids, ids, starts, pieces, 0, CURSOR, ())
    return MixedRow(index, 0, row, b"")


def seconds_of_a_small_step() -> float:
    """Forward and backward of a model of 5 million weights on a step's rows, without optimizer."""
    config = LlamaConfig(
        vocab_size=4000,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=6,
        num_attention_heads=8,
    )
    model = LlamaForCausalLM(config)
    ids = torch.zeros((ROWS, LENGTH), dtype=torch.int64)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        model(input_ids=ids, labels=ids).loss.backward()
        times.append(time.perf_counter() - began)
    return min(times)


def test_recording_costs_little_of_a_small_step(long_run: tuple[Path, float]) -> None:
    recording, step = long_run[1], seconds_of_a_small_step()
    print(f"\nrecording {1e3 * recording:.2f} ms of a step of {1e3 * step:.0f} ms: ", end="")
    print(f"{recording / step:.2%}")
    assert recording < 0.005 * step


def test_how_long_the_page_of_a_long_run_takes_to_open(long_run: tuple[Path, float]) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on PATH: apt-get install chromium")
    server = serve([RunFollower(long_run[0])], port=0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with playwright.sync_playwright() as starter:
            browser = starter.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
            )
            times = []
            for _ in range(3):
                page = browser.new_context().new_page()
                began = time.perf_counter()
                page.goto(f"http://127.0.0.1:{server.server_port}")
                page.wait_for_selector("#plot-mixture .xtick")
                times.append(time.perf_counter() - began)
            began = time.perf_counter()
            page.get_by_role("button", name="source-03").click()
            page.evaluate("0")
            answer = time.perf_counter() - began
    finally:
        server.shutdown()
        server.server_close()
    shown = ", ".join(f"{seconds:.2f}" for seconds in times)
    print(f"\npage of {NUM_STEPS:,} steps x {len(SOURCES)} sources: {shown} s; ", end="")
    print(f"a source hidden in {answer:.2f} s")
