"""Who is which rank, by what the environment says, and at which port the ranks meet."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from linly.errors import ConfigError
from linly.training.ranks import launcher
from linly.training.ranks.launcher import (
    await_port,
    check_port,
    first_host,
    first_rank_reports,
    forget_port,
    publish_port,
    rank_variables,
)

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
TORCHRUN = dict(zip(NAMES, ("0", "2", "0", "127.0.0.1", "29500"), strict=True))
SLURM = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "a"}


def test_plain_python_is_a_run_of_one() -> None:
    assert rank_variables({}) == dict(zip(NAMES[:4], ("0", "1", "0", "127.0.0.1"), strict=True))


def test_ranks_of_a_launcher_are_kept() -> None:
    assert rank_variables(TORCHRUN) == {}


def test_steps_of_slurm_jobs_have_different_ports() -> None:
    steps = [("1234", "0"), ("1234", "1"), ("1235", "0"), ("1235", "1")]
    ports = {
        rank_variables({**SLURM, "SLURM_JOB_ID": job, "SLURM_STEP_ID": step})["MASTER_PORT"]
        for job, step in steps
    }
    assert len(ports) == len(steps)


def test_given_address_and_port_of_a_slurm_step_are_kept() -> None:
    found = rank_variables({**SLURM, "MASTER_ADDR": "b", "MASTER_PORT": "7777"})
    assert found.keys() == {"RANK", "WORLD_SIZE", "LOCAL_RANK"}


def test_incomplete_ranks_are_refused_with_what_is_missing() -> None:
    with pytest.raises(ConfigError, match="LOCAL_RANK, MASTER_ADDR, MASTER_PORT"):
        rank_variables({"RANK": "0", "WORLD_SIZE": "2"})


def test_bare_srun_sets_ranks() -> None:
    found = rank_variables(
        {
            "SLURM_PROCID": "5",
            "SLURM_STEP_NUM_TASKS": "16",
            "SLURM_LOCALID": "1",
            "SLURM_STEP_NODELIST": "gpu[007-008]",
            "SLURM_JOB_ID": "1234",
        }
    )
    assert [found[name] for name in NAMES[:4]] == ["5", "16", "1", "gpu007"]
    assert 1024 < int(found["MASTER_PORT"]) < 65536


def test_batch_script_without_srun_is_a_run_of_one() -> None:
    assert rank_variables({"SLURM_PROCID": "0", "SLURM_NTASKS": "16"})["WORLD_SIZE"] == "1"


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("gpu1", "gpu1"),
        ("gpu[003-005,9],cpu1", "gpu003"),
        ("a-b[12],c", "a-b12"),
        ("n1,n2", "n1"),
        ("r1n[1-2]x", "r1n1x"),
    ],
)
def test_first_host_of_a_node_list(nodes: str, host: str) -> None:
    assert first_host(nodes) == host


def test_node_list_without_a_host_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match="MASTER_ADDR"):
        first_host("")


@contextmanager
def taken_port() -> Iterator[str]:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))  # noqa: S104
        other.listen()
        yield str(other.getsockname()[1])


def test_port_in_use_is_refused() -> None:
    with taken_port() as port, pytest.raises(ConfigError, match=f"port {port} of host .* in use"):
        check_port({**TORCHRUN, "MASTER_PORT": port})
    check_port({**TORCHRUN, "MASTER_PORT": port})  # free again


@pytest.mark.parametrize(
    "more",
    [
        {"CROSS_SIZE": "1"},
        {"TORCHELASTIC_USE_AGENT_STORE": "True"},
        {"MASTER_ADDR": "another-host.example"},
    ],
    ids=["chosen by the ranks", "opened by torchrun", "on another host"],
)
def test_port_that_this_rank_does_not_open_is_not_checked(more: Mapping[str, str]) -> None:
    with taken_port() as port:
        check_port({**TORCHRUN, "MASTER_PORT": port, **more})


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(launcher.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path


def test_ranks_of_a_launcher_learn_its_port(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_port(4711)
    assert await_port(timeout_s=0) == 4711
    (folder,) = private.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        monkeypatch.setattr(launcher.os, "getppid", lambda: other.pid)
        with pytest.raises(ConfigError, match="has not opened a port within 0 s"):
            await_port(timeout_s=0)
        publish_port(31337)
        assert await_port(timeout_s=0) == 31337
        forget_port()
    assert len(list(folder.iterdir())) == 1


def test_folder_of_another_user_is_refused(private: Path) -> None:
    publish_port(1)
    (folder,) = private.iterdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match="other users can change"):
        await_port(timeout_s=0)
    folder.rename(private / "elsewhere")
    (private / folder.name).symlink_to(private / "elsewhere")
    with pytest.raises(ConfigError, match="other users can change"):
        publish_port(1)


@pytest.mark.parametrize(("rank", "waits"), [("0", False), ("1", True)])
def test_other_ranks_report_an_error_later(
    rank: str, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setenv("RANK", rank)
    with pytest.raises(ConfigError), first_rank_reports():
        raise ConfigError("wrong")
    assert bool(slept) == waits
