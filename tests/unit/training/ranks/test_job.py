"""The launcher's command; signals reach the ranks and nothing else; exit codes are the shell's.

The launcher is a stand-in of two processes above its ranks, as DeepSpeed's is, that starts at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from linly.errors import ConfigError
from linly.training.ranks.job import launcher_command
from tests.support.rank_processes import environment

LAUNCHER = """
import os, signal, subprocess, sys, time
folder, depth, on_term = sys.argv[1], int(sys.argv[2]), sys.argv[3]

def note(text):
    with open(f"{folder}/{text}", "w"):
        pass

def hear(number, frame):
    note(f"{names[depth]} heard {number}")
    if depth == 0:
        sys.exit(75 if on_term == "save" else 1)

names = ("rank", "node", "front")
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, hear)
if depth == 0:
    note("ready")
    if on_term == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        time.sleep(0.01)
if depth == 1:
    os.environ["RANK"] = "0"
code = subprocess.Popen([sys.executable, __file__, folder, str(depth - 1), on_term]).wait()
sys.exit(code)  # of a rank that a signal has killed a negative one, as DeepSpeed does
"""
JOB = """
import sys
from linly.training.ranks.job import run_job
sys.exit(run_job([sys.executable, *sys.argv[1:]]))
"""
RANK = ("linly.launch", "recipe.yaml", "a=b")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    (tmp_path / "notes").mkdir()
    return tmp_path


def start_job(folder: Path, on_term: str, *before: str) -> subprocess.Popen[bytes]:
    launcher = [str(folder / "launcher.py"), str(folder / "notes"), "2", on_term, *RANK]
    job = [*before, sys.executable, "-c", JOB, *launcher]
    return subprocess.Popen(job, env=environment(), start_new_session=True)


def notes(folder: Path) -> set[str]:
    return {path.name for path in (folder / "notes").iterdir()}


def wait_until_ready(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while "ready" not in notes(folder):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("sent", "heard"), [("TERM", "TERM"), ("HUP", "TERM"), ("INT", "INT")])
def test_a_signal_reaches_the_ranks_only(folder: Path, sent: str, heard: str) -> None:
    """A launcher that hears SIGTERM ends the ranks before they have saved."""
    job = start_job(folder, "save")
    wait_until_ready(folder)
    os.killpg(job.pid, signal.Signals[f"SIG{sent}"])
    assert job.wait(60) == 75
    assert notes(folder) == {"ready", f"rank heard {signal.Signals[f'SIG{heard}'].value}"}


def test_a_signal_that_is_ignored_stays_so(folder: Path) -> None:
    job = start_job(folder, "save", "nohup")
    wait_until_ready(folder)
    job.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        job.wait(0.3)
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 75


def test_sigterm_is_heard_though_the_caller_ignores_it(folder: Path) -> None:
    """A program that was stopped once ignores SIGTERM, and what it starts inherits that."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        job = start_job(folder, "save")
    finally:
        signal.signal(signal.SIGTERM, before)
    wait_until_ready(folder)
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 75


def test_a_second_interrupt_kills_a_job_that_hangs(folder: Path) -> None:
    (folder / "launcher.py").write_text(LAUNCHER.replace("sys.exit(75 if", "print(75 if"))
    job = start_job(folder, "save")
    wait_until_ready(folder)
    job.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        job.wait(0.3)
    job.send_signal(signal.SIGINT)
    assert job.wait(60) == 128 + signal.SIGKILL


def test_a_signal_before_there_are_ranks_ends_the_launcher(folder: Path) -> None:
    (folder / "launcher.py").write_text(
        "import sys, time\nopen(f'{sys.argv[1]}/ready', 'w').close()\ntime.sleep(60)\n"
    )
    job = start_job(folder, "save")
    wait_until_ready(folder)
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 128 + signal.SIGTERM


def test_ranks_that_ssh_has_started_here_are_asked_to_save(folder: Path) -> None:
    """They are no children of the launcher; ranks of other jobs are left alone."""
    (folder / "rank.py").write_text(LAUNCHER)
    others = {"other command": (("other.yaml", "a=b"), "."), "other folder": (RANK[1:], folder)}
    ranks = {}
    for name, (words, place) in {"of the job": (RANK[1:], "."), **others}.items():
        (folder / name / "notes").mkdir(parents=True)
        script = [
            sys.executable,
            str(folder / "rank.py"),
            str(folder / name / "notes"),
            "0",
            "save",
        ]
        command = [*script, RANK[0], "--local_rank=0", *words]
        variables = environment() | {"RANK": "0"}
        ranks[name] = subprocess.Popen(command, env=variables, cwd=place)
        wait_until_ready(folder / name)
    (folder / "launcher.py").write_text(
        "import os, sys, time\n"
        "open(f'{sys.argv[1]}/ready', 'w').close()\n"
        f"while not os.path.exists({str(folder / 'of the job' / 'notes' / 'rank heard 15')!r}):\n"
        "    time.sleep(0.01)\n"
        "sys.exit(75)\n"
    )
    job = start_job(folder, "save")
    try:
        wait_until_ready(folder)
        job.send_signal(signal.SIGTERM)
        assert job.wait(60) == 75
        assert ranks["of the job"].wait(60) == 75
        assert [notes(folder / name) for name in others] == [{"ready"}, {"ready"}]
    finally:
        for rank in ranks.values():
            rank.kill()
            rank.wait()


def test_a_killed_rank_gives_the_code_of_the_shell(folder: Path) -> None:
    assert start_job(folder, "killed").wait(60) == 128 + signal.SIGKILL


def command(
    *, nproc: int | None = None, hostfile: Path | None = None, visible_devices: str = ""
) -> list[str]:
    """The launcher's words between its module and the options of the user."""
    words = launcher_command(
        ["r.yaml", "a=b"],
        nproc=nproc,
        hostfile=hostfile,
        options=["--log_level", "info"],
        visible_devices=visible_devices,
    )
    assert words[:3] == [sys.executable, "-m", "deepspeed.launcher.runner"]
    assert words[-6:] == ["--log_level", "info", "--module", "linly.launch", "r.yaml", "a=b"]
    return words[3:-6]


@pytest.mark.parametrize(
    ("options", "is_quiet"),
    [([], True), (["--master_port", "1"], True), (["-q"], False), (["--log_level=info"], False)],
)
def test_launcher_is_quiet_unless_asked(options: list[str], is_quiet: bool) -> None:
    words = launcher_command(
        ["r.yaml"], nproc=None, hostfile=None, options=options, visible_devices=""
    )
    assert ("--quiet" in words) == is_quiet


def test_processes_take_only_gpus_that_are_visible() -> None:
    assert command() == []
    assert command(nproc=2) == ["--num_gpus", "2"]
    assert command(nproc=2, visible_devices="4,5,7") == ["--include", "localhost:4,5"]
    assert command(visible_devices="4,5") == []  # the launcher takes all of them
    with pytest.raises(ConfigError, match="CUDA_VISIBLE_DEVICES=4 leaves 1 GPU"):
        command(nproc=2, visible_devices="4")


def test_a_hostfile_is_passed_on() -> None:
    hosts = Path("/x/hosts")
    assert command(hostfile=hosts, visible_devices="4") == ["--hostfile", "/x/hosts"]
