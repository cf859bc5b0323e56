"""Program of every rank: `linly train` with the same arguments.

In: the arguments of `linly train`, and the ranks that a launcher sets in the environment. Out: the
exit code of `linly train`. `linly launch` starts it through DeepSpeed's launcher. By hand:
`deepspeed --module linly.launch RECIPE`, `torchrun -m linly.launch RECIPE`.
"""

from __future__ import annotations

import sys

from linly.cli.main import main as linly


def main() -> None:
    """Run `linly train` with the arguments of this process, and leave by `sys.exit`."""
    linly(["train", *sys.argv[1:]])
