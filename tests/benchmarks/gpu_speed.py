"""The speed of a training step on one GPU, in one call of under eight minutes.

`python tests/benchmarks/gpu_speed.py --output FOLDER` writes gpu_speed.json and gpu_speed.md:

    1b       first a large BF16 matrix product, the other yardstick beside the data sheet, and the
             backends of attention and the forms of the loss against plain arithmetic on this device
    1b, 7b   tokens/s, MFU, peak memory and data wait of the trainer's own step (loader, engine,
             guards' losses) on rows of the embedded sample, all parameters trained under ZeRO-2
    1b-hf, 7b-hf   Hugging Face Trainer: same rows, model and DeepSpeed settings

Each group is a process of its own, and what it has measured so far survives its end. Where CUDA is
missing, `--tiny` runs all of it on a CPU in a minute, with figures that mean nothing.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from linly.errors import LinlyError  # noqa: E402

GROUPS = ("1b", "1b-hf", "7b", "7b-hf")
PIECES = 40_076
BYTES_A_WEIGHT = 22
"""ZeRO-2 on one rank at its step: BF16 weight 2, gradient 4 and its flat copy 4, master 4, moments
8. A run of many ranks deals all but the first."""
LARGE_BYTES = 1 << 20
ALLOWED = 0.03
"""Relative difference of gradients computed in BF16 in two ways."""
FAILURES = (ImportError, RuntimeError, ValueError, NotImplementedError, LinlyError)
"""What a case may end in without ending the others; running out of memory is a RuntimeError."""
ROOM_BYTES = 14 << 30
"""For activations, logits and buckets."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How large everything is.

    Attributes:
        rows: Of a micro-batch, by size of the model.
        steps: Measured, after `warm_up`.
        product: Side of the matrices multiplied.
    """

    sequence_length: int
    rows: dict[str, int]
    accumulation: int
    steps: int
    warm_up: int
    product: int
    sample: str


FULL = Scale(2048, {"1b": 8, "7b": 4}, 2, 5, 2, 8192, "small")
TINY = Scale(64, {"1b": 2, "7b": 2}, 2, 2, 1, 256, "tiny")


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table.

    Attributes:
        settings: Of `training` in a recipe.
        attends_documents: Else over full rows.
    """

    name: str
    settings: dict[str, Any]
    attends_documents: bool = True


_PLAIN = {"attention_backend": "sdpa", "loss": "plain", "activation_checkpointing": "full"}
_BEST = {"attention_backend": "varlen", "loss": "chunked", "activation_checkpointing": "none"}
CASES = {
    "1b": (
        Case("mask, full logits, full recomputation", _PLAIN),
        Case("+ varlen attention", _PLAIN | {"attention_backend": "varlen"}),
        Case("+ loss in chunks", _PLAIN | {"attention_backend": "varlen", "loss": "chunked"}),
        Case("+ Liger-kernel's instead", _PLAIN | {"attention_backend": "varlen", "loss": "liger"}),
        Case("+ selective recomputation", _BEST | {"activation_checkpointing": "selective"}),
        Case("+ no recomputation", _BEST),
        Case("+ compiled layers", _BEST | {"compile": True}),
    ),
    "7b": (
        Case("what `auto` takes, full recomputation", {"activation_checkpointing": "full"}),
        Case("selective, compiled", {"activation_checkpointing": "selective", "compile": True}),
    ),
    "1b-hf": (
        Case("HF Trainer, documents apart", {}),
        Case("HF Trainer, attention over full rows", {}, attends_documents=False),
        Case("HF Trainer, full rows, Liger-kernel", {"liger": True}, attends_documents=False),
    ),
    "7b-hf": (Case("HF Trainer, full rows, full recomputation", {}, attends_documents=False),),
}


class Results:
    """Lines of JSON, each on disk as soon as it is there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, kind: str, **values: Any) -> None:
        line = json.dumps({"kind": kind, **values})
        print(line, flush=True)
        with self._path.open("a") as file:
            file.write(line + "\n")

    def read(self) -> list[dict[str, Any]]:
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return [json.loads(line) for line in lines]


def main() -> None:
    """Run every group in a process of its own, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true", help="small models, on any device")
    parser.add_argument("--seconds", type=float, default=450, help="for all of it")
    parser.add_argument("--groups", default=",".join(GROUPS), help="which, in order")
    parser.add_argument("--group", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.tiny:
        os.environ["TORCH_COMPILE_DISABLE"] = "1"  # minutes on a CPU
    arguments.output.mkdir(parents=True, exist_ok=True)
    results = Results(arguments.output / "gpu_speed.jsonl")
    if arguments.group:
        run_group(arguments.group, TINY if arguments.tiny else FULL, arguments.output, results)
        return
    results._path.unlink(missing_ok=True)
    ends = time.monotonic() + arguments.seconds
    make_world(TINY if arguments.tiny else FULL, arguments.output)
    for group in arguments.groups.split(","):
        left = ends - time.monotonic()
        command = [sys.executable, __file__, "--output", str(arguments.output), "--group", group]
        command += ["--tiny"] if arguments.tiny else []
        try:
            done = subprocess.run(command, timeout=max(1.0, left), check=False)
            if done.returncode:
                results.add("failed", group=group, reason=f"exit code {done.returncode}")
        except subprocess.TimeoutExpired:
            results.add("failed", group=group, reason=f"no time: {arguments.seconds:g} s are over")
    lines = results.read()
    (arguments.output / "gpu_speed.json").write_text(json.dumps(lines, indent=1))
    text = tables(lines)
    (arguments.output / "gpu_speed.md").write_text(text)
    print(text)


def make_world(scale: Scale, output: Path) -> None:
    """The sample, a vocabulary and a recipe below `output`."""
    from tests.support.speed_world import make_speed_world

    folder = output / "world"
    if not (folder / "recipe.yaml").exists():
        length = scale.sequence_length
        rows = dict(global_batch=scale.accumulation * 2, micro_batch=2)
        make_speed_world(folder.absolute(), sequence_length=length, size=scale.sample, **rows)


def run_group(group: str, scale: Scale, output: Path, results: Results) -> None:
    """The cases of a group in this process."""
    import torch

    from linly.training.ranks.processes import start_processes

    processes = start_processes()
    device = processes.device
    size = group.partition("-")[0]
    if group == "1b":
        results.add("machine", **machine(device), product_flops=product_flops(device, scale))
        for name, difference in checks(device):
            try:
                results.add("check", name=name, difference=difference(), allowed=ALLOWED)
            except FAILURES as error:
                results.add("refused", group="checks", case=name, reason=shortened(error))
    if group.endswith("-hf") and importlib.util.find_spec("accelerate") is None:
        results.add("failed", group=group, reason="accelerate is not installed, Trainer needs it")
        return
    config = model_config(size, tiny=scale is TINY)
    config, note = fitted(config, device, tiny=scale is TINY)
    if note:
        results.add("note", group=group, text=note)
    measure = measure_trainer if group.endswith("-hf") else measure_engine
    for case in CASES[group]:
        torch.manual_seed(1)
        try:
            clean(device)
            figures = measure(case, config, size, scale, output, device)
        except FAILURES as error:
            results.add("refused", group=group, case=case.name, reason=shortened(error))
            continue
        results.add("speed", group=group, case=case.name, settings=case.settings, **figures)


def clean(device: Any) -> None:
    """Give back what an earlier case holds.

    DeepSpeed's hooks hold its engine in a circle that Python does not see, so the large tensors
    are emptied by hand.
    """
    import torch

    gc.collect()
    torch._dynamo.reset()
    for found in gc.get_objects():
        if issubclass(type(found), torch.Tensor) and found.device.type == device.type:
            storage = found.untyped_storage()
            if storage.nbytes() > LARGE_BYTES and storage.resizable():
                storage.resize_(0)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def machine(device: Any) -> dict[str, Any]:
    """What it runs on."""
    import torch

    from linly.training.engine.environment import describe_versions
    from linly.training.engine.flops import peak_flops

    is_cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if is_cuda else "CPU",
        "memory_bytes": torch.cuda.mem_get_info(device)[1] if is_cuda else None,
        "free_bytes": torch.cuda.mem_get_info(device)[0] if is_cuda else None,
        "peak_flops": peak_flops(device),
        "versions": describe_versions(),
    }


def product_flops(device: Any, scale: Scale) -> float:
    """Operations a second of a BF16 matrix product of random numbers: the median of 20."""
    import torch

    side = scale.product
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(25):
        synchronize(device)
        began = time.perf_counter()
        left @ right
        synchronize(device)
        seconds.append(time.perf_counter() - began)
    return 2 * side**3 / statistics.median(seconds[5:])


def synchronize(device: Any) -> None:
    """Wait for the device."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def model_config(size: str, *, tiny: bool) -> Any:
    """Of TinyLlama's or LLaMA-2-7B's shape with 40,076 pieces; or of very little."""
    from transformers import LlamaConfig

    from linly.modeling.load_model import SIZES

    shape = SIZES["nano" if tiny else size]
    return LlamaConfig(
        vocab_size=2000 if tiny else PIECES,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
    )


def num_weights(config: Any) -> int:
    """Of a model, without making it."""
    import torch
    from transformers import LlamaForCausalLM

    with torch.device("meta"):
        return sum(p.numel() for p in LlamaForCausalLM(config).parameters())


def fitted(config: Any, device: Any, *, tiny: bool) -> tuple[Any, str | None]:
    """The model with as many layers as one GPU holds with all of the optimizer, and a note."""
    import torch

    if device.type != "cuda" or tiny:
        return config, None
    free = torch.cuda.mem_get_info(device)[0]
    layers = config.num_hidden_layers
    needed = num_weights(config) * BYTES_A_WEIGHT + ROOM_BYTES
    whole = needed
    while needed > free and config.num_hidden_layers > 4:
        config.num_hidden_layers -= 4
        needed = num_weights(config) * BYTES_A_WEIGHT + ROOM_BYTES
    if config.num_hidden_layers == layers:
        return config, None
    return config, (
        f"the whole model takes {whole / 2**30:.0f} GiB on one rank ({BYTES_A_WEIGHT} bytes a "
        f"weight and {ROOM_BYTES >> 30} GiB of room) and {free / 2**30:.0f} GiB are free: measured "
        f"with {config.num_hidden_layers} of {layers} layers, of the same shape"
    )


def new_model(config: Any, device: Any) -> Any:
    """Random BF16 weights, made on the device."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device(device):
        return AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16, attn_implementation="sdpa"
        )


def world_recipe(size: str, scale: Scale, output: Path, case: Case) -> Any:
    """The recipe of a case."""
    from linly.config.recipe import load_recipe

    rows = scale.rows[size]
    overrides = [
        f"data.global_batch={rows * scale.accumulation}",
        f"training.micro_batch={rows}",
        f"data.attention={'document' if case.attends_documents else 'full'}",
    ]
    settings = {} if "liger" in case.settings else case.settings
    overrides += [f"training.{key}={json.dumps(value)}" for key, value in settings.items()]
    return load_recipe(output.absolute() / "world" / "recipe.yaml", overrides)


def figures_of(
    seconds: list[float], model: Any, tokens: int, scale: Scale, device: Any
) -> dict[str, Any]:
    """What every measurement says."""
    import torch

    from linly.training.engine.flops import flops_per_token, peak_flops

    speed = tokens / statistics.median(seconds)
    flops = speed * flops_per_token(model, sequence_length=scale.sequence_length)
    peak = peak_flops(device)
    is_cuda = device.type == "cuda"
    return {
        "tokens_per_second": speed,
        "step_seconds": statistics.median(seconds),
        "flops": flops,
        "mfu": flops / peak if peak else None,
        "memory_bytes": torch.cuda.max_memory_allocated(device) if is_cuda else None,
        "layers": model.config.num_hidden_layers,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def measure_engine(
    case: Case, config: Any, size: str, scale: Scale, output: Path, device: Any
) -> dict[str, Any]:
    """The trainer's own step: rows of the loader, gradients, losses of rows, optimizer."""
    from linly.data.loading.loader import Loader
    from linly.training.engine.engine import Engine
    from tests.support.worlds import plan_of

    recipe = world_recipe(size, scale, output, case)
    engine = Engine(new_model(config, device), recipe.training, accumulation=scale.accumulation)
    seconds, waits = [], []
    plan = plan_of(recipe, output.absolute() / "world" / "english.model")
    with Loader(
        plan,
        settings=recipe.data,
        micro_batch=recipe.training.micro_batch,
        world_size=1,
        rank=0,
    ) as loader:
        began = time.perf_counter()
        while (batch := loader.next_step(plan.phases)) is not None:
            targets = sum(mixed.row.num_supervised for mixed in batch.rows)
            rows = [engine.accumulate(m, step_targets=targets) for m in batch.micro_batches]
            losses = [loss for part in rows for loss in part.tolist()]
            result = engine.step(lr=1e-5)
            synchronize(device)
            seconds.append(time.perf_counter() - began)
            waits.append(batch.wait_s / seconds[-1])
            began = time.perf_counter()
            assert result.applied
            assert all(map(math.isfinite, losses))
            if len(seconds) == scale.warm_up + scale.steps:
                break
    tokens = recipe.data.global_batch * scale.sequence_length
    figures = figures_of(seconds[scale.warm_up :], engine.module, tokens, scale, device)
    wait = statistics.median(waits[scale.warm_up :])
    return figures | {"data_wait_fraction": wait, "chosen": engine.description}


def measure_trainer(
    case: Case, config: Any, size: str, scale: Scale, output: Path, device: Any
) -> dict[str, Any]:
    """Hugging Face Trainer on the same rows, which lie ready in memory."""
    import deepspeed
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from linly.config.deepspeed import settings_deepspeed_config
    from linly.modeling.recompute import checkpoint_activations
    from tests.support.speed_world import first_steps

    if case.settings.get("liger") and importlib.util.find_spec("liger_kernel") is None:
        raise ValueError("liger-kernel is not installed")
    recipe = world_recipe(size, scale, output, case)
    num_steps = scale.warm_up + scale.steps
    steps = first_steps(recipe, output.absolute() / "world" / "english.model", num_steps)
    rows = [
        {"input_ids": micro.ids[i], "labels": micro.labels[i]}
        | ({"position_ids": micro.position_ids[i]} if case.attends_documents else {})
        for step in steps
        for micro in step
        for i in range(len(micro.ids))
    ]
    seconds: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            synchronize(device)
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            synchronize(device)
            seconds.append(time.perf_counter() - self.began)

    if device.type == "cpu":
        deepspeed.ops.__compatible_ops__ = {"deepspeed_shm_comm": False}  # else it is compiled
    model = new_model(config, device)
    checkpoint_activations(model, "full" if size == "7b" else "none")
    model.config.use_cache = False
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(output / "hf"),
            per_device_train_batch_size=recipe.training.micro_batch,
            gradient_accumulation_steps=scale.accumulation,
            max_steps=num_steps,
            bf16=True,
            learning_rate=1e-5,
            max_grad_norm=recipe.training.clip,
            optim="adamw_torch_fused",
            deepspeed=settings_deepspeed_config(
                recipe.training, recipe.data, world_size=1, has_gpu=device.type == "cuda"
            ),
            use_liger_kernel=bool(case.settings.get("liger")),
            use_cpu=device.type == "cpu",
            report_to="none",
            save_strategy="no",
            logging_steps=10_000,
            dataloader_num_workers=0,
            disable_tqdm=True,
        ),
        train_dataset=rows,
        data_collator=torch.utils.data.default_collate,
        callbacks=[Clock()],
    )
    trainer.train()
    tokens = recipe.data.global_batch * scale.sequence_length
    return figures_of(seconds[scale.warm_up :], model, tokens, scale, device)


def shortened(error: Exception) -> str:
    """What an error says, in a line."""
    return " ".join(str(error).split())[:300]


def checks(device: Any) -> Iterator[tuple[str, Callable[[], float]]]:
    """(name, relative difference of a gradient) from eager attention and full logits, in BF16."""
    import torch

    from linly.modeling.attention.attention import document_bounds, set_attention
    from linly.modeling.attention.separation import RowLayout, choose_attention
    from linly.training.engine.objective import Objective, choose_loss

    config = model_config("1b", tiny=True)
    torch.manual_seed(3)
    ids = torch.randint(0, config.vocab_size, (3, 512), device=device)
    lengths = ((200, 312), (512,), (1, 100, 411))
    positions = torch.stack([torch.cat([torch.arange(n) for n in row]) for row in lengths])
    bounds, positions = document_bounds(positions).to(device), positions.to(device)
    labels = ids.masked_fill(torch.rand_like(ids, dtype=torch.float32) < 0.3, -100)
    model = new_model(config, device)

    def difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
        return float((found.float() - wanted.float()).norm() / wanted.float().norm())

    def gradient(form: str, backend: str) -> torch.Tensor:
        set_attention(model, backend)
        objective = Objective(model)
        objective.way = "bounds" if backend == "varlen" else "positions"
        objective.loss = form
        model.zero_grad()
        objective(ids, labels, positions, bounds, 1e-3).weighted.backward()
        return torch.cat([p.grad.flatten().float() for p in model.parameters()])

    plain = gradient("plain", "eager")

    def with_attention(backend: str) -> float:
        chosen = choose_attention(backend, model, device, RowLayout(512))
        return difference(gradient("plain", chosen.backend), plain)

    def with_loss(form: str) -> float:
        objective = Objective(model)
        return difference(gradient(choose_loss(form, objective, device)[0], "eager"), plain)

    for backend in ("sdpa", "varlen", "flex"):
        yield f"{backend} attention", partial(with_attention, backend)
    for form in ("chunked", "liger"):
        yield f"{form} loss", partial(with_loss, form)


def tables(lines: list[dict[str, Any]]) -> str:
    """Markdown."""
    by_kind: Callable[[str], list[dict[str, Any]]] = lambda kind: [  # noqa: E731
        line for line in lines if line["kind"] == kind
    ]
    text = ["# Speed of a training step", ""]
    product = math.nan
    for line in by_kind("machine"):
        product = line["product_flops"]
        peak = f"{line['peak_flops'] / 1e12:.0f}" if line["peak_flops"] else "unknown"
        text += [
            f"{line['device']}; BF16 peak by its data sheet {peak} TFLOP/s, a matrix product here "
            f"{product / 1e12:.0f} TFLOP/s.",
            f"torch {line['versions']['torch']}, transformers {line['versions']['transformers']}, "
            f"deepspeed {line['versions']['deepspeed']}.",
            "",
        ]
    speeds = by_kind("speed")
    if speeds:
        text += [
            "| model | step | tokens/s | MFU (sheet) | of the product | peak memory | data wait |",
            "|---|---|---|---|---|---|---|",
        ]
    for line in speeds:
        mfu = f"{line['mfu']:.1%}" if line["mfu"] is not None else "-"
        memory = f"{line['memory_bytes'] / 2**30:.1f} GiB" if line["memory_bytes"] else "-"
        wait = f"{line['data_wait_fraction']:.2%}" if "data_wait_fraction" in line else "-"
        text.append(
            f"| {line['parameters'] / 1e9:.2f}B | {line['case']} | "
            f"{line['tokens_per_second']:,.0f} | {mfu} | {line['flops'] / product:.1%} | "
            f"{memory} | {wait} |"
        )
    text.append("")
    for line in by_kind("check"):
        verdict = "right" if line["difference"] <= line["allowed"] else "**WRONG**"
        text.append(f"- {line['name']}: differs by {line['difference']:.2%}, {verdict}")
    for line in by_kind("note"):
        text.append(f"- {line['group']}: {line['text']}")
    for line in by_kind("refused"):
        text.append(f"- {line['group']}, {line['case']}: not measured: {line['reason']}")
    for line in by_kind("failed"):
        text.append(f"- {line['group']}: {line['reason']}")
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    main()
