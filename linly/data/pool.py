"""Tokenizing processes: batches of documents in, their tokens out, in the order of submission."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from linly.data.encoding import FlatTokens, encode_flat
from linly.data.processes import STARTUP_S, Channel, ChannelClosed, Child, start_child
from linly.data.types import Document, EncodedDocument
from linly.errors import DataError, LinlyError
from linly.tokenization.tokenizer import Tokenizer

MAX_HELD_CHARACTERS = 64 << 20
"""Text handed to the processes and not yet taken back as tokens, over all sources."""


class EncodingPool:
    """An `Encoder` that spreads batches over processes.

    Each process has a thread here that hands it one batch at a time and waits for the answer, so
    neither end can block on a full pipe. What is not taken back yet is bounded in batches and in
    characters.
    """

    lookahead = 4

    def __init__(self, tokenizer: Tokenizer, num_processes: int) -> None:
        """Start the processes and wait until all of them can work.

        Raises:
            DataError: One does not come up.
        """
        self._num_processes = num_processes
        self._children = [start_child(run_tokenizer) for _ in range(num_processes)]
        self._idle: queue.SimpleQueue[Child] = queue.SimpleQueue()
        self._prepare(tokenizer.model_bytes)
        self._threads = ThreadPoolExecutor(num_processes, thread_name_prefix="tokenizing")
        self._lock = threading.Lock()
        self._unfinished = 0
        self._held_characters = 0

    def has_room(self) -> bool:
        """Whether the processes would run dry soon, within the bound on what is held."""
        with self._lock:
            return (
                self._unfinished < 2 * self._num_processes
                and self._held_characters < MAX_HELD_CHARACTERS
            )

    def submit(self, documents: Sequence[Document]) -> Callable[[], list[EncodedDocument]]:
        """Queue a batch for the next idle process."""
        documents = tuple(documents)
        size = sum(len(segment.text) for document in documents for segment in document.segments)
        with self._lock:
            self._unfinished += 1
            self._held_characters += size
        future: Future[FlatTokens] = self._threads.submit(self._encode, documents)

        def result() -> list[EncodedDocument]:
            reply = future.result()
            with self._lock:
                self._held_characters -= size
            return reply.split(documents)

        return result

    def close(self) -> None:
        """End the processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in self._children:
            child.kill()

    def _prepare(self, model_bytes: bytes) -> None:
        try:
            for child in self._children:
                child.channel.send(model_bytes)
            for child in self._children:
                child.channel.receive(STARTUP_S)
                self._idle.put(child)
        except (ChannelClosed, TimeoutError) as error:
            for child in self._children:
                child.kill()
            raise DataError(
                f"a tokenizing process did not start within {STARTUP_S:g} s; see whether memory "
                f"or processes ran out, or lower data.producers"
            ) from error

    def _encode(self, documents: tuple[Document, ...]) -> FlatTokens:
        child = self._idle.get()
        try:
            child.channel.send(documents)
            reply = child.channel.receive(None)
        except ChannelClosed:
            raise DataError(
                f"a tokenizing process ended while it had {len(documents)} documents from "
                f"{documents[0].shard}, record {documents[0].record} on ({child.ending()})"
            ) from None
        finally:
            self._idle.put(child)
            with self._lock:
                self._unfinished -= 1
        if isinstance(reply, LinlyError):
            raise reply
        answer: FlatTokens = reply
        return answer


def run_tokenizer(channel: Channel) -> None:
    """What a tokenizing process does: answers batches until the other end is closed."""
    tokenizer = Tokenizer.from_bytes(channel.receive(None), origin="of the run")
    channel.send("ready")
    while True:
        documents: tuple[Document, ...] = channel.receive(None)
        try:
            channel.send(encode_flat(tokenizer, documents))
        except LinlyError as error:
            channel.send(error)
