"""Remote files through fsspec: listing by pattern, size and version, ranges of a file.

Listing does not use fsspec's `glob`, which treats a folder that cannot be listed (a dropped
connection, no permission) as empty.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from linly.errors import ConfigError, DataError
from linly.storage.patterns import Pattern
from linly.storage.retries import Retries, ShortRead, status_of
from linly.storage.urls import Url, is_web, quoted, redirect_problem, url_problem

TIMEOUT_S = 30.0
"""Timeout of a connection and of its next bytes; five of them fit into data.timeout_s."""

_CHUNK_BYTES = 64 << 10
_MAX_SHOWN = 10
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+)")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as described by its server.

    Attributes:
        version: Version of its content (an ETag or a hash); None if the server reports none.
    """

    url: Url
    size_bytes: int
    version: str | None


class RemoteRanges:
    """Ranges of a remote file, one attempt at a time.

    Attributes:
        size_bytes: Size of the file.
    """

    def __init__(self, url: Url) -> None:
        """Request the file's size.

        Raises:
            DataError: If the server does not support range requests.
            ConfigError: If the packages of the scheme are not installed.
            Exception: If the scheme's library fails.
        """
        self._url = url
        self._details = describe_file(url)
        self.size_bytes = self._details.size_bytes

    def fetch(self, start: int, size: int) -> bytes:
        """Return the received bytes of a range: if a transfer is dropped, the bytes before.

        Raises:
            Exception: If the scheme's library fails before any byte is received.
        """
        if self._url.scheme == "s3":
            return _fetch_s3(self._details, start, size)
        return _fetch_http(self._details, start, size)

    def close(self) -> None:
        """Do nothing: connections are shared."""


def describe_file(url: Url) -> RemoteFile:
    """Request a file's size and version, in one attempt.

    Raises:
        DataError: If the server does not support range requests, or the URL is not a file.
        ConfigError: If the packages of the scheme are not installed.
        Exception: If the scheme's library fails.
    """
    filesystem = file_system(url.scheme)
    if is_web(url.text):
        return _describe_http(url)
    more = {"expand_info": True} if url.scheme == "hf" else {}  # the hash, where info leaves it out
    return _from_details(url, filesystem.info(url.text, refresh=True, **more))


def list_remote_files(pattern: Pattern, retries: Retries) -> list[RemoteFile]:
    """List the files that match a pattern, or the one file it names; sorted.

    Raises:
        DataError: If a folder cannot be listed, nothing matches, or the named file does not exist.
        ConfigError: If the packages of the scheme are not installed, or it cannot expand `**`.
    """
    if not pattern.has_wildcards:
        url = Url(quoted(pattern.path))
        return [retries.call(lambda: describe_file(url), f"{url}: cannot be found")]
    if is_web(pattern.path) and "**" in pattern.path.split("/"):
        raise ConfigError(
            f"paths: found {pattern.path!r}: ** is not supported for "
            f"{Url(pattern.path).scheme}; name each folder, as in .../folder/*.jsonl.gz"
        )
    folders = RemoteFolders(retries)
    found = [
        _listed(Url(quoted(path)), entry, retries)
        for path, entry in pattern.expand(folders)
        if not folders.is_folder(path, entry)
    ]
    if not found:
        names = sorted({name for name, _ in folders.entries(pattern.folder)})
        shown = ", ".join(names[:_MAX_SHOWN]) or "nothing"
        more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
        raise DataError(f"no file matches {pattern.path!r}; {pattern.folder}/ holds {shown}{more}")
    return sorted(found, key=lambda file: file.url)


class RemoteFolders:
    """Folders of remote storage, with retries."""

    def __init__(self, retries: Retries) -> None:
        """List with this retry policy."""
        self._retries = retries

    def entries(self, folder: str) -> list[tuple[str, dict[str, Any]]]:
        """List a folder's names and their details.

        Raises:
            DataError: If it cannot be listed.
        """
        return _entries(folder, self._retries)

    def is_folder(self, folder: str, entry: dict[str, Any]) -> bool:
        """Return whether the server reports a folder."""
        return bool(entry["type"] == "directory")


def _listed(url: Url, entry: dict[str, Any], retries: Retries) -> RemoteFile:
    if text := url_problem(url.text):
        raise DataError(f"{url.text!r} is listed and cannot be read: {text}; rename the file")
    if entry.get("size") is None:
        return retries.call(lambda: describe_file(url), f"{url}: cannot be found")
    return _from_details(url, entry)


def _entries(folder: str, retries: Retries) -> list[tuple[str, dict[str, Any]]]:
    scheme, _, rest = folder.partition("://")
    filesystem, is_http = file_system(scheme), is_web(folder)

    def listed() -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = (
            filesystem.ls(f"{folder}/", detail=True)
            if is_http
            else filesystem.ls(folder, detail=True, refresh=True)
        )
        if is_http and not entries:
            raise FileNotFoundError(folder)
        return entries

    try:
        entries = retries.call(listed, f"{folder}/: cannot be listed")
    except DataError as error:
        if not is_http:
            raise
        text = (
            "the server must return a page of links for the folder; otherwise name the files one "
            "by one"
        )
        raise DataError(f"{error}; {text}") from error
    # A file or an empty key of the folder's own name is listed as if it were in it.
    named = [
        (entry["name"].rstrip("/").rsplit("/", 1)[-1], entry)
        for entry in entries
        if entry["name"].rstrip("/") != rest
    ]
    return [(name, entry) for name, entry in named if name not in ("", ".", "..")]


def _from_details(url: Url, details: dict[str, Any]) -> RemoteFile:
    if details.get("type") == "directory":
        raise DataError(f"{url}: is a folder; name its files, as in {url}/*.jsonl.zst")
    lfs = details.get("lfs") or {}
    version = details.get("ETag") or lfs.get("sha256") or details.get("blob_id")
    return RemoteFile(url, int(details["size"]), version)


@lru_cache
def file_system(scheme: str) -> Any:
    """Return the file system of a scheme; credentials and endpoints come from the environment.

    Its own retries, if any, are disabled: attempts would multiply.
    """
    try:
        import fsspec

        if scheme == "s3":
            config = {
                "connect_timeout": TIMEOUT_S,
                "read_timeout": TIMEOUT_S,
                "retries": {"total_max_attempts": 1, "mode": "standard"},
            }
            filesystem = fsspec.filesystem(
                "s3", skip_instance_cache=True, use_listings_cache=False, config_kwargs=config
            )
            filesystem.retries = 1
            return filesystem
        if scheme == "hf":
            import aiohttp

            return fsspec.filesystem("hf", skip_instance_cache=True, use_listings_cache=False)
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, connect=TIMEOUT_S, sock_read=TIMEOUT_S)
        trace = aiohttp.TraceConfig()
        trace.on_request_redirect.append(_check_redirect)
        client = {
            "timeout": timeout,
            "auto_decompress": False,
            "trust_env": True,
            "trace_configs": [trace],
        }
        return fsspec.filesystem("http", skip_instance_cache=True, client_kwargs=client)
    except ImportError as error:
        raise ConfigError(
            f"{scheme}:// needs packages that are not installed ({error}): "
            f"pip install 'linly[remote]'"
        ) from error


async def _check_redirect(_session: Any, _context: Any, redirect: Any) -> None:
    """Check a redirect of a web request before it is followed."""
    from yarl import URL

    headers = redirect.response.headers
    target = redirect.url.join(URL(headers.get("Location") or headers.get("URI") or ""))
    if text := redirect_problem(str(redirect.url), str(target)):
        raise DataError(text)


def _fetch_s3(file: RemoteFile, start: int, size: int) -> bytes:
    from fsspec.asyn import sync

    filesystem = file_system("s3")
    bucket, key, _ = filesystem.split_path(file.url.text)
    same = {} if file.version is None else {"IfMatch": file.version}
    last = start + size - 1
    response = filesystem.call_s3(
        "get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{last}", **same
    )
    body = response["Body"]
    try:
        data: bytes = sync(filesystem.loop, _what_comes, body.read)
    finally:
        body.close()
    return data


def _fetch_http(file: RemoteFile, start: int, size: int) -> bytes:
    headers = {"Range": f"bytes={start}-{start + size - 1}"}
    if file.url.scheme != "hf" and file.version is not None and file.version.startswith('"'):
        headers["If-Match"] = file.version  # a weak ETag never matches

    async def read(response: Any) -> bytes:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status != 206 or found is None or found[1] is None or int(found[1]) != start:
            raise _no_ranges(file.url)
        if int(found[2]) != file.size_bytes:
            raise DataError(
                f"{file.url}: has {int(found[2]):,} bytes now, but had {file.size_bytes:,} when "
                f"it was opened: it changed while it was read"
            )
        return await _what_comes(response.content.read)

    data: bytes = _get(file.url, headers, read)
    return data


def _describe_http(url: Url) -> RemoteFile:
    """Request a file's first byte: it shows the size, and that the server supports ranges."""

    async def read(response: Any) -> RemoteFile:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status not in (206, 416) or found is None:
            raise _no_ranges(url)
        return RemoteFile(url, int(found[2]), response.headers.get("ETag"))

    file: RemoteFile = _get(url, {"Range": "bytes=0-0"}, read)
    return file


def _get(url: Url, headers: dict[str, str], read: Callable[[Any], Awaitable[Any]]) -> Any:
    """Send a GET and read the response; hf:// files are read at the address that the hub names."""
    from fsspec.asyn import sync

    filesystem = file_system("http")
    address = url.text
    headers = headers | {"Accept-Encoding": "identity"}
    if url.scheme == "hf":
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        address = file_system("hf").url(url.text)
        headers = build_hf_headers() | headers

    async def get() -> Any:
        session = await filesystem.set_session()
        async with session.get(filesystem.encode_url(address), headers=headers) as response:
            if response.status != 416:
                response.raise_for_status()
            return await read(response)

    return sync(filesystem.loop, get)


async def _what_comes(read: Callable[[int], Awaitable[bytes]]) -> bytes:
    """Read all of a body, or the part received before the connection was lost."""
    data = bytearray()
    try:
        while chunk := await read(_CHUNK_BYTES):
            data += chunk
    except Exception as error:
        if not data or status_of(error) is not None:
            raise
    if not data:
        raise ShortRead("the body was empty")
    return bytes(data)


def _no_ranges(url: Url) -> DataError:
    return DataError(
        f"{url}: its server does not support range requests (no status 206), so a dropped transfer "
        f"could not continue; move the file to a server that does, or copy it below data_root"
    )
