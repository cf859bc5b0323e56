"""Mirror of a run: records and complete checkpoints, copied to another place during training.

    s3://bucket/prefix/NAME/       a run folder like runs/NAME
      decisions.jsonl                  written first: it identifies the mirrored run
      recipe.yaml, metrics.jsonl ...   records of the run so far
      checkpoints/step-00000100/       its manifest.json is copied last and completes it

A pass compares the mirror's decisions with the run's, and sets aside checkpoints that the run has
abandoned. It then copies the records, and the checkpoints that were complete before the pass. The
mirror can therefore be restored to one state of the run at any time, with `linly restore`.

Failures are reported, and retried after the next save. The copy of a checkpoint is kept when its
original is removed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import orjson

from linly.errors import CheckpointError, ConfigError
from linly.runs.runs import PINNED, RunFolder
from linly.storage.retries import describe
from linly.storage.urls import is_url
from linly.training.checkpoints.manifest import (
    MANIFEST,
    Manifest,
    list_checkpoints,
    noted_checkpoints,
)
from linly.training.checkpoints.mirror_place import MirrorPlace

DECISIONS = "decisions.jsonl"
CHECKPOINTS = "checkpoints"
SET_ASIDE = "manifest.abandoned.json"
"""Name of a manifest whose checkpoint the run has abandoned."""

_NOT_COPIED = (CHECKPOINTS, "lock")
_REPLACED = ("rows", *PINNED)
"""Folders whose files are replaced when a run resumes an earlier step or starts again."""

_PATIENCE_S = 30.0
"""Seconds to check the mirror's owner before a start; an unreachable mirror only gives warnings."""


@dataclass(frozen=True, slots=True)
class Copied:
    """Result of one copy attempt.

    Attributes:
        name: Name of the checkpoint, or "records".
        problem: Reason of the failure; None on success.
    """

    name: str
    problem: str | None


class Mirror:
    """Copies a run to another place in a background thread; used on rank 0 only."""

    def __init__(
        self, run: Path, place: str, check_lock: Callable[[], None] = lambda: None
    ) -> None:
        """Copy the run folder to PLACE/NAME, a folder or an s3:// URL.

        Args:
            run: Folder of the run.
            place: Folder or s3:// URL that holds mirrors.
            check_lock: Function that raises if this process no longer holds the run; called before
                every pass.

        Raises:
            ConfigError: If the packages for the URL are missing, or the place is inside the run.
        """
        self._run = run
        self.place = f"{place.rstrip('/')}/{run.name}"
        here = Path(self.place).resolve()
        if not is_url(place) and run.resolve() in (here, *here.parents):
            raise ConfigError(
                f"checkpoint.mirror: found {place}, which puts the mirror inside the run: choose "
                "another folder, or s3://bucket/prefix"
            )
        self._there = MirrorPlace(self.place)
        self._check_lock = check_lock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mirror")
        self._passes: list[Future[None]] = []
        self._results: SimpleQueue[Copied] = SimpleQueue()
        self._copied: dict[str, Any] = {}
        self._is_swept = False
        self._is_closing = False
        self.in_use: str | None = None

    def refuse_another_run(self) -> bool:
        """Check before a start that the mirror is not another run's, if it is reachable.

        Returns:
            Whether the mirror is reachable.

        Raises:
            ConfigError: If it is the mirror of another run, or of a later state of this one.
        """
        looking = self._thread.submit(self._owner_problem)
        try:
            problem = looking.result(_PATIENCE_S)
        except Exception:  # every pass checks again and reports the error
            return False
        if problem is not None:
            raise ConfigError(f"checkpoint.mirror: {problem}")
        return True

    def begin(self) -> None:
        """Start a pass after the current one, unless one is already waiting."""
        self._passes = [one for one in self._passes if not one.done()]
        if len(self._passes) < 2 and not self._is_closing:  # a waiting pass will see all new files
            self._passes.append(self._thread.submit(self._copy_all))

    def take_results(self) -> list[Copied]:
        """Results of copies since the last call."""
        found = []
        while True:
            try:
                found.append(self._results.get_nowait())
            except Empty:
                return found

    def wait(self, timeout_s: float) -> bool:
        """Wait for all passes; whether they ended in time."""
        return not wait(self._passes, timeout_s).not_done

    def missing(self) -> list[str]:
        """Checkpoints of the run that are not known to be in the mirror."""
        folders = list_checkpoints(self._run / CHECKPOINTS)
        return [folder.name for folder in folders if folder.name not in self._copied]

    def close(self) -> None:
        """Start no further copies; a partly copied checkpoint has no manifest."""
        self._is_closing = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _copy_all(self) -> None:
        """Copy the records, then the checkpoints, newest first; the first failure ends the pass.

        Only checkpoints in the run's events before the records are copied are included, so that
        the copied records cover all of them.
        """
        noted: dict[str, str | None] = {}

        def copy_records() -> bool:
            self._check_lock()
            self._claim()
            noted.update(noted_checkpoints(RunFolder(self._run)))
            self._set_aside(noted)
            return self._copy_records()

        if not self._try("records", copy_records):
            return
        for folder in list_checkpoints(self._run / CHECKPOINTS):
            self.in_use = folder.name
            try:
                is_whole = folder.is_dir() and folder.name in noted
                if is_whole and not self._try(folder.name, lambda: self._copy(folder)):  # noqa: B023
                    return
            finally:
                self.in_use = None

    def _try(self, name: str, copy: Callable[[], bool]) -> bool:
        try:
            is_new = copy()
        except Exception as error:  # from any library behind the URL; it must not end training
            self._results.put(Copied(name, describe(error)))
            return False
        if is_new:
            self._results.put(Copied(name, None))
        return True

    def _decisions(self) -> bytes:
        """The run's decisions, flushed first so that no power cut leaves the mirror ahead."""
        path = self._run / DECISIONS
        if not path.is_file():
            return b""
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
            return _whole_lines(stream.read())

    def _owner_problem(self) -> str | None:
        """Why the run may not be copied to the mirror; None if it may."""
        theirs = self._there.read(DECISIONS)
        if theirs is None and (found := self._there.names()):
            return (
                f"{self.place} contains {found[0]} but no {DECISIONS}, so it is not a mirror that "
                "this run could continue: choose another place, or remove the files there"
            )
        return lineage_problem(self._decisions(), theirs or b"", self.place)

    def _claim(self) -> None:
        """Check that the mirror is this run's, and create it with the run's decisions if new.

        Raises:
            CheckpointError: If it is the mirror of another run.
        """
        problem = self._owner_problem()
        if problem is not None:
            raise CheckpointError(problem)
        if self._there.read(DECISIONS) is None:
            self._there.create(DECISIONS, self._decisions())

    def _set_aside(self, noted: dict[str, str | None]) -> None:
        """Rename the manifests of checkpoints that the run has abandoned; done once."""
        if self._is_swept:
            return
        for name in self._there.names(CHECKPOINTS):
            _, step, *file = name.split("/")
            if file == [MANIFEST] and not is_noted(noted, step, self._there.read(name) or b""):
                self._there.rename(name, f"{CHECKPOINTS}/{step}/{SET_ASIDE}")
        self._is_swept = True

    def _copy_records(self) -> bool:
        """Copy changed files other than checkpoints; returns False, as they are not reported."""
        names = [
            path.relative_to(self._run).as_posix()
            for path in sorted(self._run.rglob("*"))
            if path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(self._run).parts)
            and path.relative_to(self._run).parts[0] not in _NOT_COPIED
        ]
        for name in sorted(names, key=lambda name: (name != DECISIONS, name)):
            stat = (self._run / name).stat()
            if self._copied.get(name) != (stat.st_size, stat.st_mtime_ns):
                self._put(self._run / name, name)
                self._copied[name] = (stat.st_size, stat.st_mtime_ns)
        for folder in _REPLACED:
            for name in self._there.names(folder):
                if name not in names:
                    self._there.remove(name)
        return False

    def _copy(self, folder: Path) -> bool:
        """Copy one checkpoint; returns whether it was not in the mirror before."""
        manifest = Manifest.read(folder)
        content = (folder / MANIFEST).read_bytes()
        if self._copied.get(folder.name) == content:
            return False
        base = f"{CHECKPOINTS}/{folder.name}"
        there = self._there.read(f"{base}/{MANIFEST}")
        if there != content:
            if there is not None:
                self._there.remove(f"{base}/{MANIFEST}")
            for name, entry in manifest.files.items():
                self._put(folder / name, f"{base}/{name}")
                size_bytes = self._there.size_bytes(f"{base}/{name}")
                if size_bytes != entry.size_bytes:
                    raise CheckpointError(f"{name}: {size_bytes:,} bytes arrived")
            self._put(folder / MANIFEST, f"{base}/{MANIFEST}")
        self._copied[folder.name] = content
        return there != content

    def _put(self, path: Path, name: str) -> None:
        if self._is_closing:
            raise CheckpointError("the run ended before the copy")
        self._there.put(path, name)


def is_noted(noted: dict[str, str | None], name: str, manifest: bytes) -> bool:
    """Whether a run's records name a checkpoint with this manifest; old records have no hash."""
    return name in noted and noted[name] in (None, sha256(manifest).hexdigest())


def lineage_problem(ours: bytes, theirs: bytes, place: str) -> str | None:
    """Why a run may not continue a mirror, by the decisions of both; None if it may.

    Every start adds a line, so that decisions distinguish two runs, and two futures of one run.

    Args:
        ours: Lines of the run's decisions.
        theirs: Lines of the mirror's decisions.
        place: Folder or URL of the mirror, for the text.
    """
    theirs = _whole_lines(theirs)
    if not theirs or (_beginnings(ours) == _beginnings(theirs) and ours.startswith(theirs)):
        return None
    what = "another run"
    if ours and _beginnings(ours) == _beginnings(theirs):
        what = "this run as continued elsewhere"
    return (
        f"{place} is the mirror of {what}, started {_begun(theirs)}, and is left unchanged: choose "
        f"another checkpoint.mirror, or another run=PATH, whose last part names the mirror; "
        f"`linly restore {place} RUN` restores that run"
    )


def _whole_lines(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1]


def _beginnings(decisions: bytes) -> list[bytes]:
    """The lines that identify a run: its first one and those of forks."""
    lines = decisions.splitlines()
    return lines[:1] + [line for line in lines[1:] if _parsed(line).get("kind") == "fork"]


def _begun(decisions: bytes) -> str:
    began = _parsed(decisions.splitlines()[0]).get("time")
    if not isinstance(began, int | float):
        return "at an unknown time"
    return datetime.fromtimestamp(began, timezone.utc).isoformat(timespec="seconds")


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
