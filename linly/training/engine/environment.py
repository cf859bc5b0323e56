"""Machine and package versions, recorded at each start of a run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
from typing import Any

_PACKAGES = ("linly", "torch", "deepspeed", "transformers", "sentencepiece", "numpy")


def describe_machine() -> dict[str, Any]:
    """Host, CPUs and GPUs of this process's node."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {"host": socket.gethostname(), "cpus": os.cpu_count(), "gpus": gpus}


def describe_versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect the results."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions
