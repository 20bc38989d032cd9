"""API keys: who may ask, how often, how much. Keys themselves are in no file, only their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router.errors import DataError
from router.gateway.errors import Refused
from router.gateway.limits import Account
from router.gateway.spending import Spending
from router.spec.gateway import ApiKey


class _KeysFile(BaseModel):
    model_config = ConfigDict(extra="forbid")
    keys: tuple[ApiKey, ...] = Field(min_length=1)


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """The keys in a YAML or JSON file: ``{"keys": [{"name", "sha256" | "variable", limits...}]}``.

    Raises:
        DataError: it is not of that form.
    """
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return _KeysFile.model_validate(data).keys
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(str(path), "a readable YAML or JSON file of API keys", str(error)) from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(
            str(path), "a list `keys` of name, sha256 or variable, and limits", f"{first['msg']} at {place}"
        ) from error


class Keys:
    """The keys that are known. Without any, everybody may ask.

    Args:
        spending: where it is counted what they use; without it they begin with nothing used.
    """

    def __init__(self, keys: Sequence[ApiKey], environ: Mapping[str, str], spending: Spending | None = None) -> None:
        self._spending = Spending() if spending is None else spending
        self._accounts: dict[str, Account] = {}
        self._set(keys, environ, {})

    def replace(self, keys: Sequence[ApiKey], environ: Mapping[str, str]) -> None:
        """Takes new keys; who stays keeps what is left of limits and budget.

        Raises:
            DataError: a variable that should hold a key is not set, or two keys are the same.
        """
        self._set(keys, environ, {account.name: account for account in self._accounts.values()})

    def __bool__(self) -> bool:
        return bool(self._accounts)

    def account(self, authorization: str) -> Account | None:
        """Whose request it is; None if there are no keys.

        Raises:
            Refused: no key that is known.
        """
        if not self._accounts:
            return None
        scheme, _, secret = authorization.partition(" ")
        # The dictionary compares hashes: how long that takes tells nothing of the key.
        account = self._accounts.get(_digest(secret.strip())) if scheme.lower() == "bearer" else None
        if account is None:
            found = "another one" if authorization else "none"
            raise Refused(
                f"expected a known API key in the header Authorization: Bearer KEY, found {found}", status=401,
                code="invalid_api_key", headers={"www-authenticate": "Bearer"},
            )  # fmt: skip
        return account

    def _set(self, keys: Sequence[ApiKey], environ: Mapping[str, str], known: Mapping[str, Account]) -> None:
        accounts: dict[str, Account] = {}
        for key in keys:
            digest = key.sha256
            if key.variable is not None:
                if not environ.get(key.variable):
                    raise DataError(
                        f"API key {key.name}", f"its key in the variable {key.variable}", "no such variable"
                    )
                digest = _digest(environ[key.variable])
            assert digest is not None  # ApiKey has one of the two
            if digest in accounts or any(account.name == key.name for account in accounts.values()):
                raise DataError(f"API key {key.name}", "names and keys that differ", "one of them twice")
            account = known.get(key.name)
            accounts[digest] = Account(key, self._spending) if account is None else account.with_limits(key)
        self._accounts = accounts


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("latin-1", "replace")).hexdigest()
