"""Guards behind each promise: the entries of `guards/*.yaml`, and how one is removed.

`python -m tests.faults.guards_file` writes their tables into docs/maintainers/reliability.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent / "guards"
DOCUMENT = ROOT / "docs" / "maintainers" / "reliability.md"
BEGIN, END = "<!-- guards: begin -->", "<!-- guards: end -->"
KEYS = {"promise", "guard", "file", "old", "new", "tests"}
PROMISES = {
    1: "a resumed run equals an undisturbed one",
    2: "`kill -9` at any moment loses nothing but time",
    3: "an incomplete checkpoint never loads",
    4: "a full disk does no damage",
    5: "damaged shards are detected",
    6: "bad records are bounded and counted once",
    7: "ratios hold at every row",
    8: "world size and number of producers may change",
    9: "optimizer state loads at another world size",
    10: "no source runs out unexpectedly",
    11: "a run changes only by explicit decisions",
    12: "a NaN or a spike never changes a weight",
    13: "BF16 training computes its sums in fp32",
    14: "a stuck source is reported",
    15: "memory is bounded",
    16: "an extended vocabulary is correct",
    17: "an export loads in plain transformers",
    18: "nothing is unpickled",
    19: "YAML is inert",
    20: "names and texts in pages are inert",
    21: "paths stay inside their folder",
    22: "decompression bombs are capped",
    23: "code in model folders never runs",
    24: "displayed figures equal the per-row record",
    25: "SIGTERM saves and exits",
    26: "two processes cannot share a run",
    27: "all nodes use one run folder",
}


@dataclass(frozen=True)
class Guard:
    """An edit that removes one guard, and the tests that must notice it.

    Attributes:
        promise: Number in PROMISES, or the promise itself.
        guard: Description of the guard.
        file: Path relative to the project's root.
        old: Text that occurs in the file exactly once.
        new: Replacement that removes the guard.
        tests: Tests of which at least one must fail.
    """

    promise: int | str
    guard: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        """Promise and guard, as a test id."""
        return f"{self.promise}: {self.guard}"

    def problem(self) -> str | None:
        """Return why the entry does not fit the code; None if it does."""
        source = ROOT / self.file
        if not source.is_file():
            return f"{self.file} does not exist"
        count = source.read_text(encoding="utf-8").count(self.old.rstrip("\n"))
        if count != 1:
            return f"the text to replace occurs {count} times in {self.file}"
        missing = [test for test in self.tests if not (ROOT / test.split("::")[0]).is_file()]
        return f"no such tests: {missing}" if missing or not self.tests else None

    def remove(self, root: Path) -> None:
        """Remove the guard from a copy of the project."""
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(self.old.rstrip("\n"), self.new.rstrip("\n")), "utf-8")


def read_guards() -> list[Guard]:
    """All entries, sorted by promise."""
    guards = []
    for path in sorted(FOLDER.glob("*.yaml")):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
            assert set(entry) == KEYS, f"{path.name}: {entry.get('guard')}: keys {sorted(entry)}"
            guards.append(Guard(**{**entry, "tests": tuple(entry["tests"])}))
    return sorted(
        guards, key=lambda guard: (isinstance(guard.promise, str), str(guard.promise).zfill(3))
    )


def tables(guards: list[Guard]) -> str:
    """The entries as Markdown: for each promise a heading and a table."""
    lines = []
    for promise, entries in groupby(guards, key=lambda guard: guard.promise):
        text = PROMISES[promise] if isinstance(promise, int) else promise
        heading = text if text[0] == "`" else text[0].upper() + text[1:]
        number = f"{promise}. " if isinstance(promise, int) else ""
        lines += [f"### {number}{heading}", ""]
        lines += ["| guard | tests that fail without it |", "|---|---|"]
        for guard in entries:
            tests = ", ".join(f"`{test.removeprefix('tests/')}`" for test in guard.tests)
            lines.append(f"| {guard.guard} (`{guard.file}`) | {tests} |")
        lines.append("")
    return "\n".join(lines)


def with_tables(document: str, guards: list[Guard]) -> str:
    """The document with the current tables between its marks."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables(guards)}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text("utf-8"), read_guards()), "utf-8")
