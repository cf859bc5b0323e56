"""README of an exported model: its training data as realized, and held-out results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from linly.config.sections.languages import language_name, recipe_languages
from linly.config.sections.trainable_setting import (
    Trainable,
    describe_trainable,
    parse_trainable,
)
from linly.export.run_checkpoints import MeanPart, is_equal_mean, mean_title
from linly.modeling.parameters import ParameterCount
from linly.records.before_after import BitsChange, changes_by_language, changes_by_source
from linly.records.evaluation_record import parse_average, parse_sources
from linly.storage.hub import HubModel


@dataclass(frozen=True, slots=True)
class CardFacts:
    """Facts of a model card that are not in a checkpoint's state.

    Attributes:
        run: Name of the run that the state describes.
        parts: Checkpoints in the mean; one that is not a mean.
        parameters: Trained and total parameter counts.
        languages: Language codes of the corpora, such as `zh-Hant`.
        license: License, as the hub names it, such as `apache-2.0`.
        base: Hub id of the base model, or the name of its folder.
        repository: Hub id that the export is pushed to; None if it is not.
        is_exact: Whether the export has an exact tokenizer.json.
        has_chat: Whether it has a chat template.
        gguf_files: Names of its GGUF files.
    """

    run: str
    parts: Sequence[MeanPart]
    parameters: ParameterCount
    languages: Sequence[str]
    license: str
    base: HubModel | str
    repository: str | None
    is_exact: bool
    has_chat: bool
    gguf_files: Sequence[str]


def model_card(facts: CardFacts, state: Mapping[str, Any]) -> str:
    """Markdown for a model folder, with the metadata that the hub reads.

    Args:
        facts: Facts that the state does not hold.
        state: State of the exported checkpoint, or of the one that describes the mean.
    """
    counts, recipe = state["books"], state["recipe"]
    lines = [
        "---",
        _metadata(facts),
        "---",
        "",
        f"# {facts.run}, {mean_title(facts.parts)}",
        "",
        f"Continual pre-training of `{facts.base}` with linly: "
        f"{_trained(recipe, facts.parameters)}, BF16 with fp32 master weights, "
        f"{counts['tokens_seen']:,} tokens in {state['step']:,} steps, curriculum "
        f"`{recipe['curriculum']['name']}`.",
        "",
        *_mean_lines(facts, state["step"]),
        "## Mixture as realized",
        "",
        "| source | rows | share | supervised tokens | epoch |",
        "|---|---:|---:|---:|---:|",
        *_mixture_lines(counts),
        "",
        f"Largest distance from the curriculum of any source at any row: "
        f"{counts['largest_drift']:.2f} row.",
        "",
        *_evaluation_lines(facts, state),
        *_use_lines(facts),
    ]
    return "\n".join(lines)


def _metadata(facts: CardFacts) -> str:
    """YAML that the hub reads: `language` has codes of ISO 639, another key has longer ones."""
    from huggingface_hub import ModelCardData

    short = sorted({code.partition("-")[0] for code in facts.languages})
    longer = sorted({code for code in facts.languages if "-" in code})
    base = facts.base.repository if isinstance(facts.base, HubModel) else None
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        license=facts.license,
        language=short,
        base_model=base,
        tags=["linly", *(["gguf"] if facts.gguf_files else [])],
    ).to_dict()  # type: ignore[no-untyped-call]
    data |= {"base_model_relation": "finetune"} if base else {}
    data |= {"language_bcp47": longer} if longer else {}
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True).rstrip()


def _use_lines(facts: CardFacts) -> list[str]:
    place = facts.repository or "PATH"
    loading = [f'tokenizer = AutoTokenizer.from_pretrained("{place}")']
    remark = ["It has no exact `tokenizer.json`: use sentencepiece with `tokenizer.model`.", ""]
    chat = [
        'messages = [{"role": "user", "content": "..."}]',
        "prompt = tokenizer.apply_chat_template(",
        '    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True',
        ")",
        "answer = model.generate(**prompt, max_new_tokens=256)",
        'print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], '
        "skip_special_tokens=True))",
    ]
    files = ", ".join(f"`{name}`" for name in facts.gguf_files)
    return [
        "## Use",
        "",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f'model = AutoModelForCausalLM.from_pretrained("{place}", dtype="bfloat16")',
        *(loading if facts.is_exact else []),
        *(chat if facts.is_exact and facts.has_chat else []),
        "```",
        "",
        *([] if facts.is_exact else remark),
        *([f"For llama.cpp and Ollama: {files}, with a `Modelfile`.", ""] if files else []),
    ]


def _trained(recipe: Mapping[str, Any], parameters: ParameterCount) -> str:
    """Description of the trained parameters."""
    if phases := recipe["training"].get("phases"):
        return ", then ".join(map(_phase, phases))
    trainable = recipe["training"]["trainable"]
    if trainable == "full":
        return "all parameters"
    if trainable == "new_rows":
        return "the rows of added tokens in embedding and output layer"
    if "new_rows" in trainable:
        return "the rows of added tokens in the embedding, and the output layer"
    if trainable == "embeddings":
        return f"the input embedding only, {parameters}"
    lora = trainable["lora"]
    also = "".join(f", {name} in full" for name in lora["also"])
    layers = ", ".join(lora["targets"])
    return f"LoRA of rank {lora['rank']} on {layers}{also}, {parameters}; merged here"


def _phase(phase: Mapping[str, Any]) -> str:
    """Description of a training phase: `new_rows until 5%`."""
    trainable = Trainable.model_validate(parse_trainable(phase["trainable"]))
    until = f" until {phase['until']}" if phase["until"] else ""
    return f"{describe_trainable(trainable)}{until}"


def _mean_lines(facts: CardFacts, step: int) -> list[str]:
    """Description of a mean and of averaged weights; empty for the last weights of one step."""
    parts = facts.parts
    averaged = [f"- {part.run}, step {part.step:,}: {part.averaged}" for part in parts]
    taken = [
        "The weights are averaged ones, which the run kept beside training (fp32):",
        "",
        *averaged,
        "",
    ]
    if parts[0].averaged is None:
        taken = []
    if len(parts) == 1:
        return taken
    kind = "unweighted" if is_equal_mean(parts) else "weighted"
    rows = [f"| {part.run} | {part.step:,} | {part.weight} |" for part in parts]
    return [
        f"The weights are the {kind} mean of {len(parts)} checkpoints, computed from fp32 weights:",
        "",
        "| run | step | weight |",
        "|---|---:|---:|",
        *rows,
        "",
        *taken,
        f"The tables below describe the run {facts.run} at step {step:,}.",
        "",
    ]


def _mixture_lines(counts: Mapping[str, Any]) -> list[str]:
    total = max(1, sum(counts["rows"].values()))
    return [
        f"| {source} | {rows:,} | {rows / total:.2%} | {counts['supervised'][source]:,} "
        f"| {counts['epochs'][source]} |"
        for source, rows in sorted(counts["rows"].items())
    ]


def _evaluation_lines(facts: CardFacts, state: Mapping[str, Any]) -> list[str]:
    """Tables of the held-out text that was evaluated before the first step and at the end."""
    before, after, what = parse_sources(state["baseline"]), parse_sources(state["latest"]), ""
    if facts.parts[0].averaged is not None:
        average = parse_average(state)
        after, what = average.sources if average else {}, ", with the averaged weights"
    if not after:
        return []
    by_language, by_source = changes_by_language(before, after), changes_by_source(before, after)
    languages = recipe_languages(state["recipe"]).ordered(by_language)
    left_out = sorted((before.keys() | after.keys()) - by_source.keys())
    remark = f"Not evaluated at both ends, and left out: {', '.join(left_out)}."
    return [
        "## Held-out documents, bits per byte",
        "",
        f"Before the first step and after step {state['evaluated_step']:,}{what}; lower is better.",
        "",
        "| language | before | after | change |",
        "|---|---:|---:|---:|",
        *(_change_line(language_name(name), by_language[name]) for name in languages),
        "",
        "| source | before | after | change |",
        "|---|---:|---:|---:|",
        *(_change_line(name, change) for name, change in sorted(by_source.items())),
        "",
        *([remark, ""] if left_out else []),
    ]


def _change_line(name: str, change: BitsChange) -> str:
    return f"| {name} | {change.before:.3f} | {change.after:.3f} | {change.relative:+.1%} |"
