"""The bytes of a list as the bytes of its jobs, so that a job that did not change need not be parsed again."""

import json
import re
from collections.abc import Iterator

# The start of the array and of its first object, up to the name of that object's first field.
_START = re.compile(rb'[^\[]*\[\s*(\{\s*"[^"\\]*")')


def split(body: bytes) -> Iterator[bytes]:
    """The objects in the array `data` of a JSON object, each as it is written; none if there are none, or if they
    cannot be told apart so simply.

    The array is cut where an object ends and the next one starts with the same field as the first. That can cut in the
    wrong place, but never unnoticed: if every piece is an object by itself, these are the objects of the array.
    """
    start = _START.match(body)
    if start is None:
        return
    at, opening = start.span(1)[0], start[1]
    last = body.rfind(b"]")
    end = body.rfind(b"}", at, last) + 1
    if end <= at or body[end:last].strip() or not _is_all(body[:at] + b"0" + body[last:]):
        return
    cut = re.compile(rb"\}\s*,\s*" + re.escape(opening)).search(body, at, end)
    if cut is not None:
        skipped = len(cut[0]) - len(opening)
        while (found := body.find(cut[0], at, end)) >= 0:
            yield body[at : found + 1]
            at = found + skipped
    yield body[at:end]


def _is_all(frame: bytes) -> bool:
    """Whether the zero in the place of the objects is all that `data` has."""
    try:
        document = json.loads(frame)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("data") == [0]
