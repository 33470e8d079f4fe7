"""Encrypts what is stored under ENCRYPTION_KEY, bound to its row and column; signs with RSA."""

import base64
import os
from typing import Final

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import SecretStr

from aether.errors import NotConfiguredError

MASKED: Final = "••••"
VERSION: Final = "v1"
NONCE_BYTES: Final = 12  # what GCM is made for: NIST SP 800-38D, 8.2.2
TAG_BYTES: Final = 16
MASK_SHOWS_TAIL_FROM: Final = 16


class DecryptionError(NotConfiguredError):
    """A stored secret cannot be read with any key of ENCRYPTION_KEY."""


class Vault:
    """The keys of ENCRYPTION_KEY: the first encrypts, all decrypt. Nothing else sees them.

    A ciphertext is ``v1:<key id>:<base64 of nonce and ciphertext>``. It opens only in the table,
    column and row it was made for, so that nobody can move it to where it would be shown or sent.
    """

    def __init__(self, keys: SecretStr | None) -> None:
        """``keys`` is ENCRYPTION_KEY as it is: a comma-separated list, or None."""
        told = keys.get_secret_value().split(",") if keys is not None else []
        parts = [part.strip() for part in told if part.strip()]
        self._ciphers = {_derive(part, "key id", 4).hex(): _cipher(part) for part in parts}
        self._first = next(iter(self._ciphers), None)

    def __repr__(self) -> str:
        return f"Vault({len(self._ciphers)} keys)"

    @property
    def has_key(self) -> bool:
        """Whether anything can be encrypted at all."""
        return self._first is not None

    def check(self) -> None:
        """Raises NotConfiguredError where nothing can be encrypted."""
        if self._first is None:
            raise _no_key()

    def encrypt(self, plain: str, *, table: str, column: str, row_key: object) -> str:
        """The ciphertext of ``plain`` for this place; a new one each time.

        Raises:
            NotConfiguredError: there is no ENCRYPTION_KEY.
        """
        if self._first is None:
            raise _no_key()
        nonce = os.urandom(NONCE_BYTES)
        place = _place(table, column, row_key)
        sealed = self._ciphers[self._first].encrypt(nonce, plain.encode(), place)
        return f"{VERSION}:{self._first}:{base64.b64encode(nonce + sealed).decode()}"

    def decrypt(self, ciphertext: str, *, table: str, column: str, row_key: object) -> str:
        """What was encrypted for this place.

        Raises:
            NotConfiguredError: there is no ENCRYPTION_KEY.
            DecryptionError: another key made it, or it was altered or moved.
        """
        if self._first is None:
            raise _no_key()
        shown = f"{table}.{column} of {row_key}"
        version, _, rest = ciphertext.partition(":")
        key_id, _, encoded = rest.partition(":")
        cipher = self._ciphers.get(key_id)
        if version != VERSION or cipher is None:
            raise DecryptionError(f"ENCRYPTION_KEY: none of its keys encrypted {shown}")
        try:
            sealed = base64.b64decode(encoded, validate=True)
            if len(sealed) < NONCE_BYTES + TAG_BYTES:
                raise DecryptionError(f"ENCRYPTION_KEY: {shown} is cut short")
            nonce, body = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
            return cipher.decrypt(nonce, body, _place(table, column, row_key)).decode()
        except (InvalidTag, ValueError):
            raise DecryptionError(
                f"ENCRYPTION_KEY: {shown} cannot be decrypted; it was altered or moved"
            ) from None


def mask(secret: str) -> str:
    """``••••1234``; no tail where the secret is under 16 characters."""
    return MASKED + (secret[-4:] if len(secret) >= MASK_SHOWS_TAIL_FROM else "")


class RsaSigner:
    """An RSA key that signs as JSON web tokens want it: RS256 of RFC 7518."""

    def __init__(self, private_key: SecretStr) -> None:
        r"""``private_key`` is PEM, its line ends real or written as ``\\n``.

        Raises:
            ValueError: it is none.
        """
        pem = private_key.get_secret_value().replace("\\n", "\n").strip()
        try:
            key = load_pem_private_key(pem.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it has a passphrase
            key = None
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("is no RSA key in PEM without a passphrase")  # noqa: TRY004
        self._key = key

    def sign(self, data: bytes) -> bytes:
        """The signature of ``data``."""
        return self._key.sign(data, PKCS1v15(), SHA256())


def base64url(data: bytes) -> str:
    """``data`` as JSON web tokens write it: URL-safe, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _derive(key: str, purpose: str, length: int) -> bytes:
    return HKDF(SHA256(), length, salt=None, info=f"aether {purpose} v1".encode()).derive(
        key.encode()
    )


def _cipher(key: str) -> AESGCM:
    return AESGCM(_derive(key, "data key", 32))


def _place(table: str, column: str, row_key: object) -> bytes:
    return f"{table}.{column}:{row_key}".encode()


def _no_key() -> NotConfiguredError:
    return NotConfiguredError("ENCRYPTION_KEY: not set; credentials are stored encrypted only")
