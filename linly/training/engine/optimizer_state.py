"""Names and size of the optimizer state of a parameter."""

from __future__ import annotations

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Moments of a parameter, each fp32 in the parameter's shape."""

STATE_KEYS = ("master", *MOMENTS)
"""Tensors of a parameter in a checkpoint, named `KEY.PARAMETER`; all fp32."""

BYTES_PER_PARAMETER = 4 * len(STATE_KEYS)
