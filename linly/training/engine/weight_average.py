"""Averaged weights of a rank's share, in fp32 host memory, updated beside training.

    step n ends -> a thread reads the share of master weights, in chunks -> running mean
                   the next optimizer step waits for it

Sample i of n has the weight decay^(n - i) in `ema`, and 1 in `window`, divided by their sum: no
value from before the first sample is in the mean. Each update is elementwise and rounds after every
operation, so its result does not depend on how parameters are sharded over ranks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import torch

from linly.config.sections.average_setting import WeightAveraging

AVERAGE = "average"
RUNNING = "average_running"
AVERAGE_KEYS = (AVERAGE, RUNNING)
"""Tensors of a parameter in a checkpoint, named `KEY.PARAMETER`: the mean that is evaluated and
exported, and that of an incomplete window; each only once there is one."""

_CHUNK = 1 << 20

Shares = list[torch.Tensor]
"""This rank's flat share of each parameter group, fp32 [elements]."""


@dataclass(frozen=True, slots=True)
class SampledSteps:
    """Steps after which the weights in a mean were sampled.

    Attributes:
        samples: Number of samples; 0 for none so far.
        first_step: Step of the first sample.
        last_step: Step of the last sample.
    """

    samples: int = 0
    first_step: int = 0
    last_step: int = 0

    def with_sample(self, step: int) -> SampledSteps:
        """The steps with one more."""
        return SampledSteps(self.samples + 1, self.first_step or step, step)


class WeightAverage:
    """Mean of this rank's share of the master weights over sampled steps.

    Methods are not collectives unless documented otherwise; those that read a mean wait for the
    update under way.

    Attributes:
        settings: Settings of the recipe.
    """

    def __init__(self, settings: WeightAveraging, masters: Shares, *, num_steps: int) -> None:
        """Begin without samples.

        Args:
            settings: Settings of the recipe.
            masters: This rank's share of the master weights, on any device.
            num_steps: Steps of the run, from whose end windows are counted back.
        """
        self.settings = settings
        self._masters = masters
        self._num_steps = num_steps
        self._running = self._empty()
        self._running_steps = SampledSteps()
        self._complete = self._empty() if settings.kind == "window" else []
        self._complete_steps = SampledSteps()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="average")
        self._under_way: Future[None] | None = None
        self._staging: torch.Tensor | None = None

    # -- updating -----------------------------------------------------------------------------

    def update(self, step: int) -> None:
        """Sample the weights after a step, if it is one of the sampled steps.

        The weights must not change before `wait` has returned.
        """
        left = self._num_steps - step
        is_due = left >= 0 and left % self.settings.every == 0
        if self.settings.kind == "ema":
            is_due = step % self.settings.every == 0
        if not is_due:
            return
        self.wait()
        self._running_steps = self._running_steps.with_sample(step)
        rate = self._rate(self._running_steps.samples)
        ready = None
        if self._masters[0].is_cuda:
            ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            ready.record(torch.cuda.current_stream(self._masters[0].device))
        self._under_way = self._thread.submit(self._add, self._running, rate, ready)
        if self.settings.steps is not None and left % self.settings.steps == 0:
            self._close_window(self.settings.steps // self.settings.every)

    def wait(self) -> None:
        """Wait for the update under way, if any."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def _rate(self, samples: int) -> float:
        """Weight of the newest of some samples in their mean."""
        decay = self.settings.decay
        if decay is None:
            return 1 / samples
        return (1 - decay) / (1 - decay**samples)

    def _close_window(self, samples: int) -> None:
        """Begin the next window; one with missing samples (the run's first) gives no mean."""
        if self._running_steps.samples == samples:
            self._running, self._complete = self._complete, self._running
            self._complete_steps = self._running_steps
        self._running_steps = SampledSteps()

    def _add(self, means: Shares, rate: float, ready: torch.cuda.Event | None) -> None:
        """Move means towards the master weights: mean += (weight - mean) * rate."""
        stream = None
        if ready is not None:
            stream = torch.cuda.Stream(self._masters[0].device)  # type: ignore[no-untyped-call]
            stream.wait_event(ready)
        if self._staging is None:
            self._staging = torch.empty(_CHUNK, pin_memory=stream is not None)
        with torch.cuda.stream(stream):
            for master, mean in zip(self._masters, means, strict=True):
                for start in range(0, len(mean), _CHUNK):
                    new, old = master.detach()[start : start + _CHUNK], mean[start : start + _CHUNK]
                    change = self._staging[: len(new)].copy_(new, non_blocking=True)
                    if stream is not None:
                        stream.synchronize()
                    if rate == 1:  # the first sample
                        old.copy_(change)
                    else:
                        old.add_(change.sub_(old).mul_(rate))

    def _empty(self) -> Shares:
        return [torch.empty(master.shape, dtype=torch.float32) for master in self._masters]

    # -- reading ------------------------------------------------------------------------------

    @property
    def steps(self) -> SampledSteps:
        """Steps of the mean; without samples if there is no mean yet."""
        return self._running_steps if self.settings.kind == "ema" else self._complete_steps

    @property
    def mean(self) -> Shares:
        """The mean, once `steps` has samples."""
        self.wait()
        return self._running if self.settings.kind == "ema" else self._complete

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of `held` and `full`: those of AVERAGE_KEYS that have samples."""
        return tuple(self._kept())

    def held(self, parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:
        """Views of the means of a parameter that is entirely in this share, by key."""
        return {
            key: _fragment(parameter, shares).view(parameter.shape)
            for key, shares in self._kept().items()
        }

    def full(self, parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:
        """Means of a parameter, whole, fp32 on its device, by key; a collective on all ranks."""
        return {key: _whole(parameter, shares) for key, shares in self._kept().items()}

    def set(self, parameter: torch.nn.Parameter, state: Mapping[str, torch.Tensor]) -> None:
        """Set this rank's part of the means from full tensors."""
        start, length = _place_in_parameter(parameter)
        for key, shares in self._kept().items():
            part = state[key].flatten().narrow(0, start, length)
            _fragment(parameter, shares).copy_(part)

    def _kept(self) -> dict[str, Shares]:
        self.wait()
        if self.settings.kind == "ema":
            found = {AVERAGE: (self._running, self._running_steps)}
        else:
            found = {
                AVERAGE: (self._complete, self._complete_steps),
                RUNNING: (self._running, self._running_steps),
            }
        return {key: shares for key, (shares, steps) in found.items() if steps.samples}

    # -- state --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Settings and sampled steps, in the JSON form of a checkpoint."""
        return {
            "settings": self.settings.file_form(),
            "num_steps": self._num_steps,
            "running": asdict(self._running_steps),
            "complete": asdict(self._complete_steps),
        }

    def load_state_dict(self, state: Mapping[str, Any] | None) -> list[str]:
        """Restore the sampled steps of a checkpoint; `set` then restores the means.

        Args:
            state: Saved state; None if the checkpoint has no average.

        Returns:
            Notices about samples that do not count.
        """
        if state is None:
            return [f"training.average: begins here ({self.settings})"]
        if state["settings"] != self.settings.file_form():
            before = WeightAveraging.model_validate(state["settings"])
            return [f"training.average: begins anew ({self.settings}); it was {before}"]
        self._running_steps = SampledSteps(**state["running"])
        self._complete_steps = SampledSteps(**state["complete"])
        window = self.settings.steps
        moved = window is not None and (self._num_steps - state["num_steps"]) % window
        if not moved or not self._running_steps.samples:
            return []
        self._running_steps = SampledSteps()
        return ["training.average: the run ends at another step, so a new window begins here"]


def _fragment(parameter: torch.nn.Parameter, shares: Sequence[torch.Tensor]) -> torch.Tensor:
    """View of a parameter's part in flat shares, of which this rank holds some."""
    mapping = parameter._hp_mapping  # type: ignore[attr-defined]
    place = mapping.hp_fragment_address
    share: torch.Tensor = shares[mapping.param_group_index]
    return share.narrow(0, place.start, place.numel)


def _place_in_parameter(parameter: torch.nn.Parameter) -> tuple[int, int]:
    """First element and number of elements of the parameter's part in this share."""
    place = parameter._hp_mapping.lp_fragment_address  # type: ignore[attr-defined]
    return int(place.start), int(place.numel)


def _whole(parameter: torch.nn.Parameter, shares: Sequence[torch.Tensor]) -> torch.Tensor:
    """A parameter's values, put together from the shares of all ranks."""
    whole = torch.zeros(parameter.numel(), dtype=torch.float32, device=parameter.device)
    if parameter._hp_mapping is not None:  # type: ignore[attr-defined]
        start, length = _place_in_parameter(parameter)
        whole.narrow(0, start, length).copy_(_fragment(parameter, shares))
    torch.distributed.all_reduce(whole, group=parameter._dp_group)  # type: ignore[attr-defined]
    return whole.view(parameter.shape)
