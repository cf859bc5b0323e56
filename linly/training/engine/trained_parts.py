"""Parts of a model that train at a step: frozen parameters get no gradient, frozen rows zeros."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import torch
from transformers import PreTrainedModel

from linly.modeling.parts.model_parts import PARTS, Part, PartRange, parameter_parts


class TrainedParts:
    """The parameters that any phase trains, and the choice of those that train now.

    Attributes:
        parameters: Parameters by name; a tied one once.
        ranges: Parts of each of them.
    """

    def __init__(self, model: PreTrainedModel, new_rows: range | None) -> None:
        """Take the parameters that require a gradient, and train all their parts.

        A hook zeros the gradients of frozen elements as soon as a backward pass has them: before
        they are accumulated, reduced, measured and clipped.
        """
        found = parameter_parts(model, new_rows)
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.ranges = {name: found[name] for name in self.parameters}
        self._trained: Collection[Part] = PARTS
        for name, parameter in self.parameters.items():
            if len(self.ranges[name]) > 1:
                self._zero_frozen(parameter, self.ranges[name])

    def choose(self, parts: Collection[Part]) -> None:
        """Train these parts. A parameter of frozen parts only needs no gradient at all."""
        self._trained = parts
        for name, parameter in self.parameters.items():
            parameter.requires_grad_(any(each.part in parts for each in self.ranges[name]))

    def of_shares(self, shares: Sequence[torch.Tensor]) -> dict[torch.Tensor, list[PartRange]]:
        """Parts of this rank's flat fp32 share of each parameter group, without its padding."""
        found: dict[torch.Tensor, list[PartRange]] = {share: [] for share in shares}
        for name, parameter in self.parameters.items():
            mapping = getattr(parameter, "_hp_mapping", None)  # DeepSpeed's, if a part is here
            if mapping is None:
                continue
            here, there = mapping.lp_fragment_address, mapping.hp_fragment_address
            for each in self.ranges[name]:
                start, end = max(0, each.start - here.start), min(here.numel, each.end - here.start)
                if start < end:
                    own = PartRange(each.part, start + there.start, end + there.start)
                    found[shares[mapping.param_group_index]].append(own)
        return {share: merge_ranges(ranges) for share, ranges in found.items()}

    def _zero_frozen(self, parameter: torch.nn.Parameter, ranges: Iterable[PartRange]) -> None:
        def zero(parameter: torch.Tensor) -> None:
            assert parameter.grad is not None
            flat = parameter.grad.view(-1)
            for each in ranges:
                if each.part not in self._trained:
                    flat[each.start : each.end].zero_()

        parameter.register_post_accumulate_grad_hook(zero)  # type: ignore[no-untyped-call]


def merge_ranges(ranges: Iterable[PartRange]) -> list[PartRange]:
    """Join ranges of a part that follow each other without a gap."""
    merged: list[PartRange] = []
    for each in sorted(ranges, key=lambda found: found.start):
        last = merged[-1] if merged else None
        if last is not None and (last.part, last.end) == (each.part, each.start):
            merged[-1] = PartRange(each.part, last.start, each.end)
        else:
            merged.append(each)
    return merged
