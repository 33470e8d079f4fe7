"""What ENCRYPTION_KEY promises."""

import pytest
from pydantic import SecretStr

from aether.crypto import DecryptionError, RsaSigner, Vault, mask
from aether.errors import ErrorCode, NotConfiguredError

OLD = "old-key-old-key-old-key-old-key-old-key"
NEW = "new-key-new-key-new-key-new-key-new-key"
TOKEN = "ghp_0123456789abcdef"


def vault(*keys: str) -> Vault:
    return Vault(SecretStr(",".join(keys)))


def encrypt(by: Vault, plain: str = TOKEN) -> str:
    return by.encrypt(plain, table="integration", column="credentials_encrypted", row_key=7)


def decrypt(by: Vault, text: str, *, column: str = "credentials_encrypted", row: int = 7) -> str:
    return by.decrypt(text, table="integration", column=column, row_key=row)


@pytest.mark.parametrize("plain", [TOKEN, "", "töken 🔑\n", "x" * 100_000])
def test_what_was_encrypted_is_read_back(plain: str) -> None:
    ciphertext = encrypt(vault(OLD), plain)

    assert decrypt(vault(OLD), ciphertext) == plain
    assert ciphertext.startswith("v1:")
    assert not plain or plain not in ciphertext


def test_the_same_secret_never_looks_the_same_twice() -> None:
    assert encrypt(vault(OLD)) != encrypt(vault(OLD))


def test_the_first_key_encrypts_and_every_key_decrypts() -> None:
    before = encrypt(vault(OLD))

    after = encrypt(vault(NEW, OLD))

    assert decrypt(vault(NEW, OLD), before) == TOKEN
    assert decrypt(vault(NEW), after) == TOKEN


def test_another_key_is_told_by_the_name_of_the_setting() -> None:
    with pytest.raises(DecryptionError, match=r"^ENCRYPTION_KEY: none of its keys") as caught:
        decrypt(vault(NEW), encrypt(vault(OLD)))

    assert caught.value.code is ErrorCode.NOT_CONFIGURED


@pytest.mark.parametrize(
    ("column", "row"), [("webhook_secret_encrypted", 7), ("credentials_encrypted", 8)]
)
def test_a_ciphertext_opens_in_its_own_row_and_column_only(column: str, row: int) -> None:
    ciphertext = encrypt(vault(OLD))

    with pytest.raises(DecryptionError, match="altered or moved"):
        decrypt(vault(OLD), ciphertext, column=column, row=row)


def test_an_altered_ciphertext_is_refused() -> None:
    ciphertext = encrypt(vault(OLD))
    other = "A" if ciphertext[-5] != "A" else "B"

    for altered in (
        ciphertext[:-5] + other + ciphertext[-4:],
        ciphertext[:20],
        ciphertext.replace("v1:", "v2:"),
        ciphertext + "é",
        "",
        TOKEN,
    ):
        with pytest.raises(DecryptionError, match="ENCRYPTION_KEY"):
            decrypt(vault(OLD), altered)


@pytest.mark.parametrize("keys", [None, SecretStr(""), SecretStr(" , ")])
def test_without_a_key_nothing_is_encrypted_or_read(keys: SecretStr | None) -> None:
    empty = Vault(keys)

    assert not empty.has_key
    with pytest.raises(NotConfiguredError, match=r"^ENCRYPTION_KEY: not set"):
        encrypt(empty)
    with pytest.raises(NotConfiguredError, match=r"^ENCRYPTION_KEY: not set"):
        decrypt(empty, encrypt(vault(OLD)))


def test_a_vault_shows_no_key() -> None:
    assert repr(vault(OLD, NEW)) == "Vault(2 keys)"


@pytest.mark.parametrize(
    ("secret", "shown"),
    [("ghp_0123456789ab1234", "••••1234"), ("fifteen-chars-x", "••••"), ("", "••••")],
)
def test_a_mask_shows_a_tail_of_long_secrets_only(secret: str, shown: str) -> None:
    assert mask(secret) == shown


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN RSA PRIVATE KEY-----\\nAAAA"])
def test_a_key_that_is_none_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is no RSA key in PEM without a passphrase$"):
        RsaSigner(SecretStr(text))
