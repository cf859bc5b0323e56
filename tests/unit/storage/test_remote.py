"""linly.storage.remote: what a pattern finds; a folder that cannot be listed is not empty."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from linly.errors import DataError
from linly.storage.patterns import Pattern
from linly.storage.remote import list_remote_files
from linly.storage.retries import Retries
from linly.storage.urls import Url, redirect_problem, url_problem
from tests.support.remote_servers import FileServer, s3_store, serving, use_s3

QUICK = Retries(attempts=3, delay_s=1e-4)
FILES = {
    "a/1.jsonl": b"1",
    "a/10.jsonl": b"ten",
    "a/deep/2.jsonl": b"22",
    "a/deep/er/3.jsonl": b"333",
    "a/note.txt": b"n",
    "汉 字/b c.jsonl": b"4444",
}


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with s3_store("bucket", {**FILES, "a/": b"", "bad/x\ty.jsonl": b""}) as address:
        yield address


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving({f"/{name}": content for name, content in FILES.items()}) as server:
        yield server


def listed(pattern: str) -> dict[str, int]:
    return {str(file.url): file.size_bytes for file in list_remote_files(Pattern(pattern), QUICK)}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a/*.jsonl", {"a/1.jsonl": 1, "a/10.jsonl": 3}),
        ("a/?.jsonl", {"a/1.jsonl": 1}),
        ("a/[0-9]*.*", {"a/1.jsonl": 1, "a/10.jsonl": 3}),
        ("a/**/[!1]*.jsonl", {"a/deep/2.jsonl": 2, "a/deep/er/3.jsonl": 3}),
        ("a/**", {f"a/{n}": len(FILES[f"a/{n}"]) for n in (
            "1.jsonl", "10.jsonl", "deep/2.jsonl", "deep/er/3.jsonl", "note.txt")}),
        ("*/*/2.jsonl", {"a/deep/2.jsonl": 2}),
        ("a/deep/2.jsonl", {"a/deep/2.jsonl": 2}),
        ("汉 字/*", {"汉 字/b c.jsonl": 4}),
    ],
)  # fmt: skip
def test_a_bucket_is_listed_as_a_folder_is(
    store: str, pattern: str, expected: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_s3(monkeypatch, store)
    assert listed(f"s3://bucket/{pattern}") == {
        f"s3://bucket/{name}": size for name, size in expected.items()
    }


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("s3://bucket/a/*.parquet", r"no file matches .*; s3://bucket/a/ holds 1.jsonl, 10.jsonl"),
        ("s3://bucket/b/*.jsonl", "s3://bucket/b/: cannot be listed: it does not exist"),
        ("s3://other/*.jsonl", r"s3://other/: cannot be listed: it does not exist"),
        ("s3://bucket/a/none.jsonl", r"none\.jsonl: cannot be found: it does not exist"),
        ("s3://bucket/a/deep", "is a folder; name its files"),
        (
            "s3://bucket/bad/*.jsonl",
            r"bad/x\\ty\.jsonl' is listed and cannot be read: it holds a control",
        ),
    ],
)
def test_what_is_not_in_a_bucket_is_named(
    store: str, pattern: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_s3(monkeypatch, store)
    with pytest.raises(DataError, match=message):
        listed(pattern)


def test_without_credentials_the_environment_is_named(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_s3(monkeypatch, store)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with pytest.raises(DataError, match=r"no credentials .* AWS_ACCESS_KEY_ID"):
        listed("s3://bucket/a/*.jsonl")


def test_a_page_of_links_is_listed_as_a_folder_is(server: FileServer) -> None:
    base = f"{server.url}/a"
    assert listed(f"{base}/*.jsonl") == {f"{base}/1.jsonl": 1, f"{base}/10.jsonl": 3}
    assert listed(f"{base}/1.jsonl") == {f"{base}/1.jsonl": 1}
    with pytest.raises(DataError, match=r"no file matches .*; .*/a/ holds 1.jsonl, 10.jsonl, deep"):
        listed(f"{base}/*.parquet")


def test_a_page_that_links_elsewhere_leads_nowhere(server: FileServer) -> None:
    links = ["http://127.0.0.1:1/a/5.jsonl", "../../6.jsonl", "/other/7.jsonl", "8.jsonl"]
    server.pages["/a/"] = "".join(f'<a href="{link}">x</a>' for link in links)
    server.files["/a/8.jsonl"] = b"8"
    assert listed(f"{server.url}/a/8*") == {f"{server.url}/a/8.jsonl": 1}
    for name in "567":
        with pytest.raises(DataError):
            listed(f"{server.url}/a/{name}*.jsonl")


def test_a_server_that_does_not_list_is_said_so(server: FileServer) -> None:
    server.lists = False
    with pytest.raises(DataError, match=r"cannot be listed: .*name the files one by one"):
        listed(f"{server.url}/a/*.jsonl")
    with pytest.raises(Exception, match="name each folder"):
        listed(f"{server.url}/a/**/*.jsonl")


def test_a_listing_that_fails_for_a_while_is_asked_again_and_never_taken_as_empty(
    server: FileServer,
) -> None:
    server.faults.statuses = [503, 503]
    assert len(listed(f"{server.url}/a/*.jsonl")) == 2
    server.faults.always = 503
    with pytest.raises(DataError, match="cannot be listed: gave up after 3 attempts"):
        listed(f"{server.url}/a/*.jsonl")


def test_a_server_may_send_on_to_itself_and_nowhere_that_could_not_be_named(
    server: FileServer,
) -> None:
    here = server.url
    server.redirects = {"/b": f"{here}/a/1.jsonl", "/c": "/b", "/d/": f"{here}/a/"}
    assert listed(f"{here}/c") == {f"{here}/c": 1}
    server.files["/d/1.jsonl"] = b"one"
    assert listed(f"{here}/d/1.*") == {f"{here}/d/1.jsonl": 3}
    there = here.replace("127.0.0.1", "127.0.0.2")
    server.redirects |= {"/c": f"{there}/a/1.jsonl", "/e/": f"{there}/a/"}
    for pattern, source, target in (("c", "c", "a/1.jsonl"), ("e/*", "e/", "a/")):
        with pytest.raises(DataError, match=rf"{here}/{source} redirects to {there}/{target}; "):
            listed(f"{here}/{pattern}")


@pytest.mark.parametrize(
    ("source", "target", "is_allowed"),
    [
        ("https://huggingface.co/a", "https://cdn.host.org/a?signature=x", True),
        ("https://host.org/a", "http://host.org/a", False),
        ("https://host.org/a", "http://localhost/a", False),
        ("http://localhost:1/a", "http://127.0.0.1:2/a", True),
        ("http://localhost/a", "https://host.org/a", True),
        ("http://localhost/a", "http://host.org/a", False),
        ("http://localhost/a", "http://localhost.host.org/a", False),
        ("http://localhost/a", "http://localhost@host.org/a", False),
        ("https://host.org/a", "ftp://host.org/a", False),
    ],
)
def test_where_an_answer_may_send_a_request(source: str, target: str, is_allowed: bool) -> None:
    text = redirect_problem(source, target)
    assert (text is None) == is_allowed
    assert is_allowed or (source in str(text) and target in str(text))


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/prefix/*.jsonl.zst",
        "hf://datasets/org/name/**/*.parquet",
        "hf://datasets/org/name@main/a.parquet",
        "https://host.org/a/file.jsonl.gz",
        "http://localhost:8000/a.jsonl",
        "http://127.0.0.1/a.jsonl",
    ],
)
def test_urls_that_are_allowed(url: str) -> None:
    assert url_problem(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://host/a.jsonl",
        "simplecache::s3://bucket/a.jsonl",
        "s3://bucket/a.zip::s3://bucket/b",
        "zip://a.jsonl::https://host/b.zip",
        "memory://a/b",
        "github://org:repo@main/a.jsonl",
        "http://host.org/a.jsonl",
        "http://localhost.host.org/a.jsonl",
        "https://user:secret@host.org/a.jsonl",
        "https://host.org/a.jsonl?signature=secret",
        "https://host.org/../a.jsonl",
        "https://host.org/%2e%2e/a.jsonl",
        "https://host.org//a.jsonl",
        "s3://bucket/../other/a.jsonl",
        "s3://*/a.jsonl",
        "s3:///a.jsonl",
        "s3://bucket",
        "hf://org/name/a.parquet",
        "hf://datasets/org",
        "s3://bucket/a\n.jsonl",
        "s3://bucket/a\\b.jsonl",
        "S3://bucket/a.jsonl",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    assert url_problem(url)


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("http", "aiohttp")])
def test_a_missing_package_is_named_with_the_extra(
    server: FileServer, scheme: str, package: str
) -> None:
    program = (
        "import sys\n"
        f"sys.modules[{package!r}] = None  # any import of it now fails\n"
        "from linly.storage.open_files import state_of\n"
        "from linly.storage.urls import Url\n"
        f"state_of(Url({f'{scheme}://127.0.0.1/a'!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert "ConfigError" in last
    assert "pip install 'linly[remote]'" in last


def test_fsspec_is_imported_with_the_first_url_only() -> None:
    program = (
        "import sys\n"
        "import linly.data.loading.stream, linly.data.reading.shards\n"
        "print(sorted({'fsspec', 's3fs', 'aiohttp', 'huggingface_hub'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_url_is_ordered_and_shown_as_written() -> None:
    assert sorted([Url("s3://b/2"), Url("s3://b/1")]) == [Url("s3://b/1"), Url("s3://b/2")]
    assert str(Url("s3://b/1")) == "s3://b/1"
