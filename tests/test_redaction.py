"""Secrets are removed from whatever leaves the process, whichever way they are written."""

import html
import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.redaction import REPLACEMENT, Redaction
from tests.programs import ExporterProcess, fetch
from tests.support import KEY, Wire, http, job, jobs_json

SECRET = 'sk-live/a+b="c"&d'
WRITTEN = {
    "as it is": SECRET,
    "in JSON": json.dumps(SECRET),
    "in JSON with every character escaped": "".join(f"\\u{ord(character):04x}" for character in SECRET),
    "in JSON with slashes escaped": SECRET.replace("/", "\\/"),
    "in a URL": quote(SECRET, safe=""),
    "in HTML": html.escape(SECRET),
    "in HTML with numbers": "".join(f"&#{ord(character)};" for character in SECRET),
    "broken up by white space": " \n\t".join([SECRET[:5], SECRET[5:]]),
    "broken up by escaped white space": "\\n".join([SECRET[:5], SECRET[5:]]),
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN.keys())
def test_a_secret_is_replaced_however_it_is_written(text: str) -> None:
    redact = Redaction()
    redact.add("another-secret", SECRET)
    assert redact(f"before {text} after").strip('"').replace('"', "") == f"before {REPLACEMENT} after"


def test_a_body_is_redacted_like_a_text() -> None:
    redact = Redaction()
    redact.add(SECRET)
    assert redact(json.dumps({"error": SECRET.replace('"', "'") + SECRET}).encode()).count(b"redacted") == 1
    assert SECRET.encode() not in redact(b"\xff" + SECRET.encode())


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN.keys())
def test_a_body_is_redacted_however_the_secret_is_written(text: str) -> None:
    redact = Redaction()
    redact.add("another-secret", SECRET)
    assert redact(f"before {text} after".encode()).decode().replace('"', "") == f"before {REPLACEMENT} after"


def test_a_text_of_megabytes_with_parts_of_a_secret_takes_no_time_or_memory_to_speak_of() -> None:
    redact = Redaction()
    redact.add(SECRET)
    body = (SECRET[:12] + " " * 5000).encode() * 1000
    tracemalloc.start()
    try:
        assert redact(body) == body
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(body)


def test_secrets_that_are_added_at_the_same_time_are_all_known() -> None:
    redact = Redaction()
    secrets = [f"the-secret-of-thread-{number}" * 5 for number in range(20)]
    with ThreadPoolExecutor(len(secrets)) as threads:
        list(threads.map(redact.add, secrets))
        list(threads.map(redact.add, secrets))
    assert redact(" ".join(secrets)) == " ".join([REPLACEMENT] * len(secrets))


def test_secrets_of_before_stay_secret() -> None:
    redact = Redaction()
    redact.add("the-first-key")
    redact.add("the-second-key")
    assert redact("the-first-key the-second-key") == f"{REPLACEMENT} {REPLACEMENT}"


def test_a_secret_that_is_not_utf_8_is_replaced_like_any_other() -> None:
    redact = Redaction()
    redact.add("pass\udcffword")  # how Python reads such a variable
    assert redact("a pass\udcffword") == f"a {REPLACEMENT}"
    assert redact(b"a pass\xffword") == f"a {REPLACEMENT}".encode()


@given(st.text())
def test_a_text_without_secrets_stays_as_it_is(text: str) -> None:
    redact = Redaction()
    redact.add(SECRET)
    assert redact(text) == text


@pytest.mark.parametrize(
    "answer",
    [
        http(KEY),
        http(json.dumps({"data": KEY})),
        http(json.dumps([KEY])),
        http(f'"{KEY}"', "401 Unauthorized"),
        http("", "302 Found", Location=f"http://{KEY}.example/{KEY}?{KEY}"),
        http(jobs_json(job(KEY, KEY, suffix=KEY, model=f"a {KEY} b", events=[{"type": KEY, "level": KEY}]))),
        http(jobs_json({"id": KEY}, KEY)),
        f"HTTP/1.1 200 OK\r\n{KEY}\r\n{KEY}: {KEY}\r\nContent-Length: x{KEY}\r\n\r\n{KEY}".encode(),
        f"{KEY}\r\n\r\n".encode(),
    ],
    ids=["text", "no list", "a JSON list", "401", "redirect", "a job", "rejected", "odd headers", "no HTTP"],
)
def test_an_api_that_echoes_the_key_does_not_make_it_public(wire: Wire, answer: bytes) -> None:
    wire.answer = answer
    env = {"TOGETHER_API_KEY": KEY, "TOGETHER_BASE_URL": wire.url}
    with ExporterProcess("--log.level=debug", "--poll.interval=100ms", **env) as exporter:
        exporter.line("duration=")  # of a poll, successful or not
        pages = [fetch(f"{exporter.url}{path}") for path in ("/", "/metrics", "/jobs.json", "/-/healthy", "/sd")]
    assert KEY in wire.requests[0]
    assert KEY not in "".join([*exporter.lines, *pages])
