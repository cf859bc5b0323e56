"""How many of a model's parameters train."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """Parameters that train, of all; LoRA's own count among both."""

    trained: int
    total: int

    def __str__(self) -> str:
        """`417,603,584 of 6,893,875,200 parameters (6.06%)`."""
        return f"{self.trained:,} of {self.total:,} parameters ({self.trained / self.total:.2%})"
