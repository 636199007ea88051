"""
Certificates for servers that speak TLS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from pathlib import Path


class Certificates:
    """
    An authority and a certificate of the loopback, made anew.

    Args:
        folder: Where their files are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.authority = folder / "authority.pem"
        """What clients trust."""
        self._certificate = folder / "server.pem"
        self._key = folder / "server.key"
        made = trustme.CA()
        server = made.issue_cert("127.0.0.1", "localhost")
        made.cert_pem.write_to_path(self.authority)
        server.private_key_pem.write_to_path(self._key)
        for blob in server.cert_chain_pems:
            blob.write_to_path(self._certificate, append=True)

    @property
    def settings(self) -> dict[str, str]:
        """
        The lines of configuration of a server that uses them.
        """
        return {
            "tls-cert-file": str(self._certificate),
            "tls-key-file": str(self._key),
            "tls-ca-cert-file": str(self.authority),
            "tls-auth-clients": "no",
        }
