"""Wrapper of DeepSpeed's ZeRO-2 engine; the only module that imports deepspeed.

Weights and activations are BF16, except for weights that transformers keeps in fp32. Master
weights, gradient accumulation and gradient reduction are fp32. The learning rate is passed in at
every step, and a step can be discarded on all ranks before it changes weights or moments.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import deepspeed
import torch
from deepspeed.accelerator import get_accelerator
from deepspeed.utils import (
    logger,
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_grad,
    safe_set_full_optimizer_state,
)
from transformers import PreTrainedModel

from linly.config.deepspeed import deepspeed_config, wants_log
from linly.config.sections.training_section import TrainingSettings
from linly.data.loading.loader import MicroBatch
from linly.modeling.attention.attention import document_bounds, set_attention, usual_backend
from linly.modeling.attention.separation import (
    Attention,
    RowLayout,
    Way,
    way_of_evaluation,
)
from linly.modeling.parts.model_parts import PARTS, Part, trained_parts
from linly.modeling.recompute import checkpoint_activations, compile_layers
from linly.modeling.stored.dtypes import cast_buffers, kept_dtypes, persistent_buffers
from linly.modeling.trial import try_model
from linly.training.engine.objective import Objective, choose_loss
from linly.training.engine.optimizers import optimizer_kind, state_bytes_per_parameter
from linly.training.engine.parts_optimizer import PartsOptimizer, parameter_groups
from linly.training.engine.trained_parts import TrainedParts
from linly.training.engine.weight_average import Shares, WeightAverage
from linly.training.ranks.processes import raise_group_timeout


@dataclass(frozen=True, slots=True)
class StepResult:
    """Result of an optimizer step.

    Attributes:
        applied: Whether the step was applied; it is not if the gradients are not finite.
        grad_norm: Gradient norm before clipping; infinite if not applied.
    """

    applied: bool
    grad_norm: float


class HeldPart(NamedTuple):
    """Part of a parameter's master weight in this rank's share of the optimizer.

    Attributes:
        values: View of the optimizer's memory, fp32 [n].
        start: Index of the first value in the flat parameter.
    """

    values: torch.Tensor
    start: int


class Engine:
    """A model in training, with its optimizer sharded over the ranks (ZeRO-2).

    A step is `accumulation` calls of `accumulate`, then either `step` or `discard`.

    Attributes:
        optimizer_kind: Kind of the optimizer.
        state_bytes_per_parameter: Bytes of a trained parameter in a checkpoint.
        evaluation_way: Method that separates the documents of a row in evaluation; None if there
            is none, so that each document needs its own row.
        average: Averaged weights; None without `training.average`, and before `keep_average`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        training: TrainingSettings,
        *,
        accumulation: int,
        layout: RowLayout = RowLayout(),  # noqa: B008 (frozen)
        new_rows: range | None = None,
    ) -> None:
        """Move the model's weights to the device in place, as BF16, and create the optimizer.

        Weights that transformers keeps in fp32 in a BF16 model stay in fp32. Master weights have
        the stored precision, even where BF16 rounds. Weights are moved one by one, so that a model
        mapped from its files is never entirely in host memory (see `load_model`).

        Args:
            model: Model whose parameters require a gradient if any phase trains them.
            training: Training settings of the recipe.
            accumulation: Micro-batches of a step on each rank.
            layout: Content of a training row.
            new_rows: Ids of the tokens that were added to the model.
        """
        _no_helper_builds()
        self._world_size = int(torch.distributed.get_world_size())
        config = deepspeed_config(
            training,
            accumulation=accumulation,
            world_size=self._world_size,
            has_gpu=torch.cuda.is_available(),
        )
        _set_log_level(logging.INFO if wants_log(config) else logging.ERROR)
        _quiet_known_warnings()
        checkpoint_activations(model, training.activation_checkpointing)
        model.train()
        self._stored_buffers = {n: b.detach() for n, b in persistent_buffers(model).items()}
        stored = _move_weights(model, kept_dtypes(model.config, torch.bfloat16))
        self.optimizer_kind = optimizer_kind(training.optimizer)
        self.state_bytes_per_parameter = state_bytes_per_parameter(training)
        self.average: WeightAverage | None = None
        groups = parameter_groups(model.parameters(), training.weight_decay)
        self._parts = TrainedParts(model, new_rows)  # its hooks come before DeepSpeed's
        self._parts_optimizer = PartsOptimizer(self.optimizer_kind, groups, training)
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=Objective(model), optimizer=self._parts_optimizer, config=config
        )
        self._accumulation = accumulation
        self._optimizer_steps = self._micro_batches = 0
        self._usual_backend = usual_backend(model)
        self._attention, self.evaluation_way = self._choose_attention(training, layout)
        objective = self._engine.module
        objective.way = self._attention.way
        objective.loss, self._loss_note = choose_loss(training.loss, objective, self.device)
        self._is_compiled = training.compile
        if training.compile:
            compile_layers(model)
        self._create_moments()
        self._set_masters(stored)
        self.train_parts(trained_parts(training.trainable))
        raise_group_timeout(self._optimizer.dp_process_group, training.collective_timeout_s)

    @property
    def module(self) -> PreTrainedModel:
        """The model, in BF16, the same on all ranks."""
        model: PreTrainedModel = self._engine.module.model
        return model

    @property
    def description(self) -> str:
        """Chosen attention and loss, with the reason if they differ from the settings."""
        loss = self._engine.module.loss
        note = f" ({self._loss_note})" if self._loss_note else ""
        return f"attention {self._attention}, loss {loss}{note}"

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return torch.device(self._engine.device)

    def accumulate(self, batch: MicroBatch, *, step_targets: int) -> torch.Tensor:
        """Run forward and backward of one micro-batch.

        DeepSpeed averages gradients over ranks. Our loss is a mean over the tokens of the global
        batch, so each micro-batch's sum is rescaled. This method does not wait for the device.

        Args:
            batch: Micro-batch on the CPU.
            step_targets: Number of supervised tokens of the step, over all ranks and
                micro-batches.

        Returns:
            float32 [micro_batch], summed negative log-likelihood of each row.
        """
        assert self._micro_batches < self._accumulation, "a step has no more micro-batches"
        bounds = document_bounds(batch.position_ids) if self._attention.way == "bounds" else None
        losses = self._engine(
            *map(self._moved, (batch.ids, batch.labels, batch.position_ids)),
            None if bounds is None else self._moved(bounds),
            self._world_size / max(1, step_targets),
        )
        self._engine.backward(losses.weighted, scale_wrt_gas=False)
        self._micro_batches += 1
        if self._micro_batches < self._accumulation:
            self._engine.step()  # counts the micro-batch; only the last one updates the weights
        rows: torch.Tensor = losses.rows
        return rows

    def _moved(self, tensor: torch.Tensor) -> torch.Tensor:
        """Move a tensor to the model's device without waiting, which needs pinned memory."""
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def step(self, *, lr: float) -> StepResult:
        """Clip and apply the accumulated gradients, unless they are not finite."""
        assert self._micro_batches == self._accumulation, "a step needs all its micro-batches"
        if self.average is not None:
            self.average.wait()  # it may still read the weights
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._engine.step()
        self._micro_batches = 0
        applied = bool(self._engine.was_step_applied())
        self._optimizer_steps += applied
        if applied:
            self._parts_optimizer.count_step()
        norm = self._engine.get_global_grad_norm()
        return StepResult(applied, float(norm) if applied else math.inf)

    def discard(self) -> None:
        """Drop the accumulated gradients; weights and moments are unchanged.

        This triggers DeepSpeed's handling of overflowing gradients, so that its counters and
        buffers are reset as after any step.
        """
        parameter = min(self.parameters().values(), key=torch.Tensor.numel)
        safe_set_full_grad(parameter, torch.full_like(parameter, math.inf, dtype=torch.float32))
        result = self.step(lr=0.0)
        assert not result.applied, "a poisoned step must not be applied"

    @contextmanager
    def evaluating(self) -> Iterator[PreTrainedModel]:
        """The model in evaluation mode without gradients."""
        self.module.train(False)
        set_attention(self.module, self._usual_backend)  # generation needs a KV cache
        # Rows of other lengths and KV caches are not worth compiling for.
        stance = torch.compiler.set_stance("force_eager") if self._is_compiled else nullcontext()
        try:
            with torch.no_grad(), stance:
                yield self.module
        finally:
            set_attention(self.module, self._attention.backend)
            self.module.train()

    def keep_average(self, training: TrainingSettings, *, num_steps: int) -> None:
        """Begin to average the weights if `training.average` asks for it.

        Args:
            training: Settings of the recipe.
            num_steps: Steps of the run.
        """
        if training.average is not None:
            masters = self._partitions()
            self.average = WeightAverage(training.average, masters, num_steps=num_steps)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with its averaged weights, within this context; a collective.

        Only the BF16 weights are replaced. Afterwards they are cast from the master weights again,
        as after every step, so that training continues to the bit. An error leaves them as they
        are: it ends the run, and the other ranks may not take part in a collective.
        """
        assert self.average is not None and self.average.steps.samples
        masters = self._partitions()
        self._optimizer.single_partition_of_fp32_groups = self.average.mean
        self._optimizer.update_lp_params()
        self._optimizer.single_partition_of_fp32_groups = masters
        yield
        self._optimizer.update_lp_params()

    @property
    def state_keys(self) -> tuple[str, ...]:
        """Keys of a parameter's tensors in a checkpoint."""
        averages = () if self.average is None else self.average.keys
        return (*self.optimizer_kind.state_keys, *averages)

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Parameters that any phase trains, by name; a tied one once."""
        return self._parts.parameters

    def train_parts(self, parts: frozenset[Part], *, restart: bool = False) -> None:
        """Train parts of the model from the next step on, and freeze the others exactly.

        Args:
            parts: Parts to train.
            restart: Whether their moments and step counts begin at zero.
        """
        assert self._micro_batches == 0, "a step has begun"
        self._parts.choose(parts)
        self._parts_optimizer.trained = parts
        if restart:
            self._parts_optimizer.restart(parts)

    def buffers(self) -> dict[str, torch.Tensor]:
        """Persistent buffers by name, in their stored dtype; exact unless training changed them."""
        return {
            name: stored if torch.equal(buffer, stored.to(buffer)) else buffer.to(stored.dtype)
            for name, buffer in persistent_buffers(self.module).items()
            for stored in (self._stored_buffers[name],)
        }

    def set_buffers(self, buffers: Mapping[str, torch.Tensor]) -> None:
        """Restore the persistent buffers from `buffers`; not a collective."""
        self._stored_buffers = dict(buffers)
        for name, buffer in persistent_buffers(self.module).items():
            buffer.copy_(buffers[name])

    def owns(self, parameter: torch.nn.Parameter) -> bool:
        """Whether this rank's share of the optimizer holds any part of the parameter."""
        return getattr(parameter, "_hp_mapping", None) is not None

    def full_state(self, parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:
        """Master weight, moments and averages, whole, fp32 on the device; a collective."""
        state = {"master": safe_get_full_fp32_param(parameter)}
        for key in self.optimizer_kind.moments:
            state[key] = safe_get_full_optimizer_state(parameter, key)
        return state if self.average is None else state | self.average.full(parameter)

    def held_state(self, parameter: torch.nn.Parameter) -> dict[str, torch.Tensor] | None:
        """Master weight, moments and averages entirely in this rank's share; not a collective.

        Returns:
            Views of the optimizer's memory, fp32 on the device, and of the averages, on the CPU;
            None if the parameter is not entirely in this share.
        """
        mapping = getattr(parameter, "_hp_mapping", None)
        if mapping is None or mapping.lp_fragment_address.numel < parameter.numel():
            return None
        keys = {"master": None} | {key: key for key in self.optimizer_kind.moments}
        state = {
            name: mapping.get_hp_fragment(optim_state_key=key).detach().view(parameter.shape)
            for name, key in keys.items()
        }
        return state if self.average is None else state | self.average.held(parameter)

    def held_part(self, name: str) -> HeldPart | None:
        """Part of a trained parameter in this rank's share; not a collective.

        Args:
            name: Name of the parameter.

        Returns:
            The part; None if this rank holds none of it.
        """
        mapping = getattr(self.module.get_parameter(name), "_hp_mapping", None)
        if mapping is None:
            return None
        values = mapping.get_hp_fragment().detach().flatten()
        return HeldPart(values, int(mapping.lp_fragment_address.start))

    def set_state(self, parameter: torch.nn.Parameter, state: dict[str, torch.Tensor]) -> None:
        """Set this rank's part of all `state_keys` from full tensors; not a collective.

        Call `finish_loading` after all parameters are set.
        """
        safe_set_full_fp32_param(parameter, state["master"])
        for key in self.optimizer_kind.moments:
            safe_set_full_optimizer_state(parameter, state[key], key)
        if self.average is not None:
            self.average.set(parameter, state)

    def finish_loading(
        self, *, optimizer_steps: int, part_steps: Mapping[str, int] | None = None
    ) -> None:
        """Update the BF16 weights from the master weights; a collective on all ranks.

        Args:
            optimizer_steps: Number of applied steps.
            part_steps: Number of applied steps of each part, for example for AdamW's bias
                correction; by default `optimizer_steps`.
        """
        self._optimizer_steps = optimizer_steps
        known = part_steps or {}
        steps = {part: known.get(part, optimizer_steps) for part in PARTS}
        self._parts_optimizer.set_steps(steps)
        self._optimizer.update_lp_params()

    def part_steps(self) -> dict[str, int]:
        """Number of applied steps of each part."""
        return {str(part): steps for part, steps in self._parts_optimizer.steps.items()}

    def optimizer_steps(self) -> int:
        """Number of applied steps; skipped steps are not counted."""
        return self._optimizer_steps

    def _choose_attention(
        self, training: TrainingSettings, layout: RowLayout
    ) -> tuple[Attention, Way | None]:
        """Attention for training, and the method that separates documents in evaluation."""
        model = self.module
        chosen = try_model(training.attention_backend, model, self.device, layout)
        if layout.documents == "apart" and chosen.backend == self._usual_backend:
            return chosen, chosen.way
        set_attention(model, self._usual_backend)
        way = way_of_evaluation(model, layout.length)
        set_attention(model, chosen.backend)
        return chosen, way

    def _set_masters(self, stored: dict[str, torch.Tensor]) -> None:
        """Set master weights from stored weights that are more precise than BF16."""
        for name, parameter in self.parameters().items():
            if name in stored and self.owns(parameter):
                safe_set_full_fp32_param(parameter, stored[name].float())

    def _partitions(self) -> Shares:
        """This rank's flat fp32 share of each parameter group."""
        partitions: Shares = self._optimizer.single_partition_of_fp32_groups
        return partitions

    def _create_moments(self) -> None:
        """Create the optimizer's state before the first step, to load a checkpoint into it.

        DeepSpeed 0.19 links parameters to the state after the step of the first group and omits
        the other groups. Linking once here, after all states exist, covers every group.
        """
        self._parts_optimizer.divide(self._parts.of_shares(self._partitions()))
        self._optimizer._hp_optimizer_states_linked = False
        self._optimizer._lazy_init_hp_params_optimizer_state()


def _move_weights(
    model: PreTrainedModel, dtypes: Mapping[str, torch.dtype]
) -> dict[str, torch.Tensor]:
    """Move weights one by one to this process's device, in their training dtypes.

    Args:
        model: Model to move; its buffers are only cast, as DeepSpeed moves them.
        dtypes: Dtype of each parameter and buffer of the model without LoRA matrices.

    Returns:
        Original tensors of the trained weights that the cast may have rounded, by name.
    """
    accelerator = get_accelerator()
    stored = {}
    for name, parameter in model.named_parameters():
        dtype = dtypes.get(name.replace(".base_layer.", "."), torch.bfloat16)
        if parameter.requires_grad and parameter.dtype != dtype:
            stored[name] = parameter.data
        parameter.data = parameter.data.to(accelerator.current_device_name(), dtype)
    cast_buffers(model, dtypes)
    return stored


def _no_helper_builds() -> None:
    """Keep DeepSpeed from compiling its shared-memory helper on the CPU.

    Only inference uses the helper, and building it needs a compiler, ninja and 20 seconds.
    """
    if get_accelerator().device_name() == "cpu":
        deepspeed.ops.__compatible_ops__ = {"deepspeed_shm_comm": False}


def _set_log_level(level: int) -> None:
    """Set the level of DeepSpeed's logger and of its handlers."""
    for each in (logger, *logger.handlers):
        each.setLevel(level)


def _quiet_known_warnings() -> None:
    """Silence the torch warnings that DeepSpeed 0.19 causes at every start."""
    warnings.filterwarnings("ignore", message=r"`torch\.distributed\.\w+` is deprecated")
