"""DeepSpeed's accelerator, chosen before DeepSpeed is imported."""

from __future__ import annotations

import os

import torch


def choose_accelerator() -> None:
    """Set DS_ACCELERATOR to cpu on a machine without a GPU, unless it is already set.

    Otherwise DeepSpeed prints a warning to stdout, in the middle of a command's output. Call this
    before DeepSpeed is imported. transformers' `save_pretrained` imports it too.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
