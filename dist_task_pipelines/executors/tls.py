"""TLS with the authorities and the client certificate of the configuration.

Files are read when they are first needed, and again by the next process.
"""

import ssl
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from dist_task_pipelines.executors.base import Tls


class UnusableTls(Exception):
    """Certificates or keys that cannot be used; says which and why."""


@lru_cache(maxsize=64)
def ssl_context(tls: Tls) -> ssl.SSLContext:
    """The context of a client; the same for equal settings, so that connections are shared.

    Raises:
        UnusableTls: a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise UnusableTls(f"{tls.ca_file} holds no usable certificates: {_why(error)}") from None
    if tls.cert_file:
        try:
            # With a password, if only an empty one, nobody is asked for it on the terminal.
            context.load_cert_chain(tls.cert_file, tls.key_file, tls.key_password)
        except (OSError, ValueError) as error:
            raise UnusableTls(f"{_pair(tls)} cannot be used: {_why(error)}") from None
    return context


def grpc_files(tls: Tls) -> tuple[bytes | None, bytes | None, bytes | None]:
    """The authorities, the client's key and its certificate, as gRPC takes them.

    Raises:
        UnusableTls: a file cannot be used.
    """
    ssl_context(tls)  # names the file that is wrong, which gRPC does not
    system = ssl.get_default_verify_paths().cafile
    authorities = tls.ca_file or (Path(system) if system else None)
    return (
        authorities.read_bytes() if authorities else None,
        _plain_key(tls) if tls.cert_file else None,
        tls.cert_file.read_bytes() if tls.cert_file else None,
    )


def _plain_key(tls: Tls) -> bytes:
    """The private key without its password, which gRPC does not take."""
    file = tls.key_file or tls.cert_file
    assert file
    key = load_pem_private_key(file.read_bytes(), tls.key_password.encode() or None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _pair(tls: Tls) -> str:
    return " with ".join(str(file) for file in (tls.cert_file, tls.key_file) if file)


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
