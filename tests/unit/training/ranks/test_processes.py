"""Who is which rank, by what the environment says."""

from __future__ import annotations

import os

import pytest

from linly.errors import ConfigError
from linly.training.ranks.processes import _complete_environment, first_host

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})


def test_a_plain_python_is_a_run_of_one() -> None:
    _complete_environment()
    assert [os.environ[name] for name in NAMES[:4]] == ["0", "1", "0", "127.0.0.1"]
    assert 0 < int(os.environ["MASTER_PORT"]) < 65536


def test_a_launchers_ranks_are_kept() -> None:
    os.environ.update(dict(zip(NAMES, ("3", "8", "1", "node0", "29500"), strict=True)))
    _complete_environment()
    assert [os.environ[name] for name in NAMES] == ["3", "8", "1", "node0", "29500"]


def launched(**variables: str) -> str:
    """The port that a rank takes under these variables."""
    os.environ.clear()
    os.environ.update(variables)
    _complete_environment()
    return os.environ["MASTER_PORT"]


DEEPSPEED = dict(zip(NAMES, ("0", "2", "0", "127.0.0.1", "29500"), strict=True))
SLURM = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "a"}


def test_two_launches_on_one_machine_take_two_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """DeepSpeed's launcher names the same port for every job unless it is told another."""
    ports = set()
    for parent in (4711, 4712, 31337):
        monkeypatch.setattr(os, "getppid", lambda parent=parent: parent)
        ranks = {launched(**DEEPSPEED | {"RANK": rank, "CROSS_SIZE": "1"}) for rank in "01"}
        assert len(ranks) == 1
        ports |= ranks
    assert len(ports) == 3
    assert launched(**DEEPSPEED | {"CROSS_SIZE": "1", "MASTER_PORT": "29501"}) == "29501"
    assert launched(**DEEPSPEED | {"CROSS_SIZE": "2"}) == "29500"  # nodes have no parent in common


def test_two_steps_of_a_slurm_job_take_two_ports() -> None:
    steps = [("1234", "0"), ("1234", "1"), ("1235", "0"), ("1235", "1")]
    ports = {launched(**SLURM, SLURM_JOB_ID=job, SLURM_STEP_ID=step) for job, step in steps}
    assert len(ports) == len(steps)


def test_half_a_launcher_is_refused_and_says_what_is_missing() -> None:
    os.environ.update({"RANK": "0", "WORLD_SIZE": "2"})
    with pytest.raises(ConfigError, match="LOCAL_RANK, MASTER_ADDR, MASTER_PORT"):
        _complete_environment()


def test_a_bare_srun_gives_ranks() -> None:
    os.environ.update(
        {
            "SLURM_PROCID": "5",
            "SLURM_STEP_NUM_TASKS": "16",
            "SLURM_LOCALID": "1",
            "SLURM_STEP_NODELIST": "gpu[007-008]",
            "SLURM_JOB_ID": "1234",
        }
    )
    _complete_environment()
    assert [os.environ[name] for name in NAMES[:4]] == ["5", "16", "1", "gpu007"]
    assert 1024 < int(os.environ["MASTER_PORT"]) < 65536


def test_a_batch_script_without_srun_is_a_run_of_one() -> None:
    os.environ.update({"SLURM_PROCID": "0", "SLURM_NTASKS": "16"})
    _complete_environment()
    assert os.environ["WORLD_SIZE"] == "1"


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
def test_the_first_host_of_a_node_list(nodes: str, host: str) -> None:
    assert first_host(nodes) == host


def test_no_host_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match="MASTER_ADDR"):
        first_host("")
