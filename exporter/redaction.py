"""The one place where secrets are removed from text that leaves the process, or enters it from the API."""

import html
import json
import re
from collections.abc import Iterator
from html.entities import html5
from typing import AnyStr
from urllib.parse import quote

REPLACEMENT = "[redacted]"

_MIN_LENGTH = 6  # a shorter secret would redact ordinary words
_GAP = r"(?:\s|\\[nrtbf])*+"  # what may be between two characters, also as an escape of JSON
_JSON_ESCAPE = re.compile(rb"\\(?:u00[2-7]|/)")
_ESCAPES = re.compile(rb"(?:%[2-7][0-9a-fA-F]|&#[xX]?[0-9a-fA-F]{2,4};){3}")


class Redaction:
    """Replaces the secrets in use, also if they are escaped or broken up by white space.

    Called with text or bytes, it returns the same without secrets.
    """

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()
        self._signs: frozenset[bytes] = frozenset()
        self._written = re.compile(r"(?!)")

    def add(self, *secrets: str) -> None:
        """Adds secrets: API keys, passwords. Those in use before stay secret."""
        new = {secret for secret in (*self._secrets, *secrets) if len(secret) >= _MIN_LENGTH}
        if new != set(self._secrets):
            self._secrets = tuple(sorted(new, key=len, reverse=True))
            self._signs = frozenset(sign.encode() for secret in new for sign in _signs(secret))
            self._written = re.compile("|".join(_GAP.join(map(_written, secret)) for secret in self._secrets))

    def __call__(self, text: AnyStr, /) -> AnyStr:
        """The text without secrets."""
        if isinstance(text, str):
            return self._written.sub(REPLACEMENT, text)
        return self._body(text)

    def _body(self, body: bytes) -> bytes:
        # Bodies are megabytes: they are read closely only if there is a sign of a secret, or many escapes.
        if (
            any(sign in body for sign in self._signs)
            or _JSON_ESCAPE.search(body)
            or ((b"%" in body or b"&#" in body) and _ESCAPES.search(body))
        ):
            text = body.decode("utf-8", "surrogateescape")
            return self._written.sub(REPLACEMENT, text).encode("utf-8", "surrogateescape")
        return body


def _signs(secret: str) -> Iterator[str]:
    """What a body has in which the secret is written in a usual way: the secret as it is escaped, or, as it may be
    broken up in one or two places, a third of it."""
    yield from (quote(secret, safe=""), html.escape(secret))
    for form in {secret, json.dumps(secret)[1:-1]}:
        size = max(len(form) // 3, _MIN_LENGTH)
        yield from (form[start : start + size] for start in {*range(0, len(form) - size, size), len(form) - size})


def _written(character: str) -> str:
    """A regular expression for the ways to write a character: as it is, and as JSON, URLs and HTML escape it."""
    code = f"{ord(character):x}"
    names = "|".join(name for name, text in html5.items() if text == character and name.endswith(";"))
    forms = [
        re.escape(character),
        rf"\\{re.escape(character)}",
        rf"(?i:\\u{code:0>4})",
        rf"(?i:%{code:0>2})",
        rf"(?i:&\#x0*{code};)",
        rf"&\#0*{ord(character)};",
        *([f"&(?:{names})"] if names else []),
    ]
    return f"(?:{'|'.join(forms)})"
