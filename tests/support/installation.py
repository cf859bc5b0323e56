"""linly installed from a wheel, outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from tests.support.rank_processes import REPOSITORY, environment


@dataclass(frozen=True)
class Installation:
    """An environment with linly installed from a wheel, and an empty folder to work in."""

    wheel: Path
    programs: Path
    folder: Path

    def run(self, program: str, *arguments: str) -> str:
        """Output of a program of the environment, which must succeed."""
        variables = {"LINLY_DATA": str(self.folder / "data")}
        return _output([str(self.programs / program), *arguments], self.folder, variables)

    def shell(self, command: str, folder: Path) -> str:
        """Output of a command line typed in a folder, which must succeed."""
        variables = {"PATH": f"{self.programs}:{os.defpath}"}
        return _output(["bash", "-c", command], folder, variables)


def _output(words: list[str], folder: Path, variables: dict[str, str]) -> str:
    done = subprocess.run(
        words,
        cwd=folder,
        env=outside() | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def outside() -> dict[str, str]:
    """Variables of a shell that knows nothing of the checkout or of an environment."""
    dropped = ("PYTHONPATH", "VIRTUAL_ENV")
    kept = {name: value for name, value in environment().items() if name not in dropped}
    return kept | {"PATH": os.defpath}


def install(folder: Path) -> Installation:
    """The wheel of a copy of the sources, in an environment that has this one's packages."""
    wheel = build_wheel(folder)
    venv.create(folder / "env", symlinks=True)
    programs = folder / "env" / "bin"
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    packages = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "packages.pth").write_text("\n".join(packages))  # folders alone, without their .pth
    pip(
        *("--python", str(programs / "python"), "install", "--no-deps", "--no-index"),
        *("--ignore-installed", str(wheel)),
    )
    (folder / "work").mkdir()
    return Installation(wheel, programs, folder / "work")


def build_wheel(folder: Path) -> Path:
    """Build from the files that a container is built from, so that these are seen to suffice."""
    sources = folder / "sources"
    sources.mkdir()
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in (line[1:] for line in ignored if line.startswith("!")):
        if (REPOSITORY / name).is_dir():
            no_caches = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / name, sources / name, ignore=no_caches)
        else:
            shutil.copy(REPOSITORY / name, sources / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(sources))
    (wheel,) = folder.glob("*.whl")
    return wheel


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, env=outside(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
