"""A server on localhost that speaks the Hugging Face hub's protocol for models, and its client."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

from tests.support.remote_servers import FileServer

TOKEN = "hf_of_the_tests"  # noqa: S105 (the server takes any)


@dataclass
class Repository:
    """A repository of the server.

    Attributes:
        commits: Commit -> file name -> content.
        refs: Branch or tag -> commit.
        is_gated: Files are for those who log in.
        is_private: Not shown to those who do not.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    is_gated: bool = False
    is_private: bool = False


class ModelHub(FileServer):
    """Answers what huggingface_hub asks for, to read repositories and to make them.

    Attributes:
        repositories: Id -> repository.
        asked: Requests, such as `GET /api/models/org/name`, in the order they came.
        tokens: Tokens that came with requests.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.asked: list[str] = []
        self.tokens: set[str] = set()
        self._blobs: dict[str, bytes] = {}
        super().__init__({})

    def publish(self, name: str, files: Mapping[str, bytes], *, ref: str = "main") -> str:
        """Add a commit to a repository and return it."""
        text = repr([name, ref, *sorted(files.items())])
        commit = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 (git's)
        repository = self.repositories.setdefault(name, Repository())
        repository.commits[commit] = dict(files)
        repository.refs[ref] = commit
        return commit

    def downloads(self) -> list[str]:
        """Names of the files whose content was asked for."""
        gets = [line.split(" ")[1] for line in self.asked if line.startswith("GET ")]
        return [path.rpartition("/")[2] for path in gets if "/resolve/" in path]

    def answer(self, http: BaseHTTPRequestHandler) -> None:
        body = http.rfile.read(int(http.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(http.path).path)
        with self.lock:
            self.asked.append(f"{http.command} {path}")
            self.tokens.add(http.headers.get("Authorization", "").removeprefix("Bearer "))
        if self.faults.always is not None or self.faults.hangs_up:
            return super().answer(http)
        if path.startswith("/api/models/"):
            self._answer_models(http, path.removeprefix("/api/models/"), body)
        elif "/resolve/" in path:
            self._answer_file(http, path)
        elif path == "/api/whoami-v2":
            self._send_json(http, {"name": "org", "type": "user"})
        elif path == "/api/validate-yaml":
            self._send_json(http, {"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            self._create(http, json.loads(body))
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._answer_batch(http, json.loads(body))
        elif path.startswith("/lfs/"):
            self._blobs[path.removeprefix("/lfs/")] = body
            self._send(http, 200, b"")
        else:
            self._send(http, 404, b"")

    def _answer_models(self, http: BaseHTTPRequestHandler, path: str, body: bytes) -> None:
        owner, name, *rest = path.split("/")
        repository = self.repositories.get(f"{owner}/{name}")
        what, ref = (rest[0], "/".join(rest[1:])) if rest else ("revision", "main")
        if repository is None:
            return self._refuse(http, "RepoNotFound")
        if what == "preupload":
            files = json.loads(body)["files"]
            modes = {True: "lfs", False: "regular"}
            answers = [
                {
                    "path": file["path"],
                    "uploadMode": modes[file["path"].endswith((".safetensors", ".gguf"))],
                    "shouldIgnore": False,
                }
                for file in files
            ]
            return self._send_json(http, {"files": answers})
        if what == "commit":
            return self._commit(http, f"{owner}/{name}", body)
        commit = repository.refs.get(ref, ref)
        if commit not in repository.commits:
            if not repository.commits:  # a new one
                return self._send_json(http, self._info(f"{owner}/{name}", None, repository))
            return self._refuse(http, "RevisionNotFound")
        if what == "tree":
            files = repository.commits[commit]
            return self._send_json(http, [_entry(name, files[name]) for name in sorted(files)])
        self._send_json(http, self._info(f"{owner}/{name}", commit, repository))

    @staticmethod
    def _info(name: str, commit: str | None, repository: Repository) -> dict[str, object]:
        files = repository.commits.get(commit or "", {})
        return {
            "id": name,
            "modelId": name,
            "sha": commit,
            "private": repository.is_private,
            "tags": [],
            "siblings": [{"rfilename": each} for each in sorted(files)],
        }

    def _answer_file(self, http: BaseHTTPRequestHandler, path: str) -> None:
        name, _, rest = path.strip("/").partition("/resolve/")
        repository = self.repositories.get(name)
        if repository is None:
            return self._refuse(http, "RepoNotFound")
        revision, _, file = rest.partition("/")
        commit = repository.refs.get(revision, revision)
        if repository.is_gated and TOKEN not in http.headers.get("Authorization", ""):
            return self._refuse(http, "GatedRepo", status=401)
        content = repository.commits.get(commit, {}).get(file)
        if content is None:
            return self._refuse(http, "EntryNotFound", commit=commit)
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self._send(http, 200, content, {"ETag": etag, "X-Repo-Commit": commit})

    def _create(self, http: BaseHTTPRequestHandler, asked: dict[str, object]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        answer = {"url": f"{self.url}/{name}"}
        if name in self.repositories:
            return self._send_json(http, answer, status=409)
        self.repositories[name] = Repository(is_private=asked["visibility"] == "private")
        self._send_json(http, answer)

    def _answer_batch(self, http: BaseHTTPRequestHandler, asked: dict[str, object]) -> None:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.url}/lfs/{each['oid']}"}}}
            for each in asked["objects"]  # type: ignore[attr-defined]
        ]
        self._send_json(http, {"transfer": "basic", "objects": objects})

    def _commit(self, http: BaseHTTPRequestHandler, name: str, body: bytes) -> None:
        files = {}
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self._blobs[value["oid"]]
        commit = self.publish(name, files)
        url = f"{self.url}/{name}/commit/{commit}"
        self._send_json(http, {"success": True, "commitOid": commit, "commitUrl": url})

    def _refuse(
        self, http: BaseHTTPRequestHandler, code: str, *, status: int = 404, commit: str = ""
    ) -> None:
        self._send(http, status, b"", {"X-Error-Code": code, "X-Repo-Commit": commit})

    def _send_json(self, http: BaseHTTPRequestHandler, value: object, *, status: int = 200) -> None:
        content = {"Content-Type": "application/json"}
        self._send(http, status, json.dumps(value).encode(), content)


def _entry(name: str, content: bytes) -> dict[str, object]:
    digest = hashlib.sha1(content).hexdigest()  # noqa: S324 (git's)
    return {"type": "file", "path": name, "size": len(content), "oid": digest}


@contextmanager
def model_hub(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[ModelHub]:
    """A hub that huggingface_hub uses in this process, with an empty cache and nobody logged in."""
    hub = ModelHub()
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a protocol of its own
    monkeypatch.delenv("HF_TOKEN", raising=False)
    try:
        yield hub
    finally:
        hub.close()


def folder_files(folder: Path) -> dict[str, bytes]:
    """Files of a folder by name, as a repository has them."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
