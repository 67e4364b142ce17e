"""Each key of `--web.config.file`, with real clients."""

import base64
import http.client
import json
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

import bcrypt
import pytest

from exporter.web import server as module
from exporter.web.config import load_web_config
from exporter.web.errors import WebConfigError
from exporter.web.guard import Guard
from exporter.web.server import Server
from tests.certificates import Authority
from tests.conftest import need
from tests.programs import ExporterProcess, Prometheus, wait_for

PASSWORD = "correct horse: battery"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
REFUSED = (ssl.SSLError, ConnectionError)
URI = "spiffe://example/prometheus"


@dataclass
class Files:
    """Certificates of all parties, made once for all tests."""

    folder: Path
    ca: Path
    server: tuple[Path, Path]
    client: tuple[Path, Path]
    nameless: tuple[Path, Path]
    stranger: tuple[Path, Path]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("certificates")
    openssl = need("openssl", "openssl")
    authority, other = Authority(openssl, folder), Authority(openssl, folder, "other")
    return Files(
        folder,
        authority.certificate,
        authority.issue("server", "DNS:localhost", "IP:127.0.0.1"),
        authority.issue("client", "DNS:client.example", "IP:::1", "email:a@example.com", f"URI:{URI}"),
        authority.issue("nameless"),
        other.issue("stranger", "DNS:client.example"),
    )


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Serving:
    """A server with this web configuration."""

    path: Path
    clock: Clock
    server: Server
    ca: Path

    def write(self, text: str) -> None:
        """Changes the file, and lets so much time pass that it is looked at."""
        replacement = self.path.with_suffix(".new")
        replacement.write_text(text)
        replacement.replace(self.path)
        self.clock.now += 60

    def ask(self, *, client: tuple[Path, Path] | None = None) -> http.client.HTTPResponse:
        """The answer to an https request, for which the client shows a certificate if it has one."""
        context = ssl.create_default_context(cafile=self.ca)
        if client:
            context.load_cert_chain(*client)
        return ask(http.client.HTTPSConnection("localhost", self.server.port, timeout=60, context=context), "/", "")

    def ask_plainly(self, path: str = "/", user: str = "") -> http.client.HTTPResponse:
        """The answer to an http request."""
        return ask(http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60), path, user)


def ask(connection: http.client.HTTPConnection, path: str, user: str, method: str = "GET") -> http.client.HTTPResponse:
    headers = {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"} if user else {}
    with closing(connection):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """A page that Prometheus can scrape."""
    assert "HTTP_AUTHORIZATION" not in environ
    body = b"scraped 1\n"
    start_response(
        "200 OK", [("Content-Type", "text/plain"), ("X-Frame-Options", "deny"), ("Content-Length", str(len(body)))]
    )
    return [body]


Serve = Callable[..., Serving]


@pytest.fixture
def serve(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Serve]:
    servers = []

    def start(text: str) -> Serving:
        path, clock = tmp_path / "web.yml", Clock()
        path.write_text(text)
        guard = Guard(path, clock=clock)
        servers.append(Server("127.0.0.1:0", guard.protect(app), guard.context))
        ca = request.getfixturevalue("files").ca if "tls_server_config" in text else path
        return Serving(path, clock, servers[-1], ca)

    yield start
    for server in servers:
        server.stop()


def tls(files: Files, **more: object) -> str:
    """A file with the server's certificate and more settings of `tls_server_config`."""
    settings = {"cert_file": str(files.server[0]), "key_file": str(files.server[1]), **more}
    return json.dumps({"tls_server_config": settings})


def users(hashed: str = HASH, **more: object) -> str:
    """A file with a user `alice`."""
    return json.dumps({"basic_auth_users": {"alice": hashed}, **more})


# A real Prometheus


def test_prometheus_scrapes_with_tls_password_and_certificate_and_not_without(
    serve: Serve, files: Files, prometheus: str, tmp_path: Path
) -> None:
    config = json.loads(tls(files, client_auth_type="RequireAndVerifyClientCert", client_ca_file=str(files.ca)))
    serving = serve(json.dumps(config | json.loads(users())))
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    trusting = {"ca_file": str(files.ca)}
    certificate = trusting | {"cert_file": str(files.client[0]), "key_file": str(files.client[1])}
    password = {"basic_auth": {"username": "alice", "password_file": str(secret)}}
    jobs: dict[str, dict[str, object]] = {
        "good": {"tls_config": certificate, **password},
        "no password": {"tls_config": certificate},
        "no certificate": {"tls_config": trusting, **password},
        "no tls": {"scheme": "http", **password},
    }
    scrapes = [
        {
            "job_name": name,
            "scheme": "https",
            **job,
            "static_configs": [{"targets": [f"127.0.0.1:{serving.server.port}"]}],
        }
        for name, job in jobs.items()
    ]
    file = tmp_path / "prometheus.yml"
    file.write_text(
        json.dumps({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": scrapes})
    )
    with Prometheus(prometheus, file, tmp_path / "data") as server:
        expected = {"good": 1, "no password": 0, "no certificate": 0, "no tls": 0}
        wait_for(lambda: {labels["job"]: value for labels, value in server.query("up")} == expected)
        wait_for(lambda: [(labels["job"], value) for labels, value in server.query("scraped")] == [("good", 1)])


def test_curl_is_answered_over_tls(serve: Serve, files: Files) -> None:
    serving = serve(tls(files))
    url = f"https://localhost:{serving.server.port}/"
    done = subprocess.run([need("curl", "curl"), "-s", "--cacert", files.ca, url], capture_output=True, check=True)
    assert done.stdout == b"scraped 1\n"


# tls_server_config


def test_certificate_key_and_authority_can_be_in_the_file_itself(serve: Serve, files: Files) -> None:
    text = json.dumps(
        {
            "tls_server_config": {
                "cert": files.server[0].read_text(),
                "key": files.server[1].read_text(),
                "client_ca": files.ca.read_text(),
                "client_auth_type": "RequireAndVerifyClientCert",
            }
        }
    )
    serving = serve(text)
    assert serving.ask(client=files.client).status == 200
    with pytest.raises(REFUSED):
        serving.ask(client=files.stranger)


def test_paths_are_relative_to_the_file(files: Files) -> None:
    config = files.folder / "relative.yml"
    config.write_text("tls_server_config: {cert_file: server.pem, key_file: server.key}")
    assert Guard(config).context()


def test_a_client_that_must_verify_is_refused_without_a_certificate_of_the_authority(
    serve: Serve, files: Files
) -> None:
    serving = serve(tls(files, client_auth_type="RequireAndVerifyClientCert", client_ca_file=str(files.ca)))
    assert serving.ask(client=files.client).status == 200
    for client in (None, files.stranger):
        with pytest.raises(REFUSED):
            serving.ask(client=client)


def test_a_client_may_come_without_a_certificate_if_it_is_verified_only_if_given(serve: Serve, files: Files) -> None:
    serving = serve(tls(files, client_auth_type="VerifyClientCertIfGiven", client_ca_file=str(files.ca)))
    assert serving.ask().status == serving.ask(client=files.client).status == 200
    with pytest.raises(REFUSED):
        serving.ask(client=files.stranger)


@pytest.mark.parametrize("name", ["client.example", "::1", "a@example.com", URI])
def test_a_client_needs_one_of_the_allowed_names(serve: Serve, files: Files, name: str) -> None:
    settings = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": str(files.ca)}
    serving = serve(tls(files, **settings, client_allowed_sans=["other.example", name]))
    assert serving.ask(client=files.client).status == 200
    with pytest.raises(REFUSED):
        serving.ask(client=files.nameless)


def negotiated(
    serving: Serving,
    *,
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion] = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
    ciphers: str | None = None,
    curve: str | None = None,
) -> tuple[str, str]:
    """The version and the cipher of a connection with a client that offers these."""
    context = ssl.create_default_context(cafile=serving.ca)
    context.minimum_version, context.maximum_version = versions
    if ciphers:
        context.set_ciphers(ciphers)
    if curve:
        context.set_ecdh_curve(curve)
    plain = socket.create_connection(("127.0.0.1", serving.server.port), timeout=60)
    with context.wrap_socket(plain, server_hostname="localhost") as connection:
        cipher = connection.cipher()
        assert cipher
        return str(connection.version()), cipher[0]


TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(
    ("settings", "only", "not_"),
    [({"max_version": "TLS12"}, TLS12, TLS13), ({"min_version": "TLS13"}, TLS13, TLS12)],
)
def test_only_the_allowed_versions_are_spoken(
    serve: Serve, files: Files, settings: dict[str, str], only: ssl.TLSVersion, not_: ssl.TLSVersion
) -> None:
    serving = serve(tls(files, **settings))
    assert negotiated(serving, versions=(only, only))
    with pytest.raises(ssl.SSLError):
        negotiated(serving, versions=(not_, not_))


AES128, AES256 = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"
GO_AES128, GO_AES256 = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"


def test_only_the_chosen_cipher_suites_are_spoken(serve: Serve, files: Files) -> None:
    serving = serve(tls(files, cipher_suites=[GO_AES256, "TLS_AES_128_GCM_SHA256"]))
    assert negotiated(serving, versions=(TLS12, TLS12))[1] == AES256
    with pytest.raises(ssl.SSLError):
        negotiated(serving, versions=(TLS12, TLS12), ciphers=AES128)


@pytest.mark.parametrize(("prefers", "cipher"), [(True, AES256), (False, AES128)])
def test_the_order_of_the_server_or_of_the_client_decides(
    serve: Serve, files: Files, prefers: bool, cipher: str
) -> None:
    suites = [GO_AES256, GO_AES128]
    serving = serve(tls(files, cipher_suites=suites, prefer_server_cipher_suites=prefers))
    assert negotiated(serving, versions=(TLS12, TLS12), ciphers=f"{AES128}:{AES256}")[1] == cipher


def test_only_the_chosen_curve_is_spoken(serve: Serve, files: Files) -> None:
    serving = serve(tls(files, curve_preferences=["CurveP384"]))
    assert negotiated(serving, versions=(TLS12, TLS12))
    assert negotiated(serving, versions=(TLS13, TLS13), curve="secp384r1")
    with pytest.raises(ssl.SSLError):
        negotiated(serving, versions=(TLS13, TLS13), curve="X25519")


def test_a_renewed_certificate_is_served_without_a_restart_and_a_broken_one_is_not(
    serve: Serve, files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = tmp_path / "current.pem", tmp_path / "current.key"
    certificate.write_bytes(files.client[0].read_bytes())
    key.write_bytes(files.client[1].read_bytes())
    serving = serve(json.dumps({"tls_server_config": {"cert_file": "current.pem", "key_file": "current.key"}}))
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        serving.ask()
    certificate.write_bytes(files.server[0].read_bytes())  # half of a renewal
    serving.clock.now += 60
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        serving.ask()
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "web configuration not reloaded, the old one stays"
    ]
    key.write_bytes(files.server[1].read_bytes())
    serving.clock.now += 60
    assert serving.ask().status == 200


def test_a_client_that_does_not_shake_hands_is_cut(serve: Serve, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.1)
    serving = serve(tls(files))
    for sends in (b"", b"\x16\x03\x01"):
        with socket.create_connection(("127.0.0.1", serving.server.port), timeout=60) as connection:
            connection.sendall(sends)
            with suppress(ConnectionError):
                assert connection.recv(1) == b""


def test_plain_http_is_not_answered_where_tls_is_configured(serve: Serve, files: Files) -> None:
    with pytest.raises(REFUSED):
        serve(tls(files)).ask_plainly()


# basic_auth_users


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy"])
def test_everything_needs_the_password_of_a_user(serve: Serve, path: str) -> None:
    serving = serve(users())
    assert serving.ask_plainly(path, f"alice:{PASSWORD}").status == 200
    refused = serving.ask_plainly(path)
    assert (refused.status, refused.headers["WWW-Authenticate"].partition(" ")[0]) == (401, "Basic")


def test_a_reload_needs_the_password_too(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text(users())
    with ExporterProcess("--demo", "--web.enable-lifecycle", f"--web.config.file={file}") as exporter:

        def post(user: str) -> int:
            connection = http.client.HTTPConnection(exporter.url.removeprefix("http://"), timeout=60)
            return ask(connection, "/-/reload", user, "POST").status

        assert [post(""), post(f"alice:{PASSWORD}")] == [401, 200]


@pytest.mark.parametrize("user", ["alice:wrong", f"bob:{PASSWORD}", f"alice{PASSWORD}", ":", f"alice:{PASSWORD}\0"])
def test_wrong_credentials_are_a_401(serve: Serve, user: str) -> None:
    assert serve(users()).ask_plainly("/", user).status == 401


@pytest.mark.parametrize("header", ["Basic", "Basic !", "Bearer YTpi", "Basic /w==", "Basic YWxpY2U=", "Basic\xe9"])
def test_credentials_that_cannot_be_read_are_a_401(serve: Serve, header: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", serve(users()).server.port, timeout=60)
    with closing(connection):
        connection.request("GET", "/", headers={"Authorization": header})
        assert connection.getresponse().status == 401


def test_a_password_beyond_what_bcrypt_reads_is_a_401(serve: Serve) -> None:
    longest = "x" * 72
    serving = serve(users(bcrypt.hashpw(longest.encode(), bcrypt.gensalt(4)).decode()))
    assert serving.ask_plainly("/", f"alice:{longest}").status == 200
    assert serving.ask_plainly("/", f"alice:{longest}y").status == 401


def test_users_are_read_again_and_an_invalid_file_keeps_the_old_ones(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    serving = serve(users())
    serving.write("basic_auth_users: {alice: plain}")
    assert serving.ask_plainly("/", f"alice:{PASSWORD}").status == 200
    assert serving.ask_plainly("/").status == 401
    errors = [vars(record)["error"] for record in caplog.records if record.levelno == logging.ERROR]
    assert [error.partition(": ")[2] for error in errors] == [
        "basic_auth_users.alice: must be a bcrypt hash, as `htpasswd -nBC 10 USER` prints it after the colon"
    ]
    serving.write(json.dumps({"basic_auth_users": {"bob": HASH}}))
    assert serving.ask_plainly("/", f"alice:{PASSWORD}").status == 401
    assert serving.ask_plainly("/", f"bob:{PASSWORD}").status == 200


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The hashes that bcrypt compares passwords with."""
    hashes = []
    check = bcrypt.checkpw

    def noting(password: bytes, hashed: bytes) -> bool:
        hashes.append(hashed)
        return check(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", noting)
    return hashes


def test_a_password_that_was_right_is_not_computed_again(serve: Serve, checked: list[bytes]) -> None:
    serving = serve(users())
    for _ in range(3):
        assert serving.ask_plainly("/", f"alice:{PASSWORD}").status == 200
    assert len(checked) == 1


def test_an_unknown_user_costs_as_much_as_a_known_one(serve: Serve, checked: list[bytes]) -> None:
    serving = serve(users())
    serving.ask_plainly("/", "alice:wrong")
    serving.ask_plainly("/", "nobody:wrong")
    known, unknown = checked
    assert (unknown[:7], len(unknown)) == (known[:7], len(known))


def test_a_flood_of_wrong_passwords_does_not_hold_up_who_knows_theirs(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = serve(users())
    assert serving.ask_plainly("/", f"alice:{PASSWORD}").status == 200
    release, at_work, most = threading.Event(), [], []

    def slow(password: bytes, _: bytes) -> bool:
        at_work.append(password)
        most.append(len(at_work))
        release.wait(60)
        at_work.remove(password)
        return False

    monkeypatch.setattr(bcrypt, "checkpw", slow)
    statuses: list[int] = []
    flood = [
        threading.Thread(target=lambda i=i: statuses.append(serving.ask_plainly("/", f"alice:{i}").status))
        for i in range(30)
    ]
    for thread in flood:
        thread.start()
    wait_for(lambda: len(statuses) == 26)  # all but those that may wait for bcrypt
    assert serving.ask_plainly("/", f"alice:{PASSWORD}").status == 200
    release.set()
    for thread in flood:
        thread.join()
    assert sorted(statuses) == [401] * 4 + [429] * 26
    assert max(most) == 1


def test_the_process_ends_cleanly_while_passwords_are_checked(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text(users(HASH.replace("$04$", "$11$")))
    script = """
import base64, pathlib, sys, threading, time
from exporter.web.guard import Guard
page = Guard(pathlib.Path(sys.argv[1])).protect(lambda *_: [])
environ = {"HTTP_AUTHORIZATION": "Basic " + base64.b64encode(b"alice:x").decode()}
for _ in range(3):
    threading.Thread(target=page, args=(environ, lambda *_: print), daemon=True).start()
class Slow:
    def __del__(self, sleep=time.sleep):
        sleep(2)  # an end of the interpreter that takes longer than bcrypt
kept = Slow()
time.sleep(0.1)  # until bcrypt is at work
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "web.yml")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# rate_limit, http_server_config


def test_requests_beyond_the_rate_limit_are_a_429(serve: Serve) -> None:
    serving = serve("rate_limit: {interval: 1m30s, burst: 2}")
    assert [serving.ask_plainly().status for _ in range(3)] == [200, 200, 429]
    serving.clock.now += 90
    assert [serving.ask_plainly().status for _ in range(2)] == [200, 429]
    serving.clock.now += 1000
    assert [serving.ask_plainly().status for _ in range(3)] == [200, 200, 429]


def test_an_interval_of_zero_is_no_limit(serve: Serve) -> None:
    serving = serve("rate_limit: {interval: 0s, burst: 1}")
    assert [serving.ask_plainly().status for _ in range(3)] == [200] * 3


def test_headers_are_added_to_every_answer(serve: Serve) -> None:
    headers = {
        "Content-Security-Policy": "default-src 'self'",
        "Strict-Transport-Security": "max-age=60",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "sameorigin",
        "X-XSS-Protection": "0",
    }
    serving = serve(users(http_server_config={"headers": headers, "http2": False}))
    for user in (f"alice:{PASSWORD}", ""):
        answer = serving.ask_plainly("/", user)
        assert [(name, value) for name, value in answer.getheaders() if name in headers] == list(headers.items())


def test_a_blank_header_is_not_set(serve: Serve) -> None:
    answer = serve('http_server_config: {headers: {X-Frame-Options: "", X-XSS-Protection: ""}}').ask_plainly()
    assert (answer.headers["X-Frame-Options"], answer.headers["X-XSS-Protection"]) == ("deny", None)


# Files that cannot be used

PAIR = "cert_file: a, key_file: b"


@pytest.mark.parametrize("text", ["", "# nothing", "{}", "tls_server_config:\nbasic_auth_users:\nrate_limit:\n"])
def test_a_file_without_settings_is_plain_http_without_passwords(serve: Serve, text: str) -> None:
    assert serve(text).ask_plainly().status == 200


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1", "1: a: unknown key"),
        ("http_server_config:\n  http3: true", "2: http_server_config.http3: unknown key"),
        ("tls_server_config: {cert_file: a}", "1: tls_server_config: must have key_file or key"),
        ("tls_server_config: {min_version: TLS13}", "1: tls_server_config: must have cert_file or cert"),
        (f"tls_server_config: {{{PAIR}, key: c}}", "1: tls_server_config: must have only one of key and key_file"),
        (
            f"tls_server_config: {{{PAIR},\n min_version: TLS11}}",
            "2: tls_server_config.min_version: must be TLS12 or TLS13: older versions are not supported",
        ),
        (f"tls_server_config: {{{PAIR}, min_version: x}}", "must be 'TLS12' or 'TLS13'"),
        (f"tls_server_config: {{{PAIR}, min_version: TLS13, max_version: TLS12}}", "must not be above max_version"),
        (f"tls_server_config: {{{PAIR}, client_auth_type: RequestClientCert}}", "RequestClientCert is not supported"),
        (f"tls_server_config: {{{PAIR}, client_auth_type: RequireAnyClientCert}}", "is not supported, as Python"),
        (
            f"tls_server_config: {{{PAIR}, client_auth_type: RequireAndVerifyClientCert}}",
            "must have both client_ca_file",
        ),
        (f"tls_server_config: {{{PAIR}, client_ca_file: c}}", "must have both client_ca_file"),
        (f"tls_server_config: {{{PAIR}, client_allowed_sans: [a]}}", "client_allowed_sans requires client_auth_type"),
        (
            f"tls_server_config:\n  {{{PAIR}, cipher_suites: [\nTLS_RSA_WITH_RC4_128_SHA]}}",
            "3: tls_server_config.cipher",
        ),
        (f"tls_server_config: {{{PAIR}, cipher_suites: [TLS_AES_128_GCM_SHA256]}}", "has none for TLS 1.2"),
        (f"tls_server_config: {{{PAIR}, curve_preferences: [CurveP256, X25519]}}", "can have only one curve"),
        (f"tls_server_config: {{{PAIR}, curve_preferences: [secp256k1]}}", "must be one of CurveP256, CurveP384"),
        (f"tls_server_config: {{{PAIR}, prefer_server_cipher_suites: maybe}}", "must be a valid boolean"),
        ("http_server_config: {headers: {Server: x}}", "Server cannot be set, only Content-Security-Policy"),
        ("http_server_config: {headers: {X-Frame-Options: allow}}", "must be one of deny, sameorigin"),
        ('http_server_config: {headers: {X-XSS-Protection: "a\\r\\nb: c"}}', "must be printable ASCII"),
        ("rate_limit:\n  burst: 1\n  interval: fast", "3: rate_limit.interval: must be a duration such as 1s"),
        ("rate_limit: {burst: -1}", "rate_limit.burst: must be greater than or equal to 0"),
        ("rate_limit: {interval: 1s}", "burst must be at least 1"),
        ("basic_auth_users:\n  a: x\n", "2: basic_auth_users.a: must be a bcrypt hash"),
        ("basic_auth_users:\n  a:\n", "2: basic_auth_users.a: must be a bcrypt hash"),
        ("basic_auth_users: [a]", "1: basic_auth_users: must be a valid dictionary"),
        ("rate_limit: {}\nrate_limit: {}", "2: rate_limit: duplicate key"),
        ("a: [", "1: expected the node content"),
        ("- a", "must be a valid dictionary"),
        ("? [a]\n: b", "found unhashable key"),
        ("a: *b", "found undefined alias"),
        ("[" * 3000, "not a YAML file"),
        ("\0", "not a YAML file"),
    ],
)
def test_an_invalid_file_is_an_error_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "web.yml"
    path.write_text(text)
    with pytest.raises(WebConfigError) as raised:
        load_web_config(path)
    assert str(raised.value).startswith(f"{path}:")
    assert problem in str(raised.value)


def test_every_error_of_a_file_has_a_line_and_none_shows_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    path.write_text("basic_auth_users:\n  a: hunter2\n  b: hunter3\ntls_server_config:\n  key: [hunter4]\n")
    with pytest.raises(WebConfigError) as raised:
        load_web_config(path)
    assert [line.partition(": ")[0] for line in str(raised.value).splitlines()] == [f"{path}:{n}" for n in (5, 2, 3)]
    assert "hunter" not in str(raised.value)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path), lambda _: None])
def test_only_a_regular_file_is_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "web.yml")
    with pytest.raises(WebConfigError, match=r"not a regular file|No such file|Is a directory"):
        load_web_config(tmp_path / "web.yml")


def test_a_file_of_any_bytes_and_size_is_an_error(tmp_path: Path) -> None:
    for content in (b"\xff\xfe\xff", b"#" * 2**21):
        (tmp_path / "web.yml").write_bytes(content)
        with pytest.raises(WebConfigError, match=r"not a YAML file|larger than"):
            load_web_config(tmp_path / "web.yml")


@pytest.mark.parametrize("broken", ["cert_file", "key_file", "client_ca_file"])
def test_certificates_and_keys_that_cannot_be_used_are_an_error(files: Files, tmp_path: Path, broken: str) -> None:
    settings = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": str(files.ca)}
    path = tmp_path / "web.yml"
    for content in (None, "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        if content is not None:
            (tmp_path / "broken").write_text(content)
        path.write_text("\n" + tls(files, **settings | {broken: "broken"}))
        with pytest.raises(WebConfigError) as raised:
            Guard(path)
        assert str(raised.value).startswith(f"{path}:2: tls_server_config: ")
        assert broken in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"], ids=["NUL", "half a surrogate pair"])
def test_a_certificate_whose_name_no_file_can_have_is_an_error(files: Files, tmp_path: Path, name: str) -> None:
    path = tmp_path / "web.yml"
    path.write_text(tls(files, cert_file=name))
    with pytest.raises(WebConfigError, match=r"tls_server_config: cert_file, key_file: "):
        Guard(path)


def test_an_encrypted_key_is_an_error_and_not_a_question(files: Files, tmp_path: Path) -> None:
    key = tmp_path / "encrypted.key"
    command = [
        need("openssl", "openssl"),
        "ec",
        "-aes256",
        "-passout",
        "pass:x",
        "-out",
        str(key),
        "-in",
        str(files.server[1]),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (tmp_path / "web.yml").write_text(tls(files, key_file=str(key)))
    with pytest.raises(WebConfigError, match="key_file"):
        Guard(tmp_path / "web.yml")
