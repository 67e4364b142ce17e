"""The one place where secrets are removed from text that leaves the process, or enters it from the API."""

import json
import re
from html.entities import html5
from typing import AnyStr

REPLACEMENT = "[redacted]"

_MIN_LENGTH = 6  # a shorter secret would redact ordinary words
_NAMED = "|".join(name for name, text in html5.items() if name.endswith(";") and text in set("&<>\"'/\\%+=-_"))
# White space, and the escapes of JSON, URLs and HTML: what may stand for a character of a secret, or between two.
_ESCAPE = re.compile(
    rf"""\s+ | \\u00(?P<json>[0-9a-fA-F]{{2}}) | %(?P<url>[0-9a-fA-F]{{2}}) | \\(?P<char>.)
    | &\#[xX](?P<hex>[0-9a-fA-F]{{1,4}}); | &\#(?P<dec>[0-9]{{1,4}}); | &(?P<name>{_NAMED})""",
    re.VERBOSE | re.DOTALL,
)
_JSON_ESCAPE = re.compile(rb"\\(?:u00[2-7]|/)")


class Redaction:
    """Replaces the secrets in use, also if they are escaped or broken up by white space.

    Called with text or bytes, it returns the same without secrets.
    """

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()

    def add(self, *secrets: str) -> None:
        """Adds secrets: API keys, passwords. Those in use before stay secret."""
        new = {secret for secret in (*self._secrets, *secrets) if len(secret) >= _MIN_LENGTH}
        self._secrets = tuple(sorted(new, key=len, reverse=True))

    def __call__(self, text: AnyStr, /) -> AnyStr:
        """The text without secrets."""
        if isinstance(text, str):
            return self._text(text)
        return self._body(text)

    def _body(self, body: bytes) -> bytes:
        # Bodies are megabytes: they are decoded only if a secret is in them, or escapes that JSON does not need.
        written = (form.encode() for secret in self._secrets for form in (secret, json.dumps(secret)[1:-1]))
        if not any(form in body for form in written) and not _JSON_ESCAPE.search(body):
            return body
        return self._text(body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def _text(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, REPLACEMENT)
        plain = _ESCAPE.sub(_decoded, text)
        if any(secret in plain for secret in self._secrets):
            return self._escaped(text)
        return text

    def _escaped(self, text: str) -> str:
        """Redacts what becomes a secret only when its escapes are decoded."""
        plain: list[str] = []
        spans: list[tuple[int, int]] = []  # of each character of `plain`, in `text`
        at = 0
        for match in (*_ESCAPE.finditer(text), None):
            start, end = match.span() if match else (len(text), len(text))
            plain += text[at:start]
            spans += ((index, index + 1) for index in range(at, start))
            for character in _decoded(match) if match else "":
                plain.append(character)
                spans.append((start, end))
            at = end
        decoded, found = "".join(plain), []
        for secret in self._secrets:
            found += [match.span() for match in re.finditer(re.escape(secret), decoded)]
        for first, last in sorted(found, reverse=True):
            text = text[: spans[first][0]] + REPLACEMENT + text[spans[last - 1][1] :]
        return text


def _decoded(match: re.Match[str]) -> str:
    kind, value = match.lastgroup, match[match.lastgroup] if match.lastgroup else ""
    match kind:
        case "json" | "url" | "hex":
            return chr(int(value, 16))
        case "dec":
            return chr(int(value))
        case "char":
            return "" if value in "nrtbf" else value
        case "name":
            return html5[value]
    return ""
