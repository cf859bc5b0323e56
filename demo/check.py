"""Whether the demo showed what it promises; leaves with exit code 1 where it did not.

python demo/check.py mixture | chinese-only
"""

from __future__ import annotations

import sys
from pathlib import Path

from linly.monitor.history.history import read_history
from linly.records.before_after import Results, changes_by_language

RUNS = Path("demo/output/runs")
MAX_LAST_QUARTER_GAIN = 0.02
MIN_CHINESE_GAIN = 0.25
MAX_ENGLISH_CHANGE = 0.05
MIN_ENGLISH_LOSS_WITHOUT_REPLAY = 0.10


def evaluations(run: str) -> list[tuple[int, Results]]:
    """Step and results of each evaluation, in order."""
    history = read_history(RUNS / run)
    return [(evaluation.step, evaluation.sources) for evaluation in history.evaluations]


def last_quarter_gain(run: str, language: str) -> float:
    """Share of the bits per byte that the last quarter of a run took away."""
    measured = evaluations(run)
    end, last = measured[-1]
    start = max(step for step, _ in measured if step <= 0.76 * end)
    return -changes_by_language(dict(measured)[start], last)[language].relative


def change(run: str, language: str) -> float:
    """Relative change of bits per byte from before the first step to the end."""
    measured = evaluations(run)
    return changes_by_language(measured[0][1], measured[-1][1])[language].relative


def checks(which: str) -> list[tuple[bool, str]]:
    """Whether it holds, and how it reads, for each promise."""
    if which == "chinese-only":
        english, mixed = change("chinese-only", "en"), change("mixture", "en")
        text = f"English bits per byte {english:+.1%} on Chinese alone ({mixed:+.1%} by curriculum)"
        return [(english >= MIN_ENGLISH_LOSS_WITHOUT_REPLAY, f"{text}; at least +10%")]
    gain = last_quarter_gain("base", "en")
    chinese, english = change("mixture", "zh"), change("mixture", "en")
    return [
        (
            gain < MAX_LAST_QUARTER_GAIN,
            f"the English base gained {gain:.1%} in its last quarter; less than 2%",
        ),
        (
            chinese <= -MIN_CHINESE_GAIN,
            f"Chinese bits per byte {chinese:+.1%}; at least 25% lower",
        ),
        (
            english <= MAX_ENGLISH_CHANGE,
            f"English bits per byte {english:+.1%}; at most 5% higher",
        ),
    ]


def main() -> int:
    """Print one line a promise."""
    which = sys.argv[1] if len(sys.argv) > 1 else ""
    if which not in ("mixture", "chinese-only"):
        print("usage: python -m demo.check mixture|chinese-only", file=sys.stderr)
        return 2
    results = checks(which)
    for holds, text in results:
        print(f"{'yes' if holds else 'NO '}  {text}")
    return 0 if all(holds for holds, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
