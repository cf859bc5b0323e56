"""Program that imports the heavy packages once and forks for each program it is asked to run.

Started by `tests/support/prepared.py`, with the number of its end of a socket as the argument.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, NoReturn

PRELOADED = (
    *("pyarrow.parquet", "pydantic", "sentencepiece", "typer", "yaml"),
    *("deepspeed", "transformers.models.llama.modeling_llama", "transformers.generation"),
    "torch.utils.tensorboard",
)
SAFE_THREADS = {"jemalloc_bg_thd"}
"""Thread of pyarrow's allocator, which prepares for forks by itself."""


def serve(requests: socket.socket) -> dict[str, Any]:
    """Fork for each request; returns the request in the program's process."""
    while True:
        message, files, _, _ = socket.recv_fds(requests, 1 << 20, 3)
        if not message:
            os._exit(0)
        _reap()
        if os.fork() == 0:
            requests.close()
            program = os.fork()
            if program == 0:
                return _become(json.loads(message), files)
            _watch(program, files)
        for file in files:
            os.close(file)


def _reap() -> None:
    """Collect the watchers that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _watch(program: int, files: list[int]) -> NoReturn:
    """Report how a program ended, and its processor seconds with those of its children."""
    *output, report = files
    for file in output:
        os.close(file)
    _, status, usage = os.wait4(program, 0)
    end = [os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime]
    os.write(report, json.dumps(end).encode() + b"\n")
    os._exit(0)


def _become(request: dict[str, Any], files: list[int]) -> dict[str, Any]:
    """Take on what a new interpreter would have: session, environment, folder and output."""
    os.setsid()
    output, errors, report = files
    os.write(report, f"{os.getpid()}\n".encode())
    os.dup2(output, 1)
    os.dup2(errors, 2)
    for file in files:
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    tempfile.tempdir = None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import numpy as np

    np.random.seed()  # as its import does
    return request


def run(arguments: list[str]) -> None:
    """`python ARGUMENTS` of a script, `-m MODULE` or `-c CODE`."""
    first, *rest = arguments
    name = rest[0] if first in ("-m", "-c") else first
    folder = "" if first == "-c" else os.getcwd() if first == "-m" else str(Path(name).parent)
    given = os.environ.get("PYTHONPATH", "")
    sys.path[:1] = [folder, *(given.split(os.pathsep) if given else ())]
    sys.argv = [first, *rest[1:]] if first == "-c" else [name, *rest[first == "-m" :]]
    if first == "-c":
        exec(compile(name, "<string>", "exec"), vars(sys.modules["__main__"]))  # noqa: S102
    elif first == "-m":
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(name, run_name="__main__")


def finish(arguments: list[str]) -> NoReturn:
    """Run a program and leave as an interpreter does, but without freeing what was preloaded."""
    code: object = 0
    try:
        run(arguments)
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        sys.excepthook(*sys.exc_info())
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    for package in PRELOADED:
        __import__(package)
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("[0-9]*/comm")]
    others = len(names) - 1 - len(SAFE_THREADS.intersection(names))
    assert not others, f"threads after the imports, {names}: forking is not safe"
    gc.collect()
    gc.freeze()  # a collection in a program would copy every page
    finish(serve(socket.socket(fileno=int(sys.argv[1])))["arguments"])
