"""The files of the page and their headers."""

import gzip
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from importlib.resources import files

HEADERS = [
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),  # a browser may keep it, but has to ask whether it is still current
    ("Vary", "Accept-Encoding"),
]

_TYPES = {"css": "text/css", "html": "text/html", "js": "text/javascript"}


@dataclass(frozen=True)
class Document:
    """A file of the page, or the JSON behind it."""

    body: bytes
    content_type: str = "application/json"

    @cached_property
    def etag(self) -> str:
        """The header `ETag`; weak, because the plain body and the compressed one share it."""
        return f'W/"{blake2b(self.body, digest_size=16).hexdigest()}"'

    @cached_property
    def compressed(self) -> bytes:
        """The body in gzip's format."""
        return gzip.compress(self.body, mtime=0)


def asset(name: str) -> Document:
    """A file of this package."""
    return Document(files(__package__).joinpath(name).read_bytes(), f"{_TYPES[name.partition('.')[2]]}; charset=utf-8")
