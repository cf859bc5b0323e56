"""Sections of a recipe: data, training, checkpoint, evaluation, guards, alarms, wandb."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    Strict,
    field_validator,
)

from linly.config.languages import Languages, default_prompts
from linly.config.yaml.json_forms import ALLOWED, JsonSchema
from linly.config.yaml.quantities import (
    Count,
    Fraction,
    Number,
    Seconds,
    Seed,
    Switch,
    Text,
    at_least,
    at_most,
)
from linly.config.yaml.strict_model import (
    Model,
    OnResume,
    Settings,
    describe,
    found,
    problem,
    suggestion,
    unknown,
)
from linly.storage.urls import is_url, url_problem

SECTIONS = (
    *("languages", "data", "training", "checkpoint", "evaluation", "guards", "alarms", "wandb"),
    *("mlflow", "trackio"),
)
"""Keys of a recipe whose own keys are merged by `extends`."""

OptimizerName = Literal["adamw"]

_MIN_SEQUENCE_LENGTH = 8
MAX_BUFFER = (1 << 31) - 1
"""Size of the largest communication buffer, in elements."""

_MAX_WINDOW = at_most(1_000_000, "each value of a window is held in memory and in checkpoints")
_Beta = Annotated[
    Number, Field(ge=0), at_most(0.999999, "a moment nearer to 1 never leaves 0 within a run")
]
_Rows = Annotated[Count, at_most(1 << 20, "the rows of a step are held in memory")]
_Buffer = Annotated[Count, at_most(MAX_BUFFER, "a buffer of this many numbers is allocated")]
_Window = Annotated[int, Strict(), Field(ge=2), _MAX_WINDOW]


def _even(value: int) -> int:
    if value % 2:
        allowed = "an even number: each rank's part begins at a multiple of four bytes"
        raise problem(found(value, allowed))
    return value


_EvenBuffer = Annotated[_Buffer, AfterValidator(_even)]


Packing = Literal["chunk", "best-fit", "one-document"]
"""Packing methods: cut documents at row ends; use the fullest row that fits; one row each."""


class DataSettings(Settings):
    """Settings of the path from documents to global batches.

    Attributes:
        sequence_length: Positions of a row.
        global_batch: Rows of a step, over all ranks.
        seed: Seed of all shuffles.
        attention: Scope of attention: within each document, or over the full row.
        packing: Packing of every source; replaces that of the corpus files.
        producers: Processes that build rows, each for some of the sources; 0 builds them in the
            training process.
        prefetch_rows: Largest number of rows built ahead of training, over all producers.
        timeout_s: Seconds to wait for a row before training fails, naming the source.
    """

    sequence_length: Annotated[
        int, Strict(), Field(ge=_MIN_SEQUENCE_LENGTH, le=1 << 20), OnResume.REFUSED
    ] = 2048
    global_batch: Annotated[_Rows, OnResume.REFUSED] = 512
    seed: Annotated[Seed, OnResume.REFUSED] = 2023
    attention: Annotated[Literal["document", "full"], OnResume.REFUSED] = "document"
    packing: Annotated[Packing | None, OnResume.REFUSED] = None
    producers: Annotated[
        int,
        Strict(),
        Field(ge=0),
        at_most(1024, "each producer is a process of every rank"),
        OnResume.FREE,
    ] = 1
    prefetch_rows: Annotated[_Rows, OnResume.FREE] = 256
    timeout_s: Annotated[Seconds, OnResume.FREE] = 300.0


class Lora(Model):
    """Low-rank updates of linear layers (arXiv 2106.09685); the defaults are Chinese-LLaMA's.

    Attributes:
        rank: Rank of each update.
        alpha: Scale of the updates, which are multiplied by alpha / rank.
        dropout: Dropout probability of the updates' inputs.
        targets: Names of the linear layers, the same in every block.
        also: Modules trained in full alongside the LoRA matrices.
    """

    rank: Annotated[Count, at_most(1 << 16, "no layer is wider")] = 8
    alpha: Annotated[
        Number,
        at_least(1e-6, "a smaller factor leaves nothing of an addition in BF16"),
        at_most(1e6, "a larger factor overflows"),
    ] = 32.0
    dropout: Annotated[Fraction, Field(lt=1)] = 0.05
    targets: Annotated[tuple[Text, ...], Field(min_length=1)] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
    )
    also: tuple[Literal["embed_tokens", "lm_head"], ...] = ()


class Trainable(Model):
    """Trainable parameters: all, only the input embedding, or LoRA; the rest is frozen.

    Attributes:
        kind: Choice of parameters. `embeddings` trains embed_tokens (stage 1 of Chinese-LLaMA); an
            untied output layer stays frozen, a tied one changes with the embedding.
        lora: LoRA settings, for the kind `lora` only.
    """

    kind: Literal["full", "embeddings", "lora"] = "full"
    lora: Lora | None = None

    @classmethod
    def file_schema(cls, schema: JsonSchema) -> JsonSchema:
        """Describe the forms that `_trainable` spells out, in place of the fields."""
        lora = {
            "type": "object",
            "properties": {"lora": schema["properties"]["lora"]["anyOf"][0]},
            "required": ["lora"],
            "additionalProperties": False,
        }
        return {
            "anyOf": [{"enum": ["full", "embeddings"]}, lora],
            ALLOWED: "`full`, `embeddings`, or `{lora: ...}`",
        }


def _trainable(value: Any) -> Any:
    """Spell out `embeddings` as {kind: embeddings} and {lora: ...} as {kind: lora, lora: ...}."""
    if isinstance(value, Trainable):
        return value
    if isinstance(value, dict):
        for key in value:
            if key != "lora":
                raise problem(unknown("key", str(key), ("lora",)), "trainable", key)
        if not isinstance(value.get("lora"), dict):
            text = found(value.get("lora"), "a mapping such as {rank: 8, also: [embed_tokens]}")
            raise problem(text, "trainable", "lora")
        return {"kind": "lora", "lora": value["lora"]}
    names = ("full", "embeddings")
    if value not in names:
        near = suggestion(value, names) if isinstance(value, str) else ""
        allowed = "full, embeddings, or {lora: {rank: 8, alpha: 32, targets: [q_proj, ...]}}"
        raise problem(f"found {describe(value)}{near or ','} allowed: {allowed}", "trainable")
    return {"kind": value}


def _format_trainable(trainable: Trainable) -> str | dict[str, Any]:
    """Return the short form, which `_trainable` spells out."""
    return trainable.kind if trainable.lora is None else {"lora": trainable.lora.file_form()}


def _activation_checkpointing(value: Any) -> Any:
    """Spell out `true` as full and `false` as none."""
    return {True: "full", False: "none"}[value] if isinstance(value, bool) else value


class TrainingSettings(Settings):
    """Settings of the optimizer and of a training step.

    Attributes:
        optimizer: Optimizer, sharded over the ranks.
        lr: Peak learning rate.
        schedule: Form of the learning rate after warmup: a cosine down to `final_lr`, or constant.
        warmup: Fraction of the steps with linear warmup.
        final_lr: Fraction of `lr` at the end of the cosine.
        weight_decay: Decoupled weight decay; norms and biases have none.
        betas: Decay rates of AdamW's first and second moment.
        eps: Term that AdamW adds to the denominator.
        clip: Norm to which a step's gradient is clipped.
        micro_batch: Rows that a rank computes at once.
        trainable: Trainable parameters; the rest of the model is frozen.
        activation_checkpointing: Activations recomputed in backward to save memory: `full` (all
            but each layer's input), `selective` (the wide matrix products and cheap operations) or
            `none`. `true` and `false` mean full and none.
        attention_backend: Implementation of attention within documents; `auto` takes the fastest
            that the device has.
        loss: Implementation of the loss; `plain` computes all logits at once, the others in parts.
        compile: Whether torch.compile compiles each layer of the model, at its first step.
        reduce_bucket_size: Gradient elements reduced over ranks at once.
        allgather_bucket_size: Weight elements gathered from ranks at once.
        collective_timeout_s: Seconds to wait for a rank before the job ends, naming the rank.
        deepspeed: Content of the JSON file with DeepSpeed settings, merged over the recipe's.
    """

    optimizer: Annotated[OptimizerName, OnResume.REFUSED] = "adamw"
    lr: Annotated[
        Number,
        at_least(1e-12, "fp32 weights do not move by less"),
        at_most(10, "adaptive optimizers move every weight by about this much in a step"),
        OnResume.RECORDED,
    ] = 5e-5
    schedule: Annotated[Literal["cosine", "constant"], OnResume.RECORDED] = "cosine"
    warmup: Annotated[Fraction, OnResume.RECORDED] = 0.01
    final_lr: Annotated[Fraction, OnResume.RECORDED] = 0.1
    weight_decay: Annotated[
        Number, Field(ge=0), at_most(10, "a step would take away whole weights"), OnResume.RECORDED
    ] = 0.01
    betas: Annotated[tuple[_Beta, _Beta], OnResume.RECORDED] = (0.9, 0.95)
    eps: Annotated[
        Number,
        at_least(1e-20, "a smaller one is lost in fp32, and a gradient of 0 is divided by 0"),
        at_most(1, "it would outweigh every gradient, and nothing would be learned"),
        OnResume.RECORDED,
    ] = 1e-8
    clip: Annotated[
        Number,
        at_least(1e-4, "gradients clipped to less vanish next to training.eps"),
        at_most(1e30, "gradients are fp32; leave it at this value to clip none"),
        OnResume.RECORDED,
    ] = 1.0
    micro_batch: Annotated[Count, OnResume.FREE] = 4
    trainable: Annotated[Trainable, PlainSerializer(_format_trainable), OnResume.REFUSED] = (
        Trainable()
    )
    activation_checkpointing: Annotated[Literal["full", "selective", "none"], OnResume.FREE] = (
        "full"
    )
    attention_backend: Annotated[
        Literal["auto", "sdpa", "flex", "varlen", "eager"], OnResume.FREE
    ] = "auto"
    loss: Annotated[Literal["auto", "plain", "chunked", "liger"], OnResume.FREE] = "auto"
    compile: Annotated[Switch, OnResume.FREE] = False
    reduce_bucket_size: Annotated[_Buffer, OnResume.FREE] = 200_000_000
    allgather_bucket_size: Annotated[_EvenBuffer, OnResume.FREE] = 200_000_000
    collective_timeout_s: Annotated[
        Seconds, at_least(1, "a shorter wait ends runs in which every rank comes"), OnResume.FREE
    ] = 1800.0
    deepspeed: Annotated[dict[str, Any] | None, OnResume.RECORDED] = None

    @classmethod
    def file_schema(cls, schema: JsonSchema) -> JsonSchema:
        """Add the short forms."""
        keys = schema["properties"]
        keys["activation_checkpointing"]["enum"] += [True, False]
        keys["deepspeed"]["anyOf"].append({"type": "string", "minLength": 1})
        keys["deepspeed"][ALLOWED] = "path of a JSON file, or its content"
        return schema

    @classmethod
    def from_file_form(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Spell out the short forms."""
        forms = {"trainable": _trainable, "activation_checkpointing": _activation_checkpointing}
        return value | {key: form(value[key]) for key, form in forms.items() if key in value}


def with_micro_batch(value: dict[str, Any]) -> dict[str, Any]:
    """Lower the default micro-batch to a divisor of the given global batch."""
    data, training = value.get("data"), value.get("training", {})
    batch = data.get("global_batch") if isinstance(data, dict) else None
    is_given = not isinstance(training, dict) or "micro_batch" in training
    if is_given or type(batch) is not int or batch < 1:
        return value
    usual = TrainingSettings.model_fields["micro_batch"].default
    return {**value, "training": {"micro_batch": math.gcd(batch, usual), **training}}


class CheckpointSettings(Model):
    """Settings of saving checkpoints and keeping them (in steps).

    Attributes:
        every: Steps between checkpoints.
        keep_last: Newest checkpoints to keep.
        keep_every: Steps between older checkpoints to keep: the first at or after each multiple of
            it; null keeps only the newest.
        is_async: Whether training continues while a copy in host memory is written.
        mirror: Folder or s3://bucket/prefix; the run is copied to NAME in it after each save.
    """

    every: Count = 200
    keep_last: Count = 3
    keep_every: Count | None = 1000
    is_async: Annotated[Switch, Field(alias="async")] = True
    mirror: Text | None = None

    @field_validator("mirror")
    @classmethod
    def _check_mirror(cls, value: str | None) -> str | None:
        if value is not None and is_url(value):
            why = url_problem(value) if value.startswith("s3://") else "not an s3:// URL"
            if why is not None:
                raise problem(f"{found(value, 'a folder, or s3://bucket/prefix')}; {why}")
        return value


class EvaluationSettings(Settings):
    """Settings of evaluation on held-out documents, and of sampled prompts.

    Attributes:
        every: Steps between evaluations.
        max_documents: Largest number of held-out documents of each source.
        prompts: Prompts that the model completes at every evaluation; `[]` for none. By default
            some in each of the recipe's languages.
        max_new_tokens: Largest number of tokens of a completion.
    """

    every: Annotated[Count, OnResume.RECORDED] = 250  # a guarded curve decides at evaluations
    max_documents: Annotated[Count, OnResume.FREE] = 200
    prompts: Annotated[tuple[Text, ...], OnResume.FREE] = default_prompts(*Languages().both)
    max_new_tokens: Annotated[
        Count, at_most(1 << 20, "no model has more positions"), OnResume.FREE
    ] = 64


class GuardSettings(Model):
    """Conditions under which a step is skipped and the run fails.

    Attributes:
        spike: Multiple of a source's usual loss above which its loss is a spike.
        spike_window: Number of past steps from which the usual loss is computed.
        max_consecutive_skips: Consecutive skipped steps at which the run fails.
    """

    spike: Annotated[Number, Field(gt=1), at_most(1e6, "no loss rises so far")] = 10.0
    spike_window: _Window = 50
    max_consecutive_skips: Count = 5


class AlarmSettings(Model):
    """Thresholds of the alarms, which appear in the run's events, on its pages and by a command.

    Attributes:
        drift: Rows by which a source may deviate from its plan.
        window: Steps over which the following thresholds are computed.
        loss_rise: Fraction by which a source's loss may rise from one window to the next.
        forgetting: Fraction by which a source's held-out bits per byte may rise above step 0's.
        data_wait: Fraction of the time that may be spent waiting for rows.
        quarantine: Bad records allowed per row.
        command: Program and arguments, run without a shell for every alarm; it receives the alarm
            as JSON on its standard input.
    """

    drift: Annotated[
        Number,
        at_least(1e-6, "shares are integrated to about 2^-20 row"),
        at_most(1e12, "no run has more rows"),
    ] = 1.0
    window: _Window = 50
    loss_rise: Fraction = 0.1
    forgetting: Fraction = 0.1
    data_wait: Fraction = 0.05
    quarantine: Fraction = 0.1
    command: tuple[Text, ...] = ()


class WandbSettings(Model):
    """Curves at Weights & Biases; a recipe without this section sends nothing.

    Attributes:
        project: Project in which the run appears.
        entity: Owner of the project; by default that of the login.
        mode: Mode of wandb; offline keeps everything in the run folder, for `wandb sync`.
        name: Name of the run at Weights & Biases; by default that of the run folder.
    """

    project: Text
    entity: Text | None = None
    mode: Literal["online", "offline"] = "online"
    name: Text | None = None


class MlflowSettings(Model):
    """Curves at MLflow; a recipe without this section sends nothing.

    Attributes:
        experiment: Experiment in which the run appears; created if missing.
        tracking_uri: Address of the tracking server, or a database such as `sqlite:///mlflow.db`;
            by default `MLFLOW_TRACKING_URI`, else the database `mlflow.db` in the run folder.
        name: Name of the run at MLflow; by default that of the run folder.
    """

    experiment: Text
    tracking_uri: Text | None = None
    name: Text | None = None


class TrackioSettings(Model):
    """Curves at Trackio, on this machine; a recipe without this section writes none.

    Attributes:
        project: Project in which the run appears.
        name: Name of the run at Trackio; by default that of the run folder.
    """

    project: Text
    name: Text | None = None
