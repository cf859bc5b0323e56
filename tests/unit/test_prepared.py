"""Prepared programs are what `python ARGUMENTS` would start, in all that tests rely on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.prepared import PreparedProcess, run_prepared

LOOK = """
import atexit, os, signal, sys, threading, time
atexit.register(print, "last")
threading.Thread(target=lambda: (time.sleep(0.05), print("thread"))).start()
print(sys.argv[-2:], os.getcwd(), os.environ["GIVEN"], "HOME" in os.environ)
print(os.getsid(0) == os.getpid(), signal.getsignal(signal.SIGINT) is signal.default_int_handler)
print(__name__, "linly" in sys.modules, sys.stdin.read(), end="")
print("to stderr", file=sys.stderr)
"""


@pytest.mark.parametrize("form", ["code", "script", "module"])
def test_a_program_sees_what_an_interpreter_would_show_it(form: str, tmp_path: Path) -> None:
    (tmp_path / "look.py").write_text(LOOK)
    first = {"code": ["-c", LOOK], "script": [f"{tmp_path}/look.py"], "module": ["-m", "look"]}
    arguments = [*first[form], "one", "two"]
    variables = {"GIVEN": "given", "PYTHONPATH": str(tmp_path)}
    wanted = subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
    )
    done = run_prepared(*arguments, folder=tmp_path, environment=variables)
    assert (done.returncode, done.stdout, done.stderr) == (0, wanted.stdout, wanted.stderr)


@pytest.mark.parametrize(
    ("code", "exit_code", "says"),
    [
        ("raise SystemExit", 0, ""),
        ("raise SystemExit(75)", 75, ""),
        ("raise SystemExit('no')", 1, "no\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
        ("import os; os.kill(os.getpid(), 2)", -signal.SIGINT, "KeyboardInterrupt\n"),
    ],
)
def test_a_program_ends_as_an_interpreter_would(code: str, exit_code: int, says: str) -> None:
    done = run_prepared("-c", code, environment=os.environ)
    assert done.returncode == exit_code
    assert done.stderr.endswith(says)
    assert bool(done.stderr) == bool(says)


def test_a_program_can_be_waited_for_and_stopped(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as output:
        program = PreparedProcess(
            ["-c", "import time; time.sleep(60)"],
            folder=tmp_path,
            environment=os.environ,
            output=output,
            errors=output,
        )
    assert program.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0.02)
    os.killpg(program.pid, signal.SIGTERM)
    assert program.wait(10) == -signal.SIGTERM
    program.kill()  # it has ended: nothing happens
