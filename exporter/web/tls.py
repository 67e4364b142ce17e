"""The TLS context that a `tls_server_config` asks for."""

import ipaddress
import os
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from typing_extensions import override

from exporter.web.config import TlsServerConfig
from exporter.web.errors import WebConfigError

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


def tls_context(config: TlsServerConfig) -> ssl.SSLContext:
    """A context for connections to come; `WebConfigError` if a certificate, a key or a setting cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[config.min_version]
    context.maximum_version = _VERSIONS[config.max_version]
    context.options |= ssl.OP_NO_RENEGOTIATION
    if not config.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    with ExitStack() as stack, _naming("cert_file, key_file"):
        key = config.key.get_secret_value() if config.key else ""
        cert_file = config.cert_file or stack.enter_context(_in_memory(config.cert or ""))
        key_file = config.key_file or stack.enter_context(_in_memory(key))
        # Without a password here, OpenSSL would ask the terminal for that of an encrypted key.
        context.load_cert_chain(cert_file, key_file, password="")
    with _naming("cipher_suites, curve_preferences"):
        if config.tls12_ciphers:
            context.set_ciphers(config.tls12_ciphers)
        if config.curve:
            context.set_ecdh_curve(config.curve)
    with _naming("client_ca_file"):
        if config.client_ca_file or config.client_ca:
            context.load_verify_locations(config.client_ca_file, cadata=config.client_ca)
    context.verify_mode = _CLIENT_AUTH[config.client_auth_type]
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a CA of the file need not be a root, as in Go
    if config.client_allowed_sans:
        context.sslsocket_class = _requiring(frozenset(config.client_allowed_sans))
    return context


@contextmanager
def _naming(settings: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise WebConfigError(f"tls_server_config: {settings}: {reason}") from None


@contextmanager
def _in_memory(text: str) -> Iterator[Path]:
    """A file that is on no disk: Python reads certificates and keys from paths only."""
    if not hasattr(os, "memfd_create"):
        raise ValueError("inline certificates and keys require Linux")
    descriptor = os.memfd_create("web-config")
    try:
        os.write(descriptor, text.encode())
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _requiring(allowed: frozenset[str]) -> type[ssl.SSLSocket]:
    class Socket(ssl.SSLSocket):
        """A connection whose client has one of the allowed names."""

        @override
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            if allowed.isdisjoint(_names(self)):
                raise ssl.SSLCertVerificationError("the client certificate has none of the allowed names")

    return Socket


def _names(connection: ssl.SSLSocket) -> Iterator[str]:
    """The subject alternative names of the client, written as in Go."""
    certificate = connection.getpeercert() or {}
    names: Any = certificate.get("subjectAltName", ())  # the type that is declared covers all fields at once
    for kind, value in names:
        if kind == "IP Address":
            yield str(ipaddress.ip_address(value.strip()))
        elif kind in ("DNS", "email", "URI"):
            yield value
