"""Certificates for tests, made by openssl: an authority, a server and clients."""

import subprocess
from pathlib import Path

_EXTENSIONS = "basicConstraints=critical,CA:FALSE"


class Authority:
    """A certificate authority with its files in a folder."""

    def __init__(self, openssl: str, folder: Path, name: str = "ca") -> None:
        self._openssl = openssl
        self._folder = folder
        self.certificate, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        self._run(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
            *("-subj", f"/CN={name}", "-keyout", str(self._key), "-out", str(self.certificate)),
        )

    def issue(self, name: str, *names: str, days: int = 2) -> tuple[Path, Path]:
        """A certificate for these subject alternative names (`DNS:localhost`), valid for so long, and its key."""
        certificate, key, request = (self._folder / f"{name}.{kind}" for kind in ("pem", "key", "csr"))
        extensions = self._folder / f"{name}.ext"
        extensions.write_text("\n".join([_EXTENSIONS, f"subjectAltName={','.join(names)}" if names else ""]))
        self._run(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request)),
        )
        self._run(
            *("x509", "-req", "-in", str(request), "-days", str(days), "-extfile", str(extensions)),
            *("-CA", str(self.certificate), "-CAkey", str(self._key), "-CAcreateserial", "-out", str(certificate)),
        )
        return certificate, key

    def _run(self, *arguments: str) -> None:
        subprocess.run([self._openssl, *arguments], check=True, capture_output=True)
