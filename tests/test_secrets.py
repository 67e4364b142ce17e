"""Secrets planted wherever they can be put, rightly or by mistake, are found in no output.

Each table has a row for a place. `{s}` stands for the secret, `{j}` for the same as a JSON string, `{d}` for a folder.
"""

import base64
import gzip
import html
import itertools
import json
import re
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

import bcrypt
import pytest

from tests.certificates import Authority
from tests.conftest import need
from tests.programs import ExporterProcess, wait_for
from tests.support import Wire, http, job, jobs_json

SECRETS = {"a key": "tgp_v1_Zx81vQ0hT2kLw94mB7nYc3RdS5uE", "odd characters": 'sk-live/7a+b="c"&d#9f3e@77%41h'}
COMMANDS = (("--config.check",), ("--once",), ("status",), ())


def plain(text: str) -> str:
    """The text without the escapes of JSON, URLs and HTML and without white space: what an attacker would look at."""
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
    text = re.sub(r"\\[nrtbf]|\\(.)", r"\1", text)
    return re.sub(r"\s+", "", html.unescape(unquote(text)))


def check_no_secret(text: str, *secrets: str) -> None:
    """Fails if one of the secrets is in the text, however it is written."""
    for secret in secrets:
        assert secret not in text
        if secret in plain(text) or plain(secret) in plain(text):
            lines = [line for line in text.splitlines() if secret in plain(line) or plain(secret) in plain(line)]
            raise AssertionError(f"an escaped or split secret: {lines[:3] or text}")


# ----------------------------------------------------------------------------------------------- configuration mistakes


@dataclass(frozen=True)
class Place:
    """Where a secret is put: in flags, variables, or the files `exporter.yml`, `web.yml` and `key`."""

    flags: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    web: str = ""
    key: str = ""

    def put(self, folder: Path, secret: str) -> tuple[list[str], dict[str, str]]:
        """Writes the files. Returns the flags and the variables."""

        def with_secret(text: str) -> str:
            return text.replace("{s}", secret).replace("{j}", json.dumps(secret)).replace("{d}", str(folder))

        flags = [with_secret(flag) for flag in self.flags]
        for name, text, flag in (
            ("exporter.yml", self.config, "--config.file"),
            ("web.yml", self.web, "--web.config.file"),
        ):
            if text:
                (folder / name).write_text(with_secret(text))
                flags.append(f"{flag}={folder / name}")
        if self.key:
            (folder / "key").write_text(with_secret(self.key))
            (folder / "key").chmod(0o600)
        return flags, {name: with_secret(value) for name, value in self.environ.items()}


def _in_flag(*flags: str) -> Place:
    return Place(flags, {"TOGETHER_API_KEY": "k"})


def _in_file(text: str) -> Place:
    return Place(config=text, environ={"TOGETHER_API_KEY": "k"})


def _in_web_file(text: str) -> Place:
    return Place(web=text, environ={"TOGETHER_API_KEY": "k"})


# fmt: off
MISTAKES: Mapping[str, Place] = {
    "a flag for the key": _in_flag("--together.api-key={s}"),
    "a flag for the key, apart": _in_flag("--together.api-key", "{s}"),
    "a flag for the key, without =": _in_flag("--together.api-key{s}"),
    "a misspelt flag": _in_flag("--together.api-kye-file={s}"),
    "an argument": _in_flag("{s}"),
    "an argument like a flag": _in_flag("--{s}"),
    "the flag of a duration": _in_flag("--poll.interval={s}"),
    "the flag of a number": _in_flag("--jobs.limit={s}"),
    "the flag of a switch": _in_flag("--once={s}"),
    "the flag of a choice": _in_flag("--log.level={s}"),
    "the flag of an address": _in_flag("--web.listen-address={s}"),
    "the flag of a path": _in_flag("--web.telemetry-path={s}"),
    "the flag of a file": _in_flag("--config.file={s}"),
    "the flag of the web file": _in_flag("--web.config.file={s}"),
    "the flag of thresholds": _in_flag("--alerts.stuck-after={s}=1h"),
    "the flag of a regular expression": _in_flag("--metrics.exclude=({s}"),
    "the flag of the key file": _in_flag("--together.api-key-file={s}"),
    "the variable of the key file": Place(environ={"TOGETHER_API_KEY_FILE": "{s}"}),
    "the variable of a duration": Place(environ={"TOGETHER_EXPORTER_POLL_INTERVAL": "{s}", "TOGETHER_API_KEY": "k"}),
    "a key of two words": Place(environ={"TOGETHER_API_KEY": "{s} {s}"}),
    "a key file of two words": Place(environ={"TOGETHER_API_KEY_FILE": "{d}/key"}, key="{s}\n{s}\n"),
    "a key file that is too large": Place(environ={"TOGETHER_API_KEY_FILE": "{d}/key"}, key="{s}" * 500),
    "the user of the base URL": _in_flag("--together.base-url=https://{s}@api.example/v1"),
    "the password of the base URL": Place(
        environ={"TOGETHER_BASE_URL": "https://me:{s}@api.example/v1", "TOGETHER_API_KEY": "k"}
    ),
    "the query of the base URL": _in_flag("--together.base-url=https://api.example/v1?api_key={s}"),
    "the fragment of the base URL": _in_flag("--together.base-url=https://api.example/v1#{s}"),
    "the password of a link": _in_flag("--web.grafana-url=https://me:{s}@grafana.example"),
    "a variable and an unknown one": Place(
        environ={"TOGETHER_EXPORTER_API_KEY": "{s}", "TOGETHER_EXPORTER_POLL_INTERVAL": "{s}"}
    ),
    "api_key of an account": _in_file("accounts: [{name: a, api_key: {j}}]"),
    "api-key of an account": _in_file("accounts: [{name: a, api-key: {j}}]"),
    "api_key_env": _in_file("accounts: [{name: a, api_key_env: {j}}]"),
    "api_key_env and the key": Place(
        config="accounts: [{name: a, api_key_env: KEY_OF_A}]", environ={"KEY_OF_A": "{s} {s}"}
    ),
    "api_key_file": _in_file("accounts: [{name: a, api_key_file: {j}}]"),
    "api_key_file of all accounts": _in_file("together: {api-key-file: {j}}"),
    "api_key of all accounts": _in_file("together: {api-key: {j}}"),
    "base_url of an account": _in_file('accounts: [{name: a, api_key_env: A, base_url: "https://me:{s}@x/v1"}]'),
    "the query of base_url": _in_file("accounts: [{name: a, api_key_env: A, base_url: 'https://x/v1?k={s}'}]"),
    "a limit of an account": _in_file("accounts: [{name: a, api_key_env: A, failure_limit: {j}}]"),
    "a threshold of an account": _in_file("accounts: [{name: a, api_key_env: A, stuck_after: {{j}: 1h}}]"),
    "an account": _in_file("accounts: [{j}]"),
    "a value of the file": _in_file("poll: {interval: {j}}"),
    "an unknown key of the file": _in_file("{j}: 1"),
    "an unknown key of a section": _in_file("together: {{j}: 1}"),
    "an unknown key of an account": _in_file("accounts: [{name: a, api_key_env: A, {j}: 1}]"),
    "a key that is given twice": _in_file("{j}: 1\n{j}: 2\n"),
    "a file that is only the key": _in_file("{s}"),
    "a file that ends inside the key": _in_file('accounts: [{name: a, api_key_file: "{s}'),
    "an alias": _in_file("accounts: *{s}"),
    "a tag": _in_file("accounts: !{s} x"),
    "a tag with a handle": _in_file("accounts: !{s}!x y"),
    "an anchor": _in_file("accounts: &{s} [x]"),
    "a password instead of its hash": _in_web_file("basic_auth_users: {prometheus: {j}}"),
    "a password and a user, swapped": _in_web_file("basic_auth_users: {{j}: prometheus}"),
    "a password alone": _in_web_file("basic_auth_users: {j}"),
    "a password as an alias": _in_web_file("basic_auth_users: {prometheus: *{s}}"),
    "an unknown key of the web file": _in_web_file("{j}: 1"),
    "a key given twice in the web file": _in_web_file("{j}: 1\n{j}: 2"),
    "the TLS key without a certificate": _in_web_file("tls_server_config: {key: {j}}"),
    "a TLS key that is none": _in_web_file("tls_server_config: {cert: {j}, key: {j}}"),
    "a path of a TLS key": _in_web_file("tls_server_config: {cert_file: {j}, key_file: {j}}"),
    "a TLS setting": _in_web_file("tls_server_config: {cert_file: a, key_file: b, min_version: {j}}"),
    "a client authority": _in_web_file("tls_server_config: {cert_file: a, key_file: b, cipher_suites: [{j}]}"),
    "a header": _in_web_file("http_server_config: {headers: {{j}: x}}"),
    "the value of a header": _in_web_file("http_server_config: {headers: {X-Frame-Options: {j}}}"),
    "a rate": _in_web_file("rate_limit: {interval: {j}, burst: {j}}"),
}
# fmt: on


_FORKS = """
import json, os, signal, sys
import exporter.status
from exporter.__main__ import main

for line in sys.stdin:
    flags, environ, output = json.loads(line)
    if not (child := os.fork()):
        signal.alarm(30)
        for descriptor in (1, 2):
            os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
        os.environ.clear()
        os.environ.update(environ)
        sys.argv[1:] = flags
        code = main()
        sys.stdout.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

Command = Callable[[list[str], dict[str, str]], tuple[int, str]]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """Runs the command with these flags and variables, and returns its exit code and output. Each run is the child of a
    process that has imported everything: to start Python anew for each would take minutes."""
    output = tmp_path_factory.mktemp("output") / "output"
    with subprocess.Popen(
        [sys.executable, "-c", _FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout

        def run(flags: list[str], environ: dict[str, str]) -> tuple[int, str]:
            output.unlink(missing_ok=True)
            process.stdin.write(json.dumps([flags, environ, str(output)]) + "\n")  # type: ignore[union-attr]  # a pipe
            process.stdin.flush()  # type: ignore[union-attr]  # a pipe
            code = int(process.stdout.readline())  # type: ignore[union-attr]  # a pipe
            return code, output.read_text()

        yield run
        process.stdin.close()


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("place", MISTAKES.values(), ids=MISTAKES)
def test_a_secret_in_the_wrong_place_is_not_shown(place: Place, secret: str, tmp_path: Path, command: Command) -> None:
    flags, environ = place.put(tmp_path, secret)
    environ = {"TOGETHER_BASE_URL": "http://127.0.0.1:1/v1", **environ}
    reads_web_file = any(flag.startswith("--web.config.file") for flag in flags)
    for start in COMMANDS:
        if start == ("status",) and reads_web_file:
            continue  # it serves nothing
        code, output = command([*start, *flags], environ)
        assert (start, code) == (start, 2), output
        assert output
        assert "Traceback" not in output
        check_no_secret(output, secret)


# ----------------------------------------------------------------------------------------- what a running exporter says


@dataclass(frozen=True)
class Visitor:
    """A client of the exporter."""

    url: str
    authorization: str = ""
    context: ssl.SSLContext | None = None

    def ask(self, path: str, method: str = "GET", accept: str = "*/*") -> tuple[int, str]:
        """The status and all text of an answer."""
        headers = {"Authorization": self.authorization, "Accept": accept, "Accept-Encoding": "gzip"}
        request = urllib.request.Request(self.url + path, method=method, headers=headers)
        try:
            answer = urllib.request.urlopen(request, timeout=30, context=self.context)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            body = answer.read()
            if answer.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            return answer.status, f"{answer.headers}\n{body.decode()}"

    def everything(self) -> str:
        """All that the exporter serves, in both formats, and the answer to a reload."""
        paths = [
            "/",
            "/metrics",
            "/metrics?account=default",
            "/jobs.json",
            "/job",
            "/sd",
            "/-/healthy",
            "/-/ready",
            "/x",
        ]
        jobs = json.loads(self.ask("/jobs.json")[1].partition("\n\n")[2])["jobs"]
        paths += [f"/job.json?account={quote(job['account'])}&id={quote(job['id'])}" for job in jobs]
        found = [self.ask(path)[1] for path in paths]
        found.append(self.ask("/metrics", accept="application/openmetrics-text; version=1.0.0")[1])
        found.append(self.ask("/-/reload", method="POST")[1])
        return "\n".join(found)


def test_a_reload_that_fails_shows_no_secret(tmp_path: Path, wire: Wire) -> None:
    wire.answer = http(jobs_json())
    config = tmp_path / "exporter.yml"
    config.write_text("accounts: [{name: a, api_key_env: KEY_OF_A}]")
    flags = (f"--config.file={config}", "--web.enable-lifecycle", "--log.level=debug")
    mistakes = [place for place in MISTAKES.values() if place.config]
    answers: list[str] = []

    def failed(number: int) -> bool:
        return sum("reload failed" in line for line in exporter.lines) == number

    with ExporterProcess(*flags, KEY_OF_A="two words", TOGETHER_BASE_URL=wire.url) as exporter:
        assert exporter.end() == 2
    with ExporterProcess(*flags, KEY_OF_A="k", TOGETHER_BASE_URL=wire.url) as exporter:
        visitor = Visitor(exporter.url)
        for place, secret in itertools.product(mistakes, SECRETS.values()):
            if "KEY_OF_A" in place.environ:
                continue
            place.put(tmp_path, secret)
            status, text = visitor.ask("/-/reload", method="POST")
            assert status == 500, (place, text)
            answers.append(text)
        exporter.signal(signal.SIGHUP)
        wait_for(lambda: failed(len(answers) + 1))
    check_no_secret("".join([*answers, *exporter.lines]), *SECRETS.values())


# fmt: off
RIGHT: Mapping[str, Place] = {
    "TOGETHER_API_KEY": Place(environ={"TOGETHER_API_KEY": "{s}"}),
    "TOGETHER_API_KEY_FILE": Place(environ={"TOGETHER_API_KEY_FILE": "{d}/key"}, key="{s}\n"),
    "--together.api-key-file": Place(("--together.api-key-file={d}/key",), key="{s}"),
    "api_key_file": Place(config="accounts: [{name: default, api_key_file: key}]", key=" {s} \n"),
    "api_key_env": Place(config="accounts: [{name: default, api_key_env: KEY_OF_A}]", environ={"KEY_OF_A": "{s}"}),
    "a variable that looks like a setting": Place(environ={
        "TOGETHER_EXPORTER_API_KEY": "{s}", "together_api_key": "{s}", "TOGETHER_API_KEY": "{s}",
    }),
    "the password of a proxy": Place(environ={
        "http_proxy": "http://me:{q}@{w}", "TOGETHER_BASE_URL": "http://api.example/v1", "TOGETHER_API_KEY": "another",
    }),
    "the password of a proxy, not escaped": Place(environ={
        "http_proxy": "http://me:{s}@{w}", "TOGETHER_BASE_URL": "http://api.example/v1", "TOGETHER_API_KEY": "another",
    }),
}
# fmt: on


def forms(secret: str) -> list[str]:
    """A secret as an API may write it, as the content of a JSON string."""
    as_json = json.dumps(secret)[1:-1]
    return [
        as_json,
        as_json.replace("/", "\\/"),
        "".join(f"\\u{ord(character):04x}" for character in secret),
        quote(secret, safe=""),
        html.escape(secret).replace("\\", "\\\\"),
        "".join(f"&#{ord(character)};" for character in secret),
        f"{json.dumps(secret[:9])[1:-1]}\\n {json.dumps(secret[9:])[1:-1]}",
    ]


def echoes(secret: str) -> Iterator[bytes]:
    """Answers that contain the secret wherever an answer can, each followed by one that ends the backoff."""
    with_secret = [
        http(secret),
        http(json.dumps({"data": secret})),
        http(f"{'x' * 190}{secret}", "500 Internal Server Error"),
        http("", f"400 {secret}"),
        http("", "302 Found", Location=f"http://{secret}.example/{secret}?{secret}"),
        f"HTTP/1.1 200 OK\r\n{secret}\r\n{secret}: {secret}\r\nContent-Length: x{secret}\r\n\r\n{secret}".encode(),
        f"{secret}\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5{secret}\r\n{secret}".encode(),
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n{secret}".encode(),
        http(jobs_json({"id": [secret], "status": secret}, secret, {secret: secret})),
    ]
    for form in forms(secret):
        with_secret.append(http(f'{{"error": {{"message": "no {form}"}}}}', "401 Unauthorized"))
        with_secret.append(http(f"<p>{form}</p>", "500 Internal Server Error"))
        named = job("ID", "ID", suffix="ID", model="a ID b", user_id="ID", wandb_url="ID", token_count="ID")
        named["events"] = [{"type": "ID", "level": "ID", "message": "ID", "created_at": "ID"}]
        with_secret.append(http(jobs_json(named).replace(b"ID", form.encode())))
    for answer in with_secret:
        yield answer
        yield http(jobs_json(job()))


@pytest.mark.parametrize("place", RIGHT.values(), ids=RIGHT)
def test_a_secret_in_use_is_in_no_log_and_on_no_page(
    place: Place, tmp_path: Path, wire: Wire, command: Command
) -> None:
    secret = SECRETS["odd characters"]
    answers = list(echoes(secret))
    rest = itertools.cycle(answers)
    wire.answer = lambda connection: connection.sendall(next(rest))
    flags, environ = place.put(tmp_path, secret)
    proxy = wire.url.removeprefix("http://").removesuffix("/v1")
    environ = {
        name: value.replace("{q}", quote(secret, safe="")).replace("{w}", proxy) for name, value in environ.items()
    }
    environ = {"TOGETHER_BASE_URL": wire.url, "no_proxy": "", "NO_PROXY": "", **environ}
    flags += ["--log.level=debug", "--poll.interval=20ms", "--poll.idle-interval=20ms"]
    with ExporterProcess("--web.enable-lifecycle", *flags, **environ) as exporter:
        if "{s}@" in place.environ.get("http_proxy", ""):  # no proxy is found in such a URL
            exporter.line("poll failed")
        else:
            wait_for(lambda: len(wire.requests) > 2 * len(answers))
        text = Visitor(exporter.url).everything()
        exporter.signal(signal.SIGHUP)
        exporter.line("msg=reloaded")
        text += Path(f"/proc/{exporter.pid}/cmdline").read_text()
    for start in (("--config.check",), ("--once",), ("--once",), ("status",), ("status", "--json")):
        text += command([*start, *flags], environ)[1]
    check_no_secret("".join([text, *exporter.lines]), secret)


def test_passwords_and_inline_keys_of_the_web_file_are_shown_nowhere(tmp_path: Path, wire: Wire) -> None:
    wire.answer = http(jobs_json(job()))
    authority = Authority(need("openssl", "openssl"), tmp_path)
    certificate, key = authority.issue("server", "DNS:localhost")
    password = SECRETS["a key"]
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    tls = {"cert": certificate.read_text(), "key": key.read_text()}
    config = tmp_path / "web.yml"
    config.write_text(json.dumps({"tls_server_config": tls, "basic_auth_users": {"prometheus": hashed}}))
    flags = ("--web.enable-lifecycle", "--log.level=debug", f"--web.config.file={config}")
    with ExporterProcess(*flags, TOGETHER_API_KEY="another", TOGETHER_BASE_URL=wire.url) as exporter:
        url = exporter.url.replace("http://127.0.0.1", "https://localhost")
        context = ssl.create_default_context(cafile=authority.certificate)
        text = ""
        for user, status in ((f"prometheus:{password}", 200), (f"prometheus:{password}x", 401), (f"{password}:x", 401)):
            visitor = Visitor(url, f"Basic {base64.b64encode(user.encode()).decode()}", context)
            found, body = visitor.ask("/metrics")
            assert found == status
            text += body
            text += visitor.everything() if status == 200 else ""
        config.write_text(json.dumps({"tls_server_config": tls, "basic_auth_users": {"prometheus": password}}))
        wait_for(
            lambda: visitor.ask("/")[0] and any("web configuration not reloaded" in line for line in exporter.lines)
        )
        text += Path(f"/proc/{exporter.pid}/cmdline").read_text()
    line_of_the_key = key.read_text().splitlines()[1]
    check_no_secret("".join([text, *exporter.lines]), password, hashed, line_of_the_key)
