"""Number of trained parameters of a model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """Trained parameters and all parameters; LoRA's own are in both."""

    trained: int
    total: int

    def __str__(self) -> str:
        """`417,603,584 of 6,893,875,200 parameters (6.06%)`."""
        return f"{self.trained:,} of {self.total:,} parameters ({self.trained / self.total:.2%})"
