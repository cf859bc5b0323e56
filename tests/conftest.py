"""Fixtures that tests of several parts share."""

from __future__ import annotations

import os
import signal
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from linly.config.corpus import Corpus, load_corpus
from tests.support.tiny_corpora import train_tokenizer, write_corpora

if TYPE_CHECKING:
    from linly.training.ranks.processes import Processes

_LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK")
REPOSITORY = Path(__file__).resolve().parent.parent

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; a worker per core

hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")  # a slow machine is no failure

# A shell has what it puts into the background ignore SIGINT, and so would what tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _signal_to_stop() -> Iterator[None]:
    """A run that SIGTERM has stopped ignores it from then on; the next test hears it again."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real text in the published datasets' forms; see LINLY_TEST_DATA."""
    named = os.environ.get("LINLY_TEST_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is no folder; set LINLY_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def llama_tokenizer_path(real_data: Path) -> Path:
    """The LLaMA tokenizer, a sentencepiece model of 32,000 pieces."""
    path = real_data / "tokenizers" / "llama" / "tokenizer.model"
    if not path.is_file():
        pytest.skip(f"no LLaMA tokenizer: {path} is missing")
    return path


@pytest.fixture
def make_corpus(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Corpus]:
    """Give a function that reads a corpus file's YAML: `make_corpus(yaml, name="sample")`."""

    def make(yaml: str, *, name: str = "sample") -> Corpus:
        folder = tmp_path_factory.mktemp("corpora")
        (folder / f"{name}.yaml").write_text(textwrap.dedent(yaml), encoding="utf-8")
        return load_corpus(name, [folder])

    return make


@pytest.fixture(scope="session")
def tiny_tokenizer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small sentencepiece model with byte fallback, trained here."""
    return train_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of a few tiny corpora of all kinds, with bad records among them."""
    return write_corpora(tmp_path_factory.mktemp("corpora"))


@pytest.fixture(scope="session")
def alone() -> Iterator[Processes]:
    """This process as a process group of one, which DeepSpeed's engine needs even alone.

    Processes that tests start must not take it for a launcher.
    """
    import deepspeed

    from linly.training.engine.engine import _no_helper_builds
    from linly.training.ranks.processes import start_processes, stop_processes

    with pytest.MonkeyPatch.context() as patch:
        for name in _LAUNCHER_VARIABLES:
            patch.setenv(name, "")
            patch.delenv(name)
        processes = start_processes()
        _no_helper_builds()
        deepspeed.init_distributed()
        for name in _LAUNCHER_VARIABLES[:-1]:  # DeepSpeed asks for LOCAL_RANK at every engine
            del os.environ[name]
        yield processes
        stop_processes()
