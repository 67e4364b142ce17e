"""The one place where secrets are removed from text that leaves the process, or enters it from the API."""

import html
import json
import re
import threading
from collections.abc import Iterator
from functools import cache
from html.entities import html5
from typing import AnyStr
from urllib.parse import quote

REPLACEMENT = "[redacted]"

_BYTES = "surrogateescape"  # how Python keeps what is not UTF-8, in the environment too
_MIN_LENGTH = 6  # a shorter secret would redact ordinary words
_GAP = r"(?:\s|\\[nrtbf])*+"  # what may be between two characters, also as an escape of JSON
_JSON_ESCAPE = re.compile(rb"\\(?:u00[2-7]|/)")
_ESCAPES = re.compile(rb"(?:%[2-7][0-9a-fA-F]|&#[xX]?[0-9a-fA-F]{2,4};){3}")


class Redaction:
    """Replaces the secrets in use, also if they are escaped or broken up by white space.

    Called with text or bytes, it returns the same without secrets.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._patterns: dict[str, re.Pattern[str]] = {}  # by secret, the longest first
        self._signs: frozenset[bytes] = frozenset()

    def add(self, *secrets: str) -> None:
        """Adds secrets: API keys, passwords. Those in use before stay secret."""
        with self._lock:  # each account adds its key from a thread of its own
            new = {secret for secret in secrets if len(secret) >= _MIN_LENGTH} - self._patterns.keys()
            if new:
                patterns = self._patterns | {secret: re.compile(_GAP.join(map(_written, secret))) for secret in new}
                self._signs |= {sign.encode("utf-8", _BYTES) for secret in new for sign in _signs(secret)}
                self._patterns = {secret: patterns[secret] for secret in sorted(patterns, key=len, reverse=True)}

    def __call__(self, text: AnyStr, /) -> AnyStr:
        """The text without secrets."""
        if isinstance(text, str):
            return self._text(text)
        return self._body(text)

    def _text(self, text: str) -> str:
        for pattern in self._patterns.values():
            text = pattern.sub(REPLACEMENT, text)
        return text

    def _body(self, body: bytes) -> bytes:
        # Bodies are megabytes: they are read closely only if there is a sign of a secret, or many escapes.
        # A single byte is found several times faster than two, or than a pattern.
        if (
            any(sign in body for sign in self._signs)
            or (b"\\" in body and _JSON_ESCAPE.search(body))
            or ((b"%" in body or (b"&" in body and b"&#" in body)) and _ESCAPES.search(body))
        ):
            text = body.decode("utf-8", _BYTES)
            return self._text(text).encode("utf-8", _BYTES)
        return body


def _signs(secret: str) -> Iterator[str]:
    """What a body has in which the secret is written in a usual way: the secret as it is escaped, or, as it may be
    broken up in one or two places, a third of it."""
    yield from {quote(secret, safe="", errors=_BYTES), html.escape(secret)} - {secret}  # its thirds find the secret
    for form in {secret, json.dumps(secret)[1:-1]}:
        size = max(len(form) // 3, _MIN_LENGTH)
        yield from (form[start : start + size] for start in {*range(0, len(form) - size, size), len(form) - size})


@cache
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
