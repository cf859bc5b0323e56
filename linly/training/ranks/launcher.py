"""The environment that a launcher sets: ranks, and the port at which they meet; without torch.

`deepspeed` and `torchrun` set the ranks in the environment. Under a bare `srun` they are derived
from Slurm's variables. A plain `python` is a run of one process, which opens no port.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from linly.errors import ConfigError, LinlyError
from linly.files import publish_text

_PORTS = range(15_000, 25_000)
"""Ports of Slurm jobs, below the range that systems use for outgoing connections."""

_STEPS_APART = 97
"""Port distance between consecutive Slurm jobs; the steps of a job use the ports in between."""

_DEFAULT_PORT = "29500"
"""Port that launchers pass if none was chosen: other programs of the machine use it too."""

_GRACE_S = 5.0
"""Seconds in which a launcher ends the other ranks, once the first one has failed."""

_POLL_S = 0.05


def rank_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, as far as a launcher implies them.

    Args:
        environment: Environment of this process.

    Returns:
        Variables to add; without a port for a run of one process.

    Raises:
        ConfigError: If the environment sets a rank without the other variables.
    """
    if "RANK" in environment:
        missing = [
            name
            for name in ("WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
            if name not in environment
        ]
        if missing:
            raise ConfigError(
                f"the environment sets RANK but not {', '.join(missing)}: start with `deepspeed`, "
                "`torchrun` or `srun`, or unset RANK to train in one process"
            )
        return {}
    if "SLURM_STEP_NUM_TASKS" in environment and "SLURM_PROCID" in environment:
        return _slurm_variables(environment)
    return {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}


def _slurm_variables(environment: Mapping[str, str]) -> dict[str, str]:
    found = {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": environment["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": environment.get("SLURM_LOCALID", "0"),
    }
    if "MASTER_ADDR" not in environment:
        nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
        found["MASTER_ADDR"] = first_host(nodes)
    if "MASTER_PORT" not in environment:
        job, step = (int(environment.get(f"SLURM_{name}_ID", "0")) for name in ("JOB", "STEP"))
        found["MASTER_PORT"] = str(_PORTS[(job * _STEPS_APART + step) % len(_PORTS)])
    return found


def first_host(nodes: str) -> str:
    """The first host of a Slurm node list: `gpu[003-005,9],cpu1` -> `gpu003`.

    Raises:
        ConfigError: If the list has no host.
    """
    match = re.match(r"([^\[,]+)(?:\[(\w+)[^\]]*\]([^,]*))?", nodes)
    if match is None:
        raise ConfigError(
            f"no host in Slurm's node list {nodes!r}: set MASTER_ADDR to the host of rank 0"
        )
    return "".join(part or "" for part in match.groups())


def free_port() -> int:
    """A port that no program uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_port(environment: Mapping[str, str]) -> None:
    """Check that the first rank could listen at MASTER_PORT, if that is this process's task.

    It is not if MASTER_ADDR is another host, the launcher listens there itself, or the ranks find
    another port by themselves.

    Raises:
        ConfigError: If the port is in use, or may not be opened.
    """
    has_store = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if has_store or chooses_port(environment) or not _is_here(environment.get("MASTER_ADDR", "")):
        return
    port = environment["MASTER_PORT"]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", int(port)))
        except OSError as error:
            raise port_error(port) from error


def port_error(port: str) -> ConfigError:
    """The error for a port at which the ranks cannot meet."""
    return ConfigError(
        f"port {port} of host {socket.gethostname()} is in use, perhaps by another run, so the "
        "ranks cannot connect: give the launcher another port (deepspeed --master_port N, torchrun "
        "--master-port N), or export MASTER_PORT for srun"
    )


def _is_here(host: str) -> bool:
    return host in ("", "localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn())


def chooses_port(environment: Mapping[str, str]) -> bool:
    """Whether the ranks may meet at another port than MASTER_PORT.

    They may if `deepspeed` has started all of them on one machine: it opens no port itself, and
    they can tell each other the port by a file.
    """
    return environment.get("CROSS_SIZE") == "1" and "RANK" in environment


def preferred_port(environment: Mapping[str, str]) -> int:
    """MASTER_PORT if the user has chosen one, else 0 for any."""
    port = environment["MASTER_PORT"]
    return 0 if port == _DEFAULT_PORT else int(port)


def publish_port(port: int) -> None:
    """Tell the other ranks of this launcher the port at which this one listens."""
    publish_text(_port_file(), str(port))


def await_port(timeout_s: float) -> int:
    """Wait for the port of the first rank.

    Raises:
        ConfigError: If it does not come in time.
    """
    file, deadline = _port_file(), time.monotonic() + timeout_s
    while True:
        with suppress(FileNotFoundError):
            return int(file.read_text(encoding="ascii"))
        if time.monotonic() > deadline:
            raise ConfigError(
                f"the first rank of this machine has not opened a port within {timeout_s:.0f} s "
                f"({file} does not exist): start all ranks with one `deepspeed` command"
            )
        time.sleep(_POLL_S)


def forget_port() -> None:
    """Remove the file once all ranks have read it."""
    _port_file().unlink(missing_ok=True)


def _port_file() -> Path:
    """File of this launcher, named by its process: its id and its start, so never an earlier one's.

    Raises:
        ConfigError: If other users could write there.
    """
    launcher = os.getppid()
    fields = Path(f"/proc/{launcher}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    folder = Path(tempfile.gettempdir()) / f"linly-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not is_own or found.st_mode & 0o022:
        raise ConfigError(
            f"{folder}: found a folder or file that other users can change, expected a folder of "
            "this user alone: remove it, or set TMPDIR to a folder of your own"
        )
    return folder / f"port-{launcher}-{fields[_START_FIELD]}"


_START_FIELD = 19
"""Index of the start time among the fields of /proc/PID/stat after the program's name."""


@contextmanager
def first_rank_reports() -> Iterator[None]:
    """Let the first rank alone report an error that all ranks have.

    The others wait until the launcher ends them. One that is not ended has failed by itself, and
    reports its error then.
    """
    try:
        yield
    except (LinlyError, OSError):
        rank = os.environ.get("RANK") or os.environ.get("SLURM_PROCID", "0")
        if rank != "0":
            time.sleep(_GRACE_S)
        raise
