"""What DeepSpeed computes on, decided before anything imports it."""

from __future__ import annotations

import os

import torch


def choose_accelerator() -> None:
    """Tell DeepSpeed of a machine without a GPU; what DS_ACCELERATOR says already counts.

    Left to find out by itself it prints a warning to stdout, among what a command answers. To be
    called before DeepSpeed is imported, also by transformers, whose `save_pretrained` does.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
