"""The URLs that a corpus may name: s3://, hf://datasets/, https://; none that leads elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

SCHEMES = ("s3", "hf", "https")
URL_FORM = (
    "s3://bucket/..., hf://datasets/org/name/..., https://host/... (http:// for localhost alone)"
)

_LOCAL_HOSTS = ("localhost", "127.0.0.1")
_MAGIC = frozenset("*?[")
_WEB = ("http", "https")
_UNQUOTED = "%/!$&'()*+,;=:@~[]?#"
"""What stays as it is when a URL is quoted: what has a meaning in one, and what is quoted."""


@dataclass(frozen=True, slots=True, order=True)
class Url:
    """A remote file; its text has passed `url_problem`."""

    text: str

    @property
    def scheme(self) -> str:
        """Such as `s3`."""
        return self.text.partition("://")[0]

    def __str__(self) -> str:
        """As written."""
        return self.text


Location = Path | Url


def is_url(text: str) -> bool:
    """Whether a path or pattern is a URL, allowed or not."""
    return "://" in text


def is_web(text: str) -> bool:
    """Whether a path, pattern or URL is of http or https, whose names may be quoted (%20)."""
    return text.partition("://")[0] in _WEB and is_url(text)


def quoted(url: str) -> str:
    """A web URL in ASCII, what is quoted in it left so; another as it is."""
    return quote(url, safe=_UNQUOTED) if is_web(url) else url


def unquoted(text: str) -> str:
    """The name that a part of a web URL stands for; a slash in it stays quoted."""
    return unquote(text, errors="surrogateescape").replace("/", "%2F")


def name_of(path: str) -> str:
    """A name that is the same for every way to write a web URL; of another path, the path."""
    if not is_web(path):
        return path
    scheme, _, rest = path.partition("://")
    server, *parts = rest.split("/")
    return "/".join([f"{scheme}://{server.lower()}", *map(unquoted, parts)])


def url_problem(text: str) -> str | None:
    """Why a URL, which may be a pattern, is not allowed; None when it is.

    Secrets have no place in one (the run writes down which shards it read): no user, password or
    query. Neither have fsspec's chained URLs, which would open anything from within.
    """
    scheme, _, rest = text.partition("://")
    if "::" in text or "://" in rest:
        return "chained URLs are not allowed"
    if not text.isprintable() or "\\" in text:
        return "it holds a control character or a backslash"
    host, _, path = rest.partition("/")
    if scheme == "http":
        if urlsplit(text).hostname not in _LOCAL_HOSTS:
            return "http:// is for localhost alone: what comes over it could be changed on the way"
    elif scheme not in SCHEMES:
        return f"scheme {scheme!r} is not allowed"
    if not host or _MAGIC & set(host):
        return "it names no host or bucket"
    if any(part in ("", ".", "..") for part in unquote(path).split("/")):
        return "a part of its path is empty, '.' or '..'"
    if scheme in _WEB and set(rest) & set("?#@"):
        return "a user, a query or '?' is not allowed in it"
    if scheme == "hf" and (host != "datasets" or path.count("/") < 2):
        return "it names no file of a dataset"
    return None


def redirect_problem(source: str, target: str) -> str | None:
    """Why a server may not send a request on from one web address to another; None when it may.

    Hubs send files on to other hosts, over https. Localhost may send on to itself.
    """
    here, there = urlsplit(source), urlsplit(target)
    is_local = {here.hostname, there.hostname} <= {*_LOCAL_HOSTS}
    if there.scheme == "https" or (here.scheme == there.scheme == "http" and is_local):
        return None
    return f"{source} is sent on to {target}: allowed is https, and from localhost localhost"
