"""The file of `--web.config.file`, in the format of the Prometheus exporter-toolkit: TLS, passwords, headers, a limit.

The format's own documentation holds, with a few exceptions, all of them refused with a message: what Python's `ssl`
cannot do, and what the toolkit would accept without effect. `docs/web-config.md` lists them.
"""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)
from yaml.composer import ComposerError

from exporter.web.errors import WebConfigError

_MAX_BYTES = 2**20
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+")
_PART = re.compile(r"([0-9.]+)([a-zµ]+)")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,16}|[A-Za-z._-]{1,60}")  # a secret is longer, or has other characters
_BCRYPT = re.compile(r"\$2[abxy]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")

# Go's names of the cipher suites that it considers secure. Those of TLS 1.3 can be named and have no effect, as in Go.
_TLS12_CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
_TLS13_CIPHERS = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
_HEADERS: dict[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}


def _one_of(*choices: str) -> AfterValidator:
    def check(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return AfterValidator(check)


def _version(text: str) -> str:
    if text in ("TLS10", "TLS11"):
        raise ValueError("must be TLS12 or TLS13: older versions are not supported")
    return text


def _client_auth(text: str) -> str:
    if text in ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert"):
        raise ValueError(f"{text} is not supported, as Python verifies every client certificate")
    return text


def _seconds(text: object) -> float:
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        raise ValueError("must be a duration such as 1s or 100ms")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def _hash(text: SecretStr) -> SecretStr:
    if not _BCRYPT.fullmatch(text.get_secret_value()):
        raise ValueError("must be a bcrypt hash, as `htpasswd -nBC 10 USER` prints it after the colon")
    return text


def _known_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if name not in _HEADERS:
            raise ValueError(f"{_named(name)} cannot be set, only {', '.join(_HEADERS)}")
        if _HEADERS[name] and value not in _HEADERS[name]:
            raise ValueError(f"{name} must be one of {', '.join(_HEADERS[name])}")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"{name} must be printable ASCII")
    return headers


def _without_blanks(value: object) -> object:
    return {key: item for key, item in value.items() if item != ""} if isinstance(value, dict) else value


Version = Annotated[Literal["TLS12", "TLS13"], BeforeValidator(_version)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TlsServerConfig(_Section):
    """`tls_server_config`; a blank value is none, as in the toolkit. Paths are relative to the file."""

    cert: str | None = None
    key: SecretStr | None = None
    client_ca: str | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None
    client_auth_type: Annotated[
        Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"], BeforeValidator(_client_auth)
    ] = "NoClientCert"
    client_allowed_sans: tuple[str, ...] = ()
    min_version: Version = "TLS12"
    max_version: Version = "TLS13"
    cipher_suites: tuple[Annotated[str, _one_of(*_TLS12_CIPHERS, *_TLS13_CIPHERS)], ...] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: tuple[Annotated[str, _one_of(*_CURVES)], ...] = ()

    @property
    def tls12_ciphers(self) -> str:
        """The chosen cipher suites of TLS 1.2, as OpenSSL writes them."""
        return ":".join(_TLS12_CIPHERS[name] for name in self.cipher_suites if name in _TLS12_CIPHERS)

    @property
    def curve(self) -> str | None:
        """The chosen curve, as OpenSSL calls it."""
        return _CURVES[self.curve_preferences[0]] if self.curve_preferences else None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it names."""
        return tuple(path for path in (self.cert_file, self.key_file, self.client_ca_file) if path)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, inline, path in (
            ("cert", self.cert, self.cert_file),
            ("key", self.key, self.key_file),
            ("client_ca", self.client_ca, self.client_ca_file),
        ):
            if inline and path:
                raise ValueError(f"must have only one of {name} and {name}_file")
            if not (inline or path or name == "client_ca"):
                raise ValueError(f"must have {name}_file or {name}")
        verifies = self.client_auth_type != "NoClientCert"
        if verifies != bool(self.client_ca or self.client_ca_file):
            raise ValueError("must have both client_ca_file and a client_auth_type that verifies, or neither")
        if self.client_allowed_sans and self.client_auth_type != "RequireAndVerifyClientCert":
            raise ValueError("client_allowed_sans requires client_auth_type: RequireAndVerifyClientCert")
        if self.min_version > self.max_version:
            raise ValueError("min_version must not be above max_version")
        if self.cipher_suites and not self.tls12_ciphers and self.min_version == "TLS12":
            raise ValueError("cipher_suites has none for TLS 1.2, so min_version must be TLS13")
        if len(self.curve_preferences) > 1:
            raise ValueError("curve_preferences can have only one curve, as Python can set no more")
        return self


class HttpServerConfig(_Section):
    """`http_server_config`; the server speaks HTTP/1.1 whatever `http2` says."""

    http2: bool = True
    headers: Annotated[dict[str, str], BeforeValidator(_without_blanks), AfterValidator(_known_headers)] = Field(
        default_factory=dict
    )


class RateLimit(_Section):
    """`rate_limit`: a request each `interval` (seconds), and `burst` at once; no limit without an interval."""

    interval: Annotated[float, BeforeValidator(_seconds)] = 0.0
    burst: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.interval and not self.burst:
            raise ValueError("burst must be at least 1, otherwise every request would be refused")
        return self


class WebConfig(_Section):
    """The whole file."""

    tls_server_config: Annotated[TlsServerConfig | None, BeforeValidator(_without_blanks)] = None
    http_server_config: Annotated[HttpServerConfig, BeforeValidator(_without_blanks)] = HttpServerConfig()
    rate_limit: Annotated[RateLimit, BeforeValidator(_without_blanks)] = RateLimit()
    basic_auth_users: dict[str, Annotated[SecretStr, AfterValidator(_hash)]] = Field(default_factory=dict)
    _tls_line: int = PrivateAttr(0)

    @property
    def tls_line(self) -> int:
        """The line of `tls_server_config`."""
        return self._tls_line


def load_web_config(path: Path) -> WebConfig:
    """The file at `path`, validated, with its paths made absolute; `WebConfigError` if it cannot be used."""
    try:
        node = yaml.compose(_read(path), yaml.BaseLoader)
        # Everything is text for this loader: what is a number or a boolean, the model knows.
        content = yaml.BaseLoader("").construct_document(node) if node else {}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = str(error.problem)
        if isinstance(error, ComposerError) or "tag handle" in problem:
            problem = problem.partition("'")[0].strip()  # it quotes what follows a `*` or `!`
        raise WebConfigError(f"{path}:{line}: {problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise WebConfigError(f"{path}: not a YAML file") from None
    except OSError as error:  # without the path, which may be a key in the wrong place
        raise WebConfigError(str(error.strerror)) from None
    if duplicate := next(_duplicates(node), None):
        raise WebConfigError(f"{path}:{duplicate.start_mark.line + 1}: {_named(duplicate.value)}: duplicate key")
    try:
        config = WebConfig.model_validate(_without_blanks(content))
    except ValidationError as error:
        lines = [f"{path}:{_line(node, found['loc'])}: {_message(found)}" for found in error.errors()]
        raise WebConfigError("\n".join(lines)) from None
    config._tls_line = _line(node, ("tls_server_config",))
    return _resolved(config, path.parent)


def _read(path: Path) -> str:
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(0, "not a regular file")
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise OSError(0, f"larger than {_MAX_BYTES} bytes")
    return content.decode()


def _duplicates(node: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    """The keys that a mapping has already."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    yield key
                seen.add(key.value)
            yield from _duplicates(value)


def _line(node: yaml.Node | None, location: tuple[int | str, ...]) -> int:
    """The line of what an error is about: of the innermost key or item that is there."""
    line = node.start_mark.line if node else 0
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == part), None)
            if not found:
                break
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line
    return line + 1


def _message(error: Any) -> str:
    """What is wrong, with the name of the setting and never its value."""
    name = ".".join(_named(str(part)) for part in error["loc"] if part != "[key]")
    message = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    problem = "unknown key" if error["type"] == "extra_forbidden" else message
    return f"{name}: {problem}" if name else problem


def _named(text: str) -> str:
    """What somebody wrote in place of a name; `…` if it may be a secret."""
    return text if _NAME.fullmatch(text) else "…"


def _resolved(config: WebConfig, folder: Path) -> WebConfig:
    if not (tls := config.tls_server_config):
        return config
    names = ("cert_file", "key_file", "client_ca_file")
    paths = {name: folder.absolute() / path for name in names if (path := getattr(tls, name))}
    return config.model_copy(update={"tls_server_config": tls.model_copy(update=paths)})
