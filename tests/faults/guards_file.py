"""Which guard each promise rests on: the entries of `guards/*.yaml`, and how one is taken away.

`python -m tests.faults.guards_file` writes their table into docs/reliability.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent / "guards"
DOCUMENT = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- guards: begin -->", "<!-- guards: end -->"
KEYS = {"promise", "guard", "file", "old", "new", "tests"}
PROMISES = {
    1: "a resume is exact",
    2: "kill -9 at any moment loses nothing but time",
    3: "a torn checkpoint never loads",
    4: "a full disk is harmless",
    5: "damaged shards are found",
    6: "bad records are bounded and counted once",
    7: "ratios hold at every row",
    8: "world size and producers may change",
    9: "the optimizer follows to another world size",
    10: "exhaustion is planned",
    11: "edits are deliberate",
    12: "a NaN cannot poison",
    13: "BF16 arithmetic is right",
    14: "a stuck source shows",
    15: "memory is bounded",
    16: "the vocabulary is right",
    17: "an export loads",
    18: "there is no pickle",
    19: "YAML is inert",
    20: "the pages are inert",
    21: "paths stay inside",
    22: "bombs are capped",
    23: "no remote code runs",
    24: "the monitor is truthful",
    25: "preemption is graceful",
    26: "two cannot share a run",
    27: "all nodes see one run folder",
}


@dataclass(frozen=True)
class Guard:
    """An edit that removes one guard, and the tests that must notice it.

    Attributes:
        promise: A number of the table in docs/reliability.md, or a claim in words.
        guard: What is removed, in words.
        file: Relative to the project's root.
        old: Text that stands in the file exactly once.
        new: What takes its place.
        tests: Of which at least one must fail.
    """

    promise: int | str
    guard: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        """For the list of tests."""
        return f"{self.promise}: {self.guard}"

    def problem(self) -> str | None:
        """What keeps the entry from being used, if anything does."""
        source = ROOT / self.file
        if not source.is_file():
            return f"{self.file} is not there"
        count = source.read_text(encoding="utf-8").count(self.old.rstrip("\n"))
        if count != 1:
            return f"the text to replace stands {count} times in {self.file}"
        missing = [test for test in self.tests if not (ROOT / test.split("::")[0]).is_file()]
        return f"no such tests: {missing}" if missing or not self.tests else None

    def remove(self, root: Path) -> None:
        """Take the guard out of a copy of the project."""
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(self.old.rstrip("\n"), self.new.rstrip("\n")), "utf-8")


def read_guards() -> list[Guard]:
    """All entries, by promise."""
    guards = []
    for path in sorted(FOLDER.glob("*.yaml")):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
            assert set(entry) == KEYS, f"{path.name}: {entry.get('guard')}: keys {sorted(entry)}"
            guards.append(Guard(**{**entry, "tests": tuple(entry["tests"])}))
    return sorted(
        guards, key=lambda guard: (isinstance(guard.promise, str), str(guard.promise).zfill(3))
    )


def table(guards: list[Guard]) -> str:
    """The entries as Markdown, a line each."""
    lines = ["| promise | guard taken away | tests that then fail |", "|---|---|---|"]
    for guard in guards:
        number = guard.promise
        promise = f"{number}. {PROMISES[number]}" if isinstance(number, int) else number
        tests = ", ".join(f"`{test.removeprefix('tests/')}`" for test in guard.tests)
        lines.append(f"| {promise} | {guard.guard} (`{guard.file}`) | {tests} |")
    return "\n".join(lines)


def with_table(document: str, guards: list[Guard]) -> str:
    """The document with the table of today between its marks."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table(guards)}\n\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text("utf-8"), read_guards()), "utf-8")
