"""Variants of one recipe on the same rows: Chinese and English bits per byte, several seeds.

    python tests/benchmarks/compare_recipes.py RECIPE curriculum.tokens=200K --work runs/compare \\
        --variant cosine training.schedule=cosine --variant wsd training.schedule=wsd

Each variant is trained with each seed of the data's order; the seeds are the same for all. Held-out
documents are evaluated before the first step and after the last. A variant with `training.average`
has a second line, for its averaged weights. Prints a Markdown table of means and ranges over the
seeds. Runs that are done already are not made again, so a comparison that was stopped goes on.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from linly.config.recipe import load_recipe
from linly.monitor.history.history import read_history
from linly.records.before_after import changes_by_language

LANGUAGES = {"zh": "Chinese", "en": "English"}
FIRST_SEED = 2023

BitsPerByte = dict[str, tuple[float, float]]
"""Language -> before the first step, after the last step."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A name and what it changes in the recipe."""

    name: str
    overrides: tuple[str, ...]


def main() -> None:
    """Make the runs and print the table."""
    arguments = parse_arguments()
    lines: dict[str, list[BitsPerByte]] = {}
    for number in range(arguments.seeds):  # seed by seed: a stopped comparison is even
        for name, *overrides in arguments.variant:
            run = run_once(arguments, Variant(name, tuple(overrides)), FIRST_SEED + number)
            for title, found in results(run).items():
                lines.setdefault(f"{name}{title}", []).append(found)
    print(table(lines))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", default=[], help="changes of all variants")
    parser.add_argument(
        "--variant",
        nargs="+",
        action="append",
        required=True,
        metavar=("NAME", "KEY=VALUE"),
        help="name, then its changes; the changes of all variants stand right after the recipe",
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, required=True)
    return parser.parse_args()


def run_once(arguments: argparse.Namespace, variant: Variant, seed: int) -> Path:
    """Train one variant with one seed, unless that was done before."""
    run: Path = arguments.work / f"{variant.name}-{seed}"
    given = [*arguments.overrides, *variant.overrides, f"run={run}", f"data.seed={seed}"]
    steps = load_recipe(arguments.recipe, given).num_steps
    overrides = [
        *given,
        f"evaluation.every={steps}",
        "evaluation.prompts=[]",
        f"checkpoint.every={steps}",
        "checkpoint.keep_last=1",
        "checkpoint.keep_every=null",
    ]
    if not is_done(run, steps):
        words = [sys.executable, "-m", "linly", "train", str(arguments.recipe), *overrides]
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        done = subprocess.run(words, check=False, stdout=sys.stderr, env=environment)
        if done.returncode:
            sys.exit(f"failed with exit code {done.returncode}: {' '.join(words)}")
    return run


def is_done(run: Path, steps: int) -> bool:
    """Whether a run was evaluated after its last step."""
    if not (run / "evaluations.jsonl").is_file():
        return False
    evaluations = read_history(run).evaluations
    return bool(evaluations) and evaluations[-1].step == steps


def results(run: Path) -> dict[str, BitsPerByte]:
    """Bits per byte of a run: `""` -> the last weights, and ` (average)` -> the averaged ones."""
    first, last = read_history(run).evaluations[0], read_history(run).evaluations[-1]
    found = {"": last.sources}
    if last.average is not None:
        found[" (average)"] = last.average.sources
    return {
        title: {
            language: (change.before, change.after)
            for language, change in changes_by_language(first.sources, sources).items()
        }
        for title, sources in found.items()
    }


def table(lines: dict[str, list[BitsPerByte]]) -> str:
    """Means and ranges over the seeds, as Markdown."""
    columns = [f"{name} {when}" for name in LANGUAGES.values() for when in ("before", "after")]
    text = ["| variant | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for name, runs in lines.items():
        cells = [
            mean_and_range([run[language][when] for run in runs])
            for language in LANGUAGES
            for when in (0, 1)
        ]
        text.append(f"| {name} | " + " | ".join(cells) + " |")
    seeds = max(map(len, lines.values()))
    return "\n".join([*text, "", f"Bits per byte, mean (smallest-largest) of {seeds} seeds."])


def mean_and_range(values: Sequence[float]) -> str:
    """`1.234 (1.230-1.240)`."""
    return f"{statistics.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"


if __name__ == "__main__":
    main()
