"""URLs that a corpus may name: s3://, hf://datasets/ and https:// only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

SCHEMES = ("s3", "hf", "https")
URL_FORM = (
    "s3://bucket/..., hf://datasets/org/name/..., https://host/... (http:// only for localhost)"
)

_LOCAL_HOSTS = ("localhost", "127.0.0.1")
_MAGIC = frozenset("*?[")
_WEB = ("http", "https")
_UNQUOTED = "%/!$&'()*+,;=:@~[]?#"
"""Characters that are not quoted in a URL: those with a meaning, and `%` of quoted ones."""


@dataclass(frozen=True, slots=True, order=True)
class Url:
    """A remote file; its text has passed `url_problem`."""

    text: str

    @property
    def scheme(self) -> str:
        """Scheme, such as `s3`."""
        return self.text.partition("://")[0]

    def __str__(self) -> str:
        """Return the text as written."""
        return self.text


Location = Path | Url


def is_url(text: str) -> bool:
    """Return whether a path or pattern is a URL, allowed or not."""
    return "://" in text


def is_web(text: str) -> bool:
    """Return whether a path, pattern or URL is http or https, whose names may be quoted (%20)."""
    return text.partition("://")[0] in _WEB and is_url(text)


def quoted(url: str) -> str:
    """Quote a web URL as ASCII, keeping what is quoted already; return others unchanged."""
    return quote(url, safe=_UNQUOTED) if is_web(url) else url


def unquoted(text: str) -> str:
    """Return the unquoted name of a part of a web URL; a slash in it stays quoted."""
    return unquote(text, errors="surrogateescape").replace("/", "%2F")


def name_of(path: str) -> str:
    """Return a name that is equal for all spellings of a web URL; return other paths unchanged."""
    if not is_web(path):
        return path
    scheme, _, rest = path.partition("://")
    server, *parts = rest.split("/")
    return "/".join([f"{scheme}://{server.lower()}", *map(unquoted, parts)])


def url_problem(text: str) -> str | None:
    """Return why a URL, which may be a pattern, is not allowed; None if it is.

    A URL must not contain secrets (a run records the shards it read): no user, password or query.
    fsspec's chained URLs are refused too, since they could open anything.
    """
    scheme, _, rest = text.partition("://")
    if "::" in text or "://" in rest:
        return "chained URLs are not allowed"
    if not text.isprintable() or "\\" in text:
        return "it holds a control character or a backslash"
    host, _, path = rest.partition("/")
    if scheme == "http":
        if urlsplit(text).hostname not in _LOCAL_HOSTS:
            return "http:// is allowed only for localhost: its content could be changed in transit"
    elif scheme not in SCHEMES:
        return f"scheme {scheme!r} is not allowed"
    if not host or _MAGIC & set(host):
        return "it has no host or bucket"
    if any(part in ("", ".", "..") for part in unquote(path).split("/")):
        return "a part of its path is empty, '.' or '..'"
    if scheme in _WEB and set(rest) & set("?#@"):
        return "a user, a query or '?' is not allowed in it"
    if scheme == "hf" and (host != "datasets" or path.count("/") < 2):
        return "it does not name a file of a dataset"
    return None


def redirect_problem(source: str, target: str) -> str | None:
    """Return why a server may not redirect a request to a web address; None if it may.

    Hubs redirect to other hosts, over https. Localhost may redirect to itself.
    """
    here, there = urlsplit(source), urlsplit(target)
    is_local = {here.hostname, there.hostname} <= {*_LOCAL_HOSTS}
    if there.scheme == "https" or (here.scheme == there.scheme == "http" and is_local):
        return None
    return f"{source} redirects to {target}; allowed: https, or localhost to localhost"
