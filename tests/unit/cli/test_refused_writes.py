"""A disk that refuses: each command ends in one line, and leaves whole files or none."""

from __future__ import annotations

import errno
import io
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import typer

from linly.cli.main import build_app, main
from tests.support.disk_faults import failing_from, files_limited_to, operations
from tests.support.rank_processes import TRAIN, environment
from tests.support.tiny_world import CURRICULUM, make_tiny_world

STEPS = 2
FAST = ("data.producers=0", "evaluation.max_documents=1", "evaluation.prompts=[]")
WRITERS = {
    "plan": "plan {recipe} --plot {out}/plan.html",
    "mix": "mix {recipe} --rows 8 --producers 0 --output {out}/rows --save-state {out}/state",
    "init": (
        "init {out}/new --model {model} --language zh --data {world}/data/english/*.jsonl "
        "--data {world}/data/chinese/*.jsonl"
    ),
    "recipes copy": "recipes copy linly-llama2-7b {out}/new",
    "corpora new": "corpora new english/*.jsonl --data-root {world}/data --corpora {out}",
    "corpora scan": (
        "corpora scan english --duplicates 0.8 --output {out}/list.parquet "
        "--corpora {world}/corpora --data-root {world}/data"
    ),
    "evaluate": "evaluate {run} --recipe {recipe} --output {out}/scores",
    "vocab characters": "vocab characters --base {model} --output {out}/characters",
    "vocab extend": "vocab extend --base {model} --characters {characters} --output {out}/a.model",
    "vocab words": (
        "vocab words --base {extended} --corpus chinese --script han --count 1 --output "
        "{out}/a.model --sample-mb 1 --corpora {world}/corpora --data-root {world}/data"
    ),
    "vocab train": (
        "vocab train --corpus english --size 300 --output {out}/a.model --sample-mb 1 "
        "--corpora {world}/corpora --data-root {world}/data"
    ),
    "vocab merge": "vocab merge {model} {extended} --output {out}/a.model",
    "vocab export": "vocab export --tokenizer {model} --output {out}/new/tokenizer",
    "vocab report": (
        "vocab report --base {model} --tokenizer {extended} --corpus english --plot {out}/a.html "
        "--corpora {world}/corpora --data-root {world}/data --max-documents 5"
    ),
    "model init": "model init --config nano --tokenizer {model} --output {out}/new/model",
    "model extend": "model extend --model {model} --tokenizer {extended} --output {out}/new/model",
    "export": "export {run} --output {out}/new/model",
    "report": "report {run} --output {out}/report.html --png {out}/mixture.png",
    "compare": "compare {run} {run} --output {out}/compared.html",
    "fork": "fork {run} --step 1 --run {out}/new/fork",
    "restore": "restore {world}/mirror/run {out}/new/run",
    "amend": "amend {out}/run {longer}",
}
"""Commands that write files, as they are given; what they write lies in {out}."""

PRINTERS = {
    "check": "check {recipe} --gpu-gib 80",
    "corpora list": "corpora list",
    "recipes list": "recipes list",
    "schema": "schema recipe",
    "corpora show": "corpora show english --corpora {world}/corpora --data-root {world}/data",
    "slurm": "slurm {recipe} --gpus-per-node 1",
    "generate": "generate {run} --prompt a --max-new-tokens 2",
    "trace": "trace {run} --step 1 --data-root {world}/data",
    "monitor": "monitor {run} --port 0",
}
"""Commands that print."""

IN_PROCESSES_OF_THEIR_OWN = {"train", "launch"}
READERS_OF_INPUT = {"chat"}
ALL_OR_NOTHING = {"vocab export", "model init", "model extend", "export", "fork", "restore"}


def commands(group: typer.core.TyperGroup, above: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, f"{above}{name} ")
        else:
            yield f"{above}{name}"


def test_every_command_is_tried() -> None:
    group = typer.main.get_command(build_app())
    assert isinstance(group, typer.core.TyperGroup)
    assert set(commands(group)) == {
        *WRITERS,
        *PRINTERS,
        *IN_PROCESSES_OF_THEIR_OWN,
        *READERS_OF_INPUT,
    }


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    world = tmp_path_factory.mktemp("world")
    recipe = make_tiny_world(world, num_steps=STEPS)
    run = world / "runs" / "run"
    settings = [f"run={run}", f"checkpoint.mirror={world}/mirror", "checkpoint.every=1", *FAST]
    command = [sys.executable, TRAIN, str(recipe), *settings]
    subprocess.run(command, env=environment(), check=True)
    (world / "longer.yaml").write_text(CURRICULUM.format(tokens=2 * STEPS * 8 * 32))
    (world / "characters").write_text("龙\n龟\n")
    found = {
        "world": world,
        "recipe": recipe,
        "run": run,
        "model": world / "model",
        "longer": world / "longer.yaml",
        "characters": world / "characters",
        "extended": world / "extended.model",
        "out": world / "out",
    }
    linly(WRITERS["vocab extend"].replace("{out}/a.model", "{extended}"), found)
    return found


def linly(command: str, places: dict[str, Path]) -> None:
    with pytest.raises(SystemExit) as left:
        main(command.format_map(places).split())
    assert left.value.code in (None, 0)


def prepare(places: dict[str, Path]) -> Path:
    """An empty folder for what is written, and a run to amend."""
    out = places["out"]
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    return out


def sizes_in(folder: Path) -> dict[str, int]:
    """Sizes of files, and folders as files of size -1."""
    return {
        str(path.relative_to(folder)): path.stat().st_size if path.is_file() else -1
        for path in folder.rglob("*")
    }


@contextmanager
def vanishing(folder: Path) -> Iterator[None]:
    folder.rename(folder.with_name("gone"))
    try:
        yield
    finally:
        shutil.rmtree(folder.with_name("gone"))


Fault = Callable[[], AbstractContextManager[None]]


def faults(out: Path, num_operations: int, largest: int) -> dict[str, Fault]:
    at = partial(failing_from, out)
    return {
        "read-only": partial(at, 0, errno.EROFS),
        "not allowed": partial(at, 0, errno.EACCES),
        "quota": partial(at, 1, errno.EDQUOT),
        "full": partial(at, num_operations // 2, errno.ENOSPC),
        "input/output error": partial(at, num_operations - 1, errno.EIO),
        "half a file": partial(files_limited_to, largest // 2),
        "no file": partial(files_limited_to, 0),
        "vanished": partial(vanishing, out),
    }


@pytest.mark.parametrize("name", WRITERS)
def test_a_write_that_is_refused_is_one_line_and_leaves_nothing_half_written(
    name: str, places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = WRITERS[name].format_map(places).split()

    def fresh() -> dict[str, int]:
        out = prepare(places)
        if name == "amend":
            shutil.copytree(places["run"], out / "run")
        return sizes_in(out)

    fresh()
    seen = operations(places["out"], partial(linly, WRITERS[name], places))
    whole = sizes_in(places["out"])
    before = fresh()
    changed = {path: size for path, size in whole.items() if before.get(path) != size}
    assert changed, "the command writes nothing there"
    failed = []
    for fault, applied in faults(places["out"], len(seen), max(changed.values())).items():
        fresh()
        capsys.readouterr()
        with applied(), pytest.raises(SystemExit) as left:
            main(arguments)
        printed = capsys.readouterr().err
        found = sizes_in(places["out"]) if places["out"].exists() else before
        errors = [line for line in printed.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in printed, fault
        assert len(errors) == (1 if left.value.code else 0), (fault, printed)
        if left.value.code:
            failed.append(fault)
            assert printed.splitlines()[-1] == errors[0], fault
            assert any(word in errors[0] for word in ("out", "run")), (fault, errors)
        for path, size in found.items():
            allowed = (before.get(path), whole.get(path))
            assert any(a is not None and abs(a - size) < 64 for a in allowed), (fault, path, size)
        if name in ALL_OR_NOTHING:
            assert found.keys() in (before.keys(), whole.keys()), fault
    expected = {"read-only", "not allowed", "no file"}
    if name != "fork":  # its large files are links
        expected.add("half a file")
    assert expected <= set(failed), failed


@pytest.mark.parametrize("name", {**PRINTERS, "plan": "plan {recipe} --without-data"})
def test_a_full_disk_behind_standard_output_is_one_line(
    name: str, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = {**PRINTERS, "plan": "plan {recipe} --without-data"}[name]
    errors = io.StringIO()
    full = open("/dev/full", "w")  # noqa: SIM115 (it cannot be closed well)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        patch.setattr(sys, "stderr", errors)
        with pytest.raises(SystemExit) as left:
            main(command.format_map(places).split())
    with suppress(OSError):
        full.close()
    assert left.value.code == 1
    assert (
        errors.getvalue()
        .splitlines()[-1]
        .startswith("error: standard output: No space left on device")
    )


@pytest.mark.parametrize("size_bytes", [1_000, 40_000])
def test_a_trainer_whose_writes_are_refused_ends_in_one_line(
    size_bytes: int, places: dict[str, Path]
) -> None:
    """Its recipe at once, or its first checkpoint."""
    run = prepare(places) / "run"
    limit = (size_bytes, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    done = subprocess.run(
        [sys.executable, TRAIN, str(places["recipe"]), f"run={run}", *FAST],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "File too large" in errors[0]
