"""The bytes of a list as the bytes of its jobs, so that a job that did not change need not be parsed again."""

import json
import re

# The start of the array and of its first object, up to the name of that object's first field.
_START = re.compile(rb'[^\[]*\[\s*(\{\s*"[^"\\]*")')


def split(body: bytes) -> tuple[bytes, list[bytes]]:
    """The objects in the array `data` of a JSON object: what each of them starts with, and the rest of each but for its
    closing brace. None if there are none, or if they cannot be told apart so simply.

    The array is cut where an object ends and the next one starts with the same field as the first. That can cut in the
    wrong place, but never unnoticed: if every piece is an object by itself, these are the objects of the array.
    """
    start = _START.match(body)
    last = body.rfind(b"]")
    end = body.rfind(b"}", 0, last)
    if start is None or end < start.end() or body[end + 1 : last].strip():
        return b"", []
    if not _is_all(body[: start.start(1)] + b"0" + body[last:]):
        return b"", []
    opening = start[1]
    cut = re.compile(rb"\}\s*,\s*" + re.escape(opening)).search(body, start.end(), end)
    items = body[start.end() : end]
    return opening, items.split(cut[0]) if cut else [items]


def _is_all(frame: bytes) -> bool:
    """Whether the zero in the place of the objects is all that `data` has."""
    try:
        document = json.loads(frame)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("data") == [0]
