"""A job of several processes: DeepSpeed's launcher, the signals for its ranks, its exit code.

On SIGTERM, the launcher would give the ranks 30 seconds and exit with 1, whether they saved or not.
It therefore runs in a session of its own, where no signal of a scheduler or a terminal reaches it.
This process passes them to the ranks: they save and exit with 75, and the launcher passes that on.
Of a job over several machines the ranks on this one suffice, since ranks agree to stop.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil

from linly.errors import ConfigError

PROGRAM = "linly.launch"
"""Module that the launcher starts on every rank."""

_LOG_OPTIONS = ("-q", "--quiet", "--log_level")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def launcher_command(
    arguments: Sequence[str],
    *,
    nproc: int | None,
    hostfile: Path | None,
    options: Sequence[str],
    visible_devices: str,
) -> list[str]:
    """Build the command of DeepSpeed's launcher.

    Args:
        arguments: Arguments of `linly train`.
        nproc: Processes on this machine; None for one on each of its GPUs, or for a hostfile.
        hostfile: Hosts to train on; None for this machine.
        options: More options of the launcher.
        visible_devices: GPUs that may be used, as in CUDA_VISIBLE_DEVICES; empty for all. Given a
            number of processes, the launcher by itself would take the first GPUs of the machine.

    Raises:
        ConfigError: If fewer GPUs than processes are visible.
    """
    command = [sys.executable, "-m", "deepspeed.launcher.runner"]
    if hostfile is not None:
        command += ["--hostfile", str(hostfile)]
    elif nproc is not None and visible_devices:
        devices = visible_devices.split(",")
        if nproc > len(devices):
            raise ConfigError(
                f"--nproc {nproc}: CUDA_VISIBLE_DEVICES={visible_devices} leaves {len(devices)} "
                "GPU(s); give it more, or start fewer processes"
            )
        command += ["--include", f"localhost:{','.join(devices[:nproc])}"]
    elif nproc is not None:
        command += ["--num_gpus", str(nproc)]
    if not any(option.startswith(_LOG_OPTIONS) for option in options):
        command.append("--quiet")  # or its opening lines hide those of the run
    return [*command, *options, "--module", PROGRAM, *arguments]


def run_job(command: Sequence[str]) -> int:
    """Run a launcher until its job ends; pass signals to the ranks.

    SIGTERM and SIGHUP ask the ranks to save and stop. SIGINT reaches them as it is, and a second
    one kills the job. SIGHUP and SIGINT stay ignored where the caller ignores them, as under
    `nohup`; SIGTERM is always heard, as in a rank.

    Returns:
        Exit code of the job; for a rank that a signal has killed, 128 + its number.
    """
    return _Job().run(command)


class _Job:
    """The launcher of a job, and the signals for it."""

    def __init__(self) -> None:
        self._launcher: subprocess.Popen[bytes] | None = None
        self._words: tuple[str, ...] = ()
        self._early: list[int] = []
        self._num_interrupts = 0

    def run(self, command: Sequence[str]) -> int:
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        heard = [
            number
            for number in _SIGNALS
            if number == signal.SIGTERM or before[number] != signal.SIG_IGN  # nohup, and `&`
        ]
        for number in heard:
            signal.signal(number, self._hear)
        try:
            self._words = tuple(command[command.index(PROGRAM) :])
            self._launcher = subprocess.Popen(command, start_new_session=True)  # noqa: S603
            for early in self._early:
                self._pass_on(early, self._launcher)
            return _exit_code(self._launcher.wait())
        finally:
            for number in heard:
                signal.signal(number, before[number])

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._launcher is None:
            self._early.append(number)
        else:
            self._pass_on(number, self._launcher)

    def _pass_on(self, number: int, launcher: subprocess.Popen[bytes]) -> None:
        self._num_interrupts += number == signal.SIGINT
        if self._num_interrupts > 1:
            _signal_all(launcher, signal.SIGKILL)
            return
        sent = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
        ranks = _own_ranks(launcher)
        if not ranks and sent == signal.SIGTERM:
            ranks = _ranks_of_ssh(self._words)
        for rank in ranks:
            with suppress(psutil.NoSuchProcess):
                rank.send_signal(sent)
        if not ranks:  # they have not started yet, or are on other machines
            _signal_all(launcher, sent)


def _own_ranks(launcher: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Ranks of a job on one machine: children of the launcher's child."""
    ranks = []
    with suppress(psutil.NoSuchProcess):
        for node in psutil.Process(launcher.pid).children():
            ranks += [process for process in node.children() if _is_rank(process)]
    return ranks


def _ranks_of_ssh(words: Sequence[str]) -> list[psutil.Process]:
    """Ranks on this machine that ssh has started: those of the same command in the same folder."""
    ranks = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            line = process.cmdline()
            if PROGRAM in line and process.cwd() == os.getcwd() and _is_rank(process):
                _, _local_rank, *arguments = line[line.index(PROGRAM) :]
                ranks += [process] if [PROGRAM, *arguments] == [*words] else []
    return ranks


def _is_rank(process: psutil.Process) -> bool:
    try:
        return "RANK" in process.environ()
    except psutil.Error:
        return False


def _signal_all(launcher: subprocess.Popen[bytes], number: int) -> None:
    """Signal the launcher and everything that it started on this machine."""
    with suppress(ProcessLookupError):
        os.killpg(launcher.pid, number)


def _exit_code(returned: int) -> int:
    """Return the shell's exit code; DeepSpeed passes a rank's signal 9 on as 256 - 9."""
    first_signal = 256 - signal.NSIG
    if returned < 0:
        return 128 - returned
    return 128 + 256 - returned if returned > first_signal else returned
