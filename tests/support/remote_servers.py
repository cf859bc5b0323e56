"""Servers on localhost for tests of remote shards: one that misbehaves on request, and S3."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from linly.storage.remote import file_system

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


@dataclass
class Faults:
    """What the server does wrong from now on; each is used up.

    Attributes:
        drops: Byte positions of a file at which the connection is cut, once each.
        short: Byte positions at which a body ends as if it were whole, once each.
        statuses: Answers in place of the next requests.
        always: An answer in place of every request.
        hangs_up: Every connection is closed without an answer.
        is_silent: No request is answered, and its connection stays open.
    """

    drops: list[int] = field(default_factory=list)
    short: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    always: int | None = None
    hangs_up: bool = False
    is_silent: bool = False


@dataclass(frozen=True)
class Request:
    """One that came, for [start, end) of a file; the names of its headers are in lower case."""

    path: str
    start: int
    end: int
    headers: Mapping[str, str]


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: whoever asked closed the connection."""


class FileServer:
    """Serves bytes by ranges, and pages of links to its folders; as S3 does but for its listings.

    Attributes:
        files: Path (with its slash) -> content.
        faults: What goes wrong.
        requests: That asked for a range, in the order they came.
        num_answers: To all requests.
        gives_ranges: Else every answer is the whole file.
        gives_etags: Its answers name the version of a file.
        lists: Folders have pages of links.
        pages: In place of a folder's own.
        redirects: Path -> where it is sent on to.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.faults = Faults()
        self.requests: list[Request] = []
        self.num_answers = 0
        self.gives_ranges = True
        self.gives_etags = True
        self.lists = True
        self.pages: dict[str, str] = {}
        self.redirects: dict[str, str] = {}
        self.lock = threading.Lock()
        self._closed = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self)

            def do_HEAD(self) -> None:
                server.answer(self)

            def do_POST(self) -> None:
                server.answer(self)

            def do_PUT(self) -> None:
                server.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._http = _QuietServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def asked_bytes(self) -> int:
        """Bytes that were asked for, however often, without looks at a file's size."""
        return sum(r.end - r.start for r in self.requests if r.end - r.start > 1)

    def close(self) -> None:
        self._closed.set()
        self._http.shutdown()
        self._http.server_close()

    def answer(self, http: BaseHTTPRequestHandler) -> None:
        with self.lock:
            self.num_answers += 1
            status = self.faults.always
            if status is None and self.faults.statuses:
                status = self.faults.statuses.pop(0)
        if self.faults.is_silent:
            self._closed.wait()
        if self.faults.hangs_up:
            http.close_connection = True
            return
        if status is not None:
            return self._send(http, status, b"")
        if target := self.redirects.get(http.path):
            return self._send(http, 302, b"", {"Location": target})
        if http.path.endswith("/") and self.lists:
            return self._send(http, 200, self._page(http.path), {"Content-Type": "text/html"})
        content = self.files.get(http.path)
        if content is None:
            return self._send(http, 404, b"")
        etag = f'"{hash(content) & 0xFFFFFFFF:x}"'
        named = {"ETag": etag} if self.gives_etags else {}
        if http.headers.get("If-Match", etag) != etag:
            return self._send(http, 412, b"")
        asked = _RANGE.fullmatch(http.headers.get("Range", ""))
        if asked is None or not self.gives_ranges:
            return self._send(http, 200, content, named)
        start, end = int(asked[1]), min(int(asked[2]) + 1, len(content))
        with self.lock:
            self.requests.append(
                Request(
                    http.path,
                    start,
                    end,
                    {name.lower(): text for name, text in http.headers.items()},
                )
            )
            drop = next((at for at in self.faults.drops if start <= at < end), None)
            if drop is not None:
                self.faults.drops.remove(drop)
            short = next((at for at in self.faults.short if start < at < end), None)
            if short is not None:
                self.faults.short.remove(short)
        if start >= len(content):
            return self._send(http, 416, b"", {"Content-Range": f"bytes */{len(content)}"})
        end = short if short is not None else end
        headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"}
        self._send(http, 206, content[start:end], headers | named, drop=drop and drop - start)

    def _page(self, folder: str) -> bytes:
        if folder in self.pages:
            return self.pages[folder].encode()
        below = [path.removeprefix(folder) for path in self.files if path.startswith(folder)]
        names = {name.split("/")[0] + "/" * ("/" in name) for name in below}
        return "".join(f'<a href="{name}">{name}</a>\n' for name in sorted(names)).encode()

    def _send(
        self,
        http: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: Mapping[str, str] = {},
        *,
        drop: int | None = None,
    ) -> None:
        """Answer; with `drop`, cut the connection after so many bytes of the body."""
        http.send_response(status)
        for name, value in headers.items():
            http.send_header(name, value)
        http.send_header("Content-Length", str(len(body)))
        http.end_headers()
        http.close_connection = drop is not None
        with suppress(ConnectionError):  # who asked has heard enough
            if http.command != "HEAD":
                http.wfile.write(body if drop is None else body[:drop])


class HubServer(FileServer):
    """A file server that also answers what the Hugging Face hub's client asks of one dataset."""

    DATASET = "org/name"

    def __init__(self, files: dict[str, bytes]) -> None:
        self._resolved = f"/datasets/{self.DATASET}/resolve/main/"
        super().__init__({self._resolved + name: content for name, content in files.items()})

    def answer(self, http: BaseHTTPRequestHandler) -> None:
        body = http.rfile.read(int(http.headers.get("Content-Length", 0)))
        path, base = urlsplit(http.path).path, f"/api/datasets/{self.DATASET}"
        if path in (base, f"{base}/revision/main"):
            return self._send_json(http, {"id": self.DATASET, "sha": "a" * 40, "siblings": []})
        if path.startswith(f"{base}/tree/main"):
            folder = path.removeprefix(f"{base}/tree/main").strip("/")
            start = f"{folder}/" * bool(folder)
            below = [n.removeprefix(start) for n in self._names() if n.startswith(start)]
            names = sorted({start + name.split("/")[0] for name in below})
            return self._send_json(http, [self._entry(name) for name in names])
        if path.startswith(f"{base}/paths-info/main"):
            asked = parse_qs(body.decode())["paths"]
            found = [self._entry(name) for name in asked if name in self._names()]
            return self._send_json(http, found)
        super().answer(http)

    def _names(self) -> list[str]:
        return [path.removeprefix(self._resolved) for path in self.files]

    def _entry(self, name: str) -> dict[str, object]:
        content = self.files.get(self._resolved + name)
        if content is None:
            return {"type": "directory", "path": name, "oid": "0" * 40}
        digest = hashlib.sha1(content).hexdigest()  # noqa: S324 (git's)
        return {"type": "file", "path": name, "size": len(content), "oid": digest}

    def _send_json(self, http: BaseHTTPRequestHandler, value: object) -> None:
        self._send(http, 200, json.dumps(value).encode(), {"Content-Type": "application/json"})


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[FileServer]:
    """A file server for the block."""
    server = FileServer(files)
    try:
        yield server
    finally:
        server.close()


def use_s3(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Have s3:// mean this server for the rest of the test."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    file_system.cache_clear()


@contextmanager
def s3_store(bucket: str, files: Mapping[str, bytes]) -> Iterator[str]:
    """An S3-compatible server with a filled bucket, for the block; gives its address."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        client = boto3.client(
            "s3",
            endpoint_url=address,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 (the server takes any)
            region_name="us-east-1",
        )
        client.create_bucket(Bucket=bucket)
        for key, content in files.items():
            client.put_object(Bucket=bucket, Key=key, Body=content)
        yield address
    finally:
        server.stop()
