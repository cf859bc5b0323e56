"""README of an exported model: its training data as realized, and held-out results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from linly.modeling.parameters import ParameterCount
from linly.records.evaluation_record import SourceEvaluation, parse_sources


def model_card(
    run: str,
    state: Mapping[str, Any],
    *,
    steps: Sequence[int],
    parameters: ParameterCount,
    exact: bool,
) -> str:
    """Markdown for a model folder.

    Args:
        run: The run's name.
        state: State of the newest exported checkpoint.
        steps: Steps of the exported checkpoints, ascending.
        parameters: Trained and total parameter counts.
        exact: Whether the export has an exact tokenizer.json.
    """
    counts, recipe = state["books"], state["recipe"]
    languages = sorted({corpus["language"] for corpus in recipe["corpora"].values()})
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        f"language: [{', '.join(languages)}]",
        "---",
        "",
        f"# {run}, {'step' if len(steps) == 1 else 'mean of steps'} {_listed(steps)}",
        "",
        f"Continual pre-training of `{recipe['model']}` with linly: "
        f"{_trained(recipe, parameters)}, BF16 with fp32 master weights, "
        f"{counts['tokens_seen']:,} tokens in {state['step']:,} steps, curriculum "
        f"`{recipe['curriculum']['name']}`.",
        "",
        *_mean_lines(steps),
        "## Mixture as realized",
        "",
        "| source | rows | share | supervised tokens | epoch |",
        "|---|---:|---:|---:|---:|",
        *_mixture_lines(counts),
        "",
        f"Largest distance from the curriculum of any source at any row: "
        f"{counts['largest_drift']:.2f} row.",
        "",
        *_evaluation_lines(state),
        *_use_lines(exact=exact),
    ]
    return "\n".join(lines)


def _use_lines(*, exact: bool) -> list[str]:
    loading = ['tokenizer = AutoTokenizer.from_pretrained("PATH")']
    remark = ["It has no exact `tokenizer.json`: use sentencepiece with `tokenizer.model`.", ""]
    return [
        "## Use",
        "",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'model = AutoModelForCausalLM.from_pretrained("PATH", dtype="bfloat16")',
        *(loading if exact else []),
        "```",
        "",
        *([] if exact else remark),
    ]


def _trained(recipe: Mapping[str, Any], parameters: ParameterCount) -> str:
    """Description of the trained parameters."""
    trainable = recipe["training"]["trainable"]
    if trainable == "full":
        return "all parameters"
    if trainable == "embeddings":
        return f"the input embedding only, {parameters}"
    lora = trainable["lora"]
    also = "".join(f", {name} in full" for name in lora["also"])
    layers = ", ".join(lora["targets"])
    return f"LoRA of rank {lora['rank']} on {layers}{also}, {parameters}; merged here"


def _mean_lines(steps: Sequence[int]) -> list[str]:
    if len(steps) == 1:
        return []
    text = f"The weights are the unweighted mean of the checkpoints at steps {_listed(steps)}."
    return [f"{text} The tables below describe the run at step {steps[-1]:,}.", ""]


def _listed(steps: Sequence[int]) -> str:
    return ", ".join(f"{step:,}" if len(steps) == 1 else str(step) for step in steps)


def _mixture_lines(counts: Mapping[str, Any]) -> list[str]:
    total = max(1, sum(counts["rows"].values()))
    return [
        f"| {source} | {rows:,} | {rows / total:.2%} | {counts['supervised'][source]:,} "
        f"| {counts['epochs'][source]} |"
        for source, rows in sorted(counts["rows"].items())
    ]


def _evaluation_lines(state: Mapping[str, Any]) -> list[str]:
    before, after = parse_sources(state["baseline"]), parse_sources(state["latest"])
    if not after:
        return []
    rows = [
        f"| {source} | {_figure(before[source])} | {_figure(result)} |"
        for source, result in sorted(after.items())
        if source in before
    ]
    return [
        "## Held-out documents, bits per byte",
        "",
        f"After step {state['evaluated_step']:,}.",
        "",
        "| source | before | after |",
        "|---|---:|---:|",
        *rows,
        "",
    ]


def _figure(result: SourceEvaluation) -> str:
    bits = result.bits_per_byte
    return "none" if bits is None else f"{bits:.3f}"
