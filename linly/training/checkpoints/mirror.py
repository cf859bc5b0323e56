"""A copy of the run elsewhere: records and whole checkpoints, brought there beside training.

    s3://bucket/prefix/NAME/       a run folder like runs/NAME
      decisions.jsonl                  written first: it says whose mirror this is
      recipe.yaml, metrics.jsonl ...   what the run wrote so far
      checkpoints/step-00000100/       its manifest.json is copied last: without it, it is none

A pass compares the mirror's decisions with the run's, sets aside the mirror's checkpoints that are
no longer the run's, copies the records, then the checkpoints that were whole before it. So at every
moment the mirror restores to one state of this run. `linly restore` brings it back.

What does not go well is reported, and tried again after the next save. The copy of a checkpoint
stays when its original is removed.
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
from linly.runs.runs import RunFolder
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
"""Name of a manifest whose checkpoint is of a future that the run gave up."""

_NOT_COPIED = (CHECKPOINTS, "lock")
_REPLACED = ("rows", "shards", "held_out", "model")
"""Folders whose files are replaced by others when a run goes back or begins again."""

_PATIENCE_S = 30.0
"""For the look at a mirror's owner before a start; an unreachable one costs warnings alone."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of one attempt to copy.

    Attributes:
        name: Name of the checkpoint, or of what else was copied.
        problem: Reason why it was not; None when it was.
    """

    name: str
    problem: str | None


class Mirror:
    """Copies a run to another place in a thread of its own; for one process alone."""

    def __init__(
        self, run: Path, place: str, check_lock: Callable[[], None] = lambda: None
    ) -> None:
        """Copy the run folder to PLACE/NAME, a folder or an s3:// URL.

        Args:
            run: Folder of the run.
            place: Folder or s3:// URL that holds mirrors.
            check_lock: Raises if the run is no longer this process's; called before every pass.

        Raises:
            ConfigError: If the packages for the URL are missing, or the place is the run's own.
        """
        self._run = run
        self.place = f"{place.rstrip('/')}/{run.name}"
        here = Path(self.place).resolve()
        if not is_url(place) and run.resolve() in (here, *here.parents):
            raise ConfigError(
                f"checkpoint.mirror: found {place}, where the run itself is: choose another "
                "folder, or s3://bucket/prefix"
            )
        self._there = MirrorPlace(self.place)
        self._check_lock = check_lock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mirror")
        self._passes: list[Future[None]] = []
        self._news: SimpleQueue[Copied] = SimpleQueue()
        self._copied: dict[str, Any] = {}
        self._is_swept = False
        self._is_closing = False
        self.in_use: str | None = None

    def refuse_another_run(self) -> bool:
        """Make sure before a start that the mirror is nobody else's, if it can be reached.

        Returns:
            Whether it could be reached.

        Raises:
            ConfigError: If it is the mirror of another run, or of a later state of this one.
        """
        looking = self._thread.submit(self._owner_problem)
        try:
            problem = looking.result(_PATIENCE_S)
        except Exception:  # every pass looks again and reports what it meets
            return False
        if problem is not None:
            raise ConfigError(f"checkpoint.mirror: {problem}")
        return True

    def begin(self) -> None:
        """Copy what is not there yet, after what is being copied now."""
        self._passes = [one for one in self._passes if not one.done()]
        if len(self._passes) < 2 and not self._is_closing:  # the one that waits sees what is new
            self._passes.append(self._thread.submit(self._copy_all))

    def news(self) -> list[Copied]:
        """What was copied, and what was not, since this was last asked."""
        found = []
        while True:
            try:
                found.append(self._news.get_nowait())
            except Empty:
                return found

    def wait(self, timeout_s: float) -> bool:
        """Whether all that was begun has come to its end, in time."""
        return not wait(self._passes, timeout_s).not_done

    def missing(self) -> list[str]:
        """Whole checkpoints of the run that are not known to be there."""
        folders = list_checkpoints(self._run / CHECKPOINTS)
        return [folder.name for folder in folders if folder.name not in self._copied]

    def close(self) -> None:
        """Begin no other file; what is half copied is no checkpoint."""
        self._is_closing = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _copy_all(self) -> None:
        """The records, then the checkpoints, newest first; the first problem ends it.

        Checkpoints are those that the run named before its records were copied, so that the
        records reach them all.
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
        except Exception as error:  # of any library that a URL leads to; it must not end training
            self._news.put(Copied(name, describe(error)))
            return False
        if is_new:
            self._news.put(Copied(name, None))
        return True

    def _decisions(self) -> bytes:
        """The run's, on its disk first: a power cut must not leave the mirror ahead of the run."""
        path = self._run / DECISIONS
        if not path.is_file():
            return b""
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
            return _whole_lines(stream.read())

    def _owner_problem(self) -> str | None:
        """Why the run may not be copied there; None where it may."""
        theirs = self._there.read(DECISIONS)
        if theirs is None and (found := self._there.names()):
            return (
                f"{self.place} holds {found[0]} and no {DECISIONS}, so it is not a mirror that "
                "this run could go on with: choose another place, or remove what is there"
            )
        return lineage_problem(self._decisions(), theirs or b"", self.place)

    def _claim(self) -> None:
        """Make sure that the mirror is this run's, writing the run's decisions first.

        Raises:
            CheckpointError: If it is another's.
        """
        problem = self._owner_problem()
        if problem is not None:
            raise CheckpointError(problem)
        if self._there.read(DECISIONS) is None:
            self._there.create(DECISIONS, self._decisions())

    def _set_aside(self, noted: dict[str, str | None]) -> None:
        """Rename the manifests of checkpoints that are not the run's any more; once is enough."""
        if self._is_swept:
            return
        for name in self._there.names(CHECKPOINTS):
            _, step, *file = name.split("/")
            if file == [MANIFEST] and not is_noted(noted, step, self._there.read(name) or b""):
                self._there.rename(name, f"{CHECKPOINTS}/{step}/{SET_ASIDE}")
        self._is_swept = True

    def _copy_records(self) -> bool:
        """Files of the run beside its checkpoints that have changed; those are no news."""
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
        """One checkpoint; whether it was not there before."""
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
            raise CheckpointError("the run ended before")
        self._there.put(path, name)


def is_noted(noted: dict[str, str | None], name: str, manifest: bytes) -> bool:
    """Whether a run's records name a checkpoint with this manifest; old ones tell no hash."""
    return name in noted and noted[name] in (None, sha256(manifest).hexdigest())


def lineage_problem(ours: bytes, theirs: bytes, place: str) -> str | None:
    """Why a run may not go on with a mirror, by the decisions of both; None where it may.

    Every start adds a line, so that decisions tell two runs apart, and two futures of one run.

    Args:
        ours: Lines of the run's decisions.
        theirs: Those of the mirror.
        place: Where the mirror is.
    """
    theirs = _whole_lines(theirs)
    if not theirs or (_beginnings(ours) == _beginnings(theirs) and ours.startswith(theirs)):
        return None
    what = "another run"
    if ours and _beginnings(ours) == _beginnings(theirs):
        what = "this run as it went on elsewhere"
    return (
        f"{place} is the mirror of {what}, begun {_begun(theirs)}, and is left as it is: choose "
        f"another checkpoint.mirror, or another run=PATH, whose last part names the mirror; "
        f"`linly restore {place} RUN` brings that run back"
    )


def _whole_lines(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1]


def _beginnings(decisions: bytes) -> list[bytes]:
    """The lines that tell a run from others: its first one and those of forks."""
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
