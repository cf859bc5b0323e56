"""How far the trained weights have moved from those of the model folder: |w - w0| / |w0|.

The norms are taken over the embedding, each layer, the head, and all together. `w` are the fp32
master weights, since BF16 hides small changes. `w0` are the weights in the run's model folder, with
the new rows of an extended vocabulary. Each rank reads the part of the folder that belongs to its
share of the optimizer, in chunks, so all ranks together read the folder once per evaluation, and
memory does not depend on the model's size.

Shares are cut differently at another world size. The squares are therefore summed exactly, as
multiples of fixed powers of two, so that the result is the same to the bit for any number of ranks
(Demmel and Nguyen, "Fast Reproducible Floating-Point Summation", 2013).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from linly.modeling.stored.dtypes import FLOATING
from linly.modeling.stored.stored_model import StoredModel
from linly.modeling.stored.tensor_files import TensorFile
from linly.modeling.stored.weight_files import weight_path
from linly.training.engine.engine import Engine
from linly.training.ranks.processes import Processes

_QUANTA = tuple(2.0**-exponent for exponent in (20, 40, 60, 80))
"""Units of a sum of squares: exact up to 2^33 for 2^34 values, with an error of 2^-81 for each."""

_VALUES_AT_ONCE = 1 << 20
_LAYER = re.compile(r"\.(\d+)\.")
ALL = "all"


class _Original(NamedTuple):
    """A trained parameter in the model folder: part of the model, and place in the files."""

    part: str
    file: TensorFile
    name: str


class WeightDrift:
    """Compares the weights of a run with its model folder; all ranks take part."""

    def __init__(self, engine: Engine, stored: StoredModel, processes: Processes) -> None:
        """Find the trained parameters in the folder's files, which stay open.

        Args:
            engine: Engine of the run.
            stored: Model folder of the run.
            processes: Processes of the run.
        """
        self._engine = engine
        self._processes = processes
        names = {key: name for name, key in stored.keys.items()}
        parts = _parts(engine.module)
        files: dict[str, TensorFile] = {}
        self._originals: dict[str, _Original] = {}
        self.left_out: list[str] = []
        for key, parameter in engine.parameters().items():
            tensor = stored.tensors.get(names.get(key, ""))
            if tensor is None or tensor.shape != tuple(parameter.shape):
                self.left_out.append(key)
                continue
            if tensor.file not in files:
                files[tensor.file] = TensorFile(weight_path(stored.path, tensor.file))
            self._originals[key] = _Original(parts[key], files[tensor.file], names[key])

    def measure(self) -> dict[str, float | None]:
        """Relative distance by part, `all` first; empty if no trained parameter is in the folder.

        A collective. None for a part whose weights are all 0 in the folder, or not finite.

        Raises:
            LinlyError: If the folder's files cannot be read, on all ranks.
        """
        parts = list(dict.fromkeys(original.part for original in self._originals.values()))
        sums = torch.zeros(len(parts), 2, len(_QUANTA), dtype=torch.float64)
        with self._processes.together("comparing the weights with the model folder"):
            for key, original in self._originals.items():
                for moved, first in self._pieces(key, original):
                    row = sums[parts.index(original.part)]
                    row[0] += exact_sum(moved)
                    row[1] += exact_sum(first)
        totals = self._processes.sum(sums)
        found = {part: _relative(totals[index]) for index, part in enumerate(parts)}
        return {ALL: _relative(totals.sum(dim=0)), **found} if found else {}

    def _pieces(self, key: str, original: _Original) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Squared change and squared original of this rank's share of a parameter, in pieces."""
        held = self._engine.held_part(key)
        if held is None:
            return
        entry = original.file.entries[original.name]
        dtype = FLOATING[entry.dtype]
        start = entry.start + held.start * dtype.itemsize
        at = 0
        for chunk in original.file.chunks(start, held.values.numel() * dtype.itemsize):
            stored = torch.frombuffer(bytearray(chunk), dtype=dtype)
            for first in torch.split(stored, _VALUES_AT_ONCE):
                now = held.values[at : at + len(first)].double()
                before = first.to(now.device).double()
                at += len(first)
                yield (now - before).square(), before.square()


def drift_notice(drift: WeightDrift, stored: StoredModel) -> list[str]:
    """Notice about trained parameters that cannot be compared; empty without any."""
    if not drift.left_out:
        return []
    return [
        f"weight drift leaves out {len(drift.left_out):,} trained parameters that model "
        f"{stored.path} stores in another form, such as {drift.left_out[0]}"
    ]


def exact_sum(values: torch.Tensor) -> torch.Tensor:
    """Sum of values below 2^31, in parts that do not depend on the order: float64 [quanta].

    Args:
        values: float64 [n].
    """
    parts = []
    rest = values
    for quantum in _QUANTA:
        shift = 1.5 * 2.0**52 * quantum  # adding it rounds to a multiple of the quantum
        rounded = (rest + shift) - shift
        parts.append(rounded.sum())
        rest = rest - rounded
    return torch.stack(parts).cpu()


def _relative(sums: torch.Tensor) -> float | None:
    """Square root of the first sum over the second."""
    moved, first = (math.fsum(parts) for parts in sums.tolist())
    return math.sqrt(moved / first) if first and math.isfinite(moved / first) else None


def _parts(model: PreTrainedModel) -> Mapping[str, str]:
    """Part of the model that each parameter belongs to."""
    embedding = model.get_input_embeddings().weight
    output = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    head = getattr(output, "weight", None)
    found = {}
    for name, parameter in model.named_parameters():
        layer = _LAYER.search(name)
        if parameter is embedding:
            found[name] = "embedding"
        elif parameter is head:
            found[name] = "head"
        else:
            found[name] = f"layer-{layer[1]}" if layer else "other"
    return found
