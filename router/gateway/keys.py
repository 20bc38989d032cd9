"""API keys: who may ask, how often, how much. Keys themselves are in no file, only their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router.errors import DataError, SpecError
from router.gateway.errors import Refused
from router.gateway.limits import Account
from router.gateway.spending import Spending
from router.spec.document import read_document
from router.spec.explain import explain
from router.spec.gateway import ApiKey


class _KeysFile(BaseModel):
    model_config = ConfigDict(extra="forbid")
    keys: tuple[ApiKey, ...] = Field(min_length=1)


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """The keys in a YAML or JSON file: ``{"keys": [{"name", "sha256" | "variable", limits...}]}``.

    Raises:
        DataError: it cannot be read.
        SpecError: it is not of that form; every problem with its line and its fix.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(path), "a readable YAML or JSON file of API keys", str(error)) from error
    document = read_document(text, str(path), {}, "`keys:`")
    problems = list(document.problems)
    try:
        keys = _KeysFile.model_validate(document.data).keys
    except ValidationError as error:
        findings = explain(error, document.data, _KeysFile.model_json_schema())
        problems += (finding.located(document.positions) for finding in findings)
        raise SpecError(tuple(problems)) from None
    if problems:
        raise SpecError(tuple(problems))
    return keys


class Keys:
    """The keys that are known. Without any, everybody may ask.

    Args:
        spending: where it is counted what they use; without it they begin with nothing used.
    """

    def __init__(self, keys: Sequence[ApiKey], environ: Mapping[str, str], spending: Spending | None = None) -> None:
        self._spending = Spending() if spending is None else spending
        self._named: dict[str, Account] = {}  # also of keys that are gone: who comes back has used what it had
        self.replace(keys, environ)

    def replace(self, keys: Sequence[ApiKey], environ: Mapping[str, str]) -> None:
        """Takes new keys; one of a name that is known has used what that had.

        Raises:
            DataError: a variable that should hold a key is not set, or two keys are the same. Nothing is changed then.
        """
        found: dict[str, ApiKey] = {}
        for key in keys:
            digest = _digest_of(key, environ)
            if digest in found or any(other.name == key.name for other in found.values()):
                raise DataError(f"API key {key.name}", "names and keys that differ", "one of them twice")
            found[digest] = key
        self._accounts = {digest: self._account(key) for digest, key in found.items()}

    def __bool__(self) -> bool:
        return bool(self._accounts)

    def account(self, authorization: str) -> Account | None:
        """Whose request it is; None if there are no keys.

        Args:
            authorization: the header, each byte of it a character (Latin-1), as HTTP has it.

        Raises:
            Refused: no key that is known.
        """
        if not self._accounts:
            return None
        scheme, _, secret = authorization.partition(" ")
        # Only HTTP's own white space goes: others of Latin-1 may be the last byte of a letter in UTF-8.
        sent = secret.strip(" \t").encode("latin-1")
        # The dictionary compares hashes: how long that takes tells nothing of the key.
        account = self._accounts.get(_digest(sent)) if scheme.lower() == "bearer" else None
        if account is None:
            found = "another one" if authorization else "none"
            raise Refused(
                f"expected a known API key in the header Authorization: Bearer KEY, found {found}", status=401,
                code="invalid_api_key", headers={"www-authenticate": "Bearer"},
            )  # fmt: skip
        return account

    def _account(self, key: ApiKey) -> Account:
        account = self._named.get(key.name)
        if account is None:
            account = self._named[key.name] = Account(key, self._spending)
        else:
            account.limit(key)
        return account


def _digest_of(key: ApiKey, environ: Mapping[str, str]) -> str:
    """The hash by which a key is known."""
    if key.sha256 is not None:
        return key.sha256
    assert key.variable is not None  # ApiKey has one of the two
    if not environ.get(key.variable):
        raise DataError(f"API key {key.name}", f"its key in the variable {key.variable}", "no such variable")
    return _digest(environ[key.variable].encode("utf-8", "surrogateescape"))


def _digest(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()
