"""Which guard each promise rests on: the entries of `guards/*.yaml`, and how one is taken away."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent / "guards"
KEYS = {"promise", "guard", "file", "old", "new", "tests"}


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
