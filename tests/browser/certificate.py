"""
The certificate that all sites of the tests show over HTTPS.
"""

from __future__ import annotations

import hashlib
import ssl
from base64 import b64encode
from typing import Any

import trustme
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate


class Certificate:
    """
    A certificate for the loopback and for every name under ``.test``, made anew.

    Chromium is told to take whatever shows it for valid, by the digest of its
    public key. To it, the connection is then as any other over HTTPS. (What
    Playwright calls ``ignore_https_errors`` is not the same: the error stays, it is
    only passed over, and nothing is cached.)
    """

    def __init__(self) -> None:
        names = ("localhost", "127.0.0.1", "*.test", "*.shop.test")
        self._issued: Any = trustme.CA().issue_cert(*names)  # not completely typed
        shown = load_pem_x509_certificate(self._issued.cert_chain_pems[0].bytes())
        key = shown.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.public_key_digest = b64encode(hashlib.sha256(key).digest()).decode()
        """As ``--ignore-certificate-errors-spki-list`` wants it."""

    def settings_of_a_server(self, *protocols: str) -> ssl.SSLContext:
        """
        TLS for a server that speaks *protocols*, by the names that ALPN has for them.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._issued.configure_cert(context)
        context.set_alpn_protocols(protocols)
        return context
