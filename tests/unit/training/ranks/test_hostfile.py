"""A hostfile is read as DeepSpeed reads it, and its mistakes are named with their line."""

from __future__ import annotations

from pathlib import Path

import pytest
from deepspeed.launcher.runner import fetch_hostfile

from linly.errors import ConfigError
from linly.training.ranks.hostfile import read_hostfile

EXAMPLE = Path(__file__).resolve().parents[4] / "launch" / "hostfile.example"


def test_the_example_gives_what_deepspeed_reads() -> None:
    assert read_hostfile(EXAMPLE) == dict(fetch_hostfile(str(EXAMPLE))) != {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a slots=1\nb 8\n", r"hosts:2: found 'b 8', allowed: NAME slots=GPUS"),
        ("a slots=0\n", r"hosts:1: found 'a slots=0'"),
        ("a slots=1 # mine\n", r"hosts:1: found"),
        ("a slots=1\na slots=1\n", r"hosts:2: found a twice"),
        ("# a slots=1\n\n", r"hosts: names no machine"),
        ("\udcff".encode("utf-8", "surrogateescape"), r"hosts: cannot be read"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError, match=message):
        read_hostfile(hosts)
