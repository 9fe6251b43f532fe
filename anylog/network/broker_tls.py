"""TLS of the message broker: certificate, key, and of which clients a certificate is asked."""

from __future__ import annotations

import re
from typing import Any

from anylog.errors import AnyLogError

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def context_of(certificate: bytes, key: bytes, authority: bytes | None = None) -> Any:
    """What makes connections TLS 1.2 or newer, from PEM texts.

    With an `authority` clients must have a certificate of it. The first certificate is the broker's own, those after it
    lead to an authority. Raises AnyLogError 99 where the libraries are missing, and 175 for a text that is not what it
    should be, naming the option.
    """
    try:
        from OpenSSL.crypto import Error
        from OpenSSL.SSL import Error as Mismatch
        from twisted.internet.ssl import (
            Certificate,
            CertificateOptions,
            PrivateCertificate,
            TLSVersion,
            trustRootFromCertificates,
        )
    except ImportError as missing:
        raise AnyLogError(99, f"TLS needs the package {missing.name}") from None
    chain, authorities = _CERTIFICATE.findall(certificate), _CERTIFICATE.findall(authority or b"")
    for name, found in (("tls_cert", chain), ("users_ca", authorities if authority is not None else [b""])):
        if not found:
            raise AnyLogError(175, f"run message broker: the file of '{name}' has no certificate (PEM)")
    if b"ENCRYPTED" in key:  # the library would ask the terminal for the password
        raise AnyLogError(175, "run message broker: the key of 'tls_key' has a password: use one without")
    name = "tls_key"
    try:
        own = PrivateCertificate.loadPEM(key + b"\n" + chain[0])
        name = "tls_cert"
        rest = [Certificate.loadPEM(each).original for each in chain[1:]]
        name = "users_ca"
        roots = [Certificate.loadPEM(each) for each in authorities]
        name = "tls_cert"
        return CertificateOptions(
            privateKey=own.privateKey.original,
            certificate=own.original,
            extraCertChain=rest,
            trustRoot=trustRootFromCertificates(roots) if roots else None,
            raiseMinimumTo=TLSVersion.TLSv1_2,
        )
    except (Error, Mismatch, ValueError) as wrong:
        raise AnyLogError(175, f"run message broker: '{name}' cannot be used: {wrong}") from None


def common_name(certificate: Any) -> str:
    """Of the subject of a client's certificate; empty if there is none."""
    if certificate is None:
        return ""
    from cryptography.x509.oid import NameOID

    names = certificate.to_cryptography().subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""
