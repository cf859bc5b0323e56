"""Optimizer of a model's parts: each with its learning rate, its step count, and its own freezing.

DeepSpeed gives the optimizer one flat fp32 share per parameter group. A part is a set of ranges of
these shares, and every optimizer here is elementwise. So each part of a share is stepped by an
optimizer of its own, over views of the share's weights, gradients and moments. A frozen part is not
stepped: its weights, moments and step count keep every bit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from linly.config.sections.training_section import TrainingSettings
from linly.modeling.parts.model_parts import PARTS, Part, PartRange, part_scale
from linly.training.engine.optimizers import Groups, OptimizerKind


class PartsOptimizer(Optimizer):
    """Steps the trained parts of flat shares, each at its scale of the learning rate.

    Attributes:
        trained: Parts that a step changes.
        steps: Number of applied steps of each part.
    """

    def __init__(self, kind: OptimizerKind, groups: Groups, training: TrainingSettings) -> None:
        """Take over parameter groups; `divide` must follow before the first step."""
        super().__init__(groups, {"lr": training.lr})
        self.trained: frozenset[Part] = frozenset(PARTS)
        self.steps: dict[Part, int] = dict.fromkeys(PARTS, 0)
        self._kind = kind
        self._training = training
        self._inner: dict[torch.Tensor, list[_PartOfShare]] = {}

    def divide(self, ranges: Mapping[torch.Tensor, Sequence[PartRange]]) -> None:
        """Divide flat shares into parts, and create their moments as zeros.

        Args:
            ranges: Parts of each share by its tensor. Elements outside are DeepSpeed's padding.
        """
        for group in self.param_groups:
            for share in group["params"]:
                moments = {key: torch.zeros_like(share.detach()) for key in self._kind.moments}
                self.state[share] = moments
                by_part: dict[Part, list[PartRange]] = {}
                for each in ranges[share]:
                    by_part.setdefault(each.part, []).append(each)
                self._inner[share] = [
                    _PartOfShare(self._kind, self._training, share, moments, part, found, group)
                    for part, found in by_part.items()
                ]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Step the trained parts of the groups that DeepSpeed has set; `steps` is not changed."""
        assert closure is None
        for group in self.param_groups:
            for share in group["params"]:
                for inner in self._inner[share]:
                    if inner.part in self.trained and share.grad is not None:
                        scale = part_scale(inner.part, self._training.lr_scale)
                        inner.step(share.grad, lr=group["lr"] * scale)

    def count_step(self) -> None:
        """Count an applied step of the trained parts."""
        for part in self.trained:
            self.steps[part] += 1

    def set_steps(self, steps: Mapping[Part, int]) -> None:
        """Set the number of applied steps of some parts."""
        self.steps |= steps
        for inner in self._all():
            inner.set_steps(self.steps[inner.part])

    def restart(self, parts: Collection[Part]) -> None:
        """Set moments and step counts of parts to zero."""
        for inner in self._all():
            if inner.part in parts:
                inner.clear_moments()
        self.set_steps(dict.fromkeys(parts, 0))

    def _all(self) -> list[_PartOfShare]:
        return [inner for each in self._inner.values() for inner in each]


def parameter_groups(parameters: Iterable[torch.nn.Parameter], weight_decay: float) -> Groups:
    """Parameters with weight decay, and norms and biases (one dimension) without.

    DeepSpeed flattens a group into one tensor, so each group has one dtype. BF16 comes first: it is
    the dtype of DeepSpeed's buffers.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {
            "params": [p for p in trained if p.dtype == dtype and (p.dim() > 1) == is_matrix],
            "weight_decay": weight_decay if is_matrix else 0.0,
        }
        for dtype in (torch.bfloat16, torch.float32)
        for is_matrix in (True, False)
    ]
    return [group for group in groups if group["params"]]


class _PartOfShare:
    """A part of one flat share, with an optimizer over views of it."""

    def __init__(
        self,
        kind: OptimizerKind,
        training: TrainingSettings,
        share: torch.Tensor,
        moments: Mapping[str, torch.Tensor],
        part: Part,
        ranges: Sequence[PartRange],
        group: Mapping[str, Any],
    ) -> None:
        self.part = part
        self._ranges = ranges
        self._kind = kind
        self._views = [share.detach()[r.start : r.end].requires_grad_() for r in ranges]
        groups = [{"params": self._views, "weight_decay": group["weight_decay"]}]
        self._optimizer = kind.make(groups, training)
        for view, r in zip(self._views, ranges, strict=True):
            state = {key: moment[r.start : r.end] for key, moment in moments.items()}
            if kind.counts_steps:
                state["step"] = torch.zeros((), dtype=torch.float32, device=share.device)
            self._optimizer.state[view] = state

    def step(self, gradient: torch.Tensor, *, lr: float) -> None:
        """Step by the gradient of the whole share."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        for view, r in zip(self._views, self._ranges, strict=True):
            view.grad = gradient[r.start : r.end]
        self._optimizer.step()
        for view in self._views:
            view.grad = None

    def set_steps(self, steps: int) -> None:
        """Set the number of applied steps."""
        if self._kind.counts_steps:
            for view in self._views:
                self._optimizer.state[view]["step"].fill_(steps)

    def clear_moments(self) -> None:
        """Set the moments to zero."""
        for view in self._views:
            for key in self._kind.moments:
                self._optimizer.state[view][key].zero_()
