"""The optimizers: how each is created, and the state that it keeps of a parameter.

The engine, checkpoints and estimates of memory and disk take what they need from `OptimizerKind`. A
new optimizer is a name in `OptimizerName` (`config/sections/training_section.py`) and a kind here;
a type checker refuses a name without one. This module works without torch until an
optimizer is created.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from linly.config.sections.training_section import OptimizerName, TrainingSettings

if TYPE_CHECKING:
    from torch.optim import Optimizer

Groups = list[dict[str, Any]]
"""Parameter groups in torch's form: `params`, `weight_decay`."""


@dataclass(frozen=True, slots=True)
class OptimizerKind:
    """An optimizer that ZeRO-2 can shard: its state is elementwise, fp32 in the parameter's shape.

    Attributes:
        make: Function that creates it for parameter groups; the learning rate is set at every step.
        moments: Names of the tensors that torch's optimizer keeps of a parameter.
        counts_steps: Whether it also keeps the number of applied steps, as `step`.
    """

    make: Callable[[Groups, TrainingSettings], Optimizer]
    moments: tuple[str, ...]
    counts_steps: bool

    @property
    def state_keys(self) -> tuple[str, ...]:
        """Tensors of a parameter in a checkpoint, named `KEY.PARAMETER`; all fp32."""
        return ("master", *self.moments)

    @property
    def bytes_per_parameter(self) -> int:
        """Bytes of a trained parameter in a checkpoint, and over all ranks in memory."""
        return 4 * len(self.state_keys)


def optimizer_kind(name: OptimizerName) -> OptimizerKind:
    """Return the kind of an optimizer's name."""
    match name:
        case "adamw":
            return OptimizerKind(_make_adamw, moments=("exp_avg", "exp_avg_sq"), counts_steps=True)


def state_bytes_per_parameter(training: TrainingSettings) -> int:
    """Bytes of a trained parameter in a checkpoint: optimizer state and averaged weights."""
    average = training.average
    copies = 0 if average is None else average.num_copies
    return optimizer_kind(training.optimizer).bytes_per_parameter + 4 * copies


def optimizer_kinds() -> tuple[OptimizerKind, ...]:
    """Return all kinds."""
    return tuple(optimizer_kind(name) for name in get_args(OptimizerName))


def _make_adamw(groups: Groups, training: TrainingSettings) -> Optimizer:
    from torch.optim import AdamW

    return AdamW(groups, lr=training.lr, betas=training.betas, eps=training.eps, fused=True)
