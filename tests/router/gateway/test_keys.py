"""API keys, limits and budgets."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from router.errors import DataError, SpecError
from router.gateway.errors import Refused
from router.gateway.keys import Keys, read_keys
from router.gateway.limits import Account, Bucket
from router.spec.gateway import ApiKey
from tests.router.gateway.graphs import desk, user
from tests.router.gateway.servers import serving


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def keyed(*keys: dict[str, Any]) -> Any:
    return desk(gateway={"keys": keys})


def test_only_known_keys_may_ask() -> None:
    graph = keyed({"name": "ann", "sha256": digest("secret")}, {"name": "bob", "variable": "BOB"})
    with serving(graph, environ={"BOB": "bob's"}) as running:
        for key in ("secret", "bob's"):
            answer = running.client(key).chat.completions.create(model="desk", messages=user("x"))
            assert answer.choices[0].message.content
        for look in ("/v1/models", "/metrics", "/v1/traces/x"):
            assert httpx.get(running.url + look).status_code == 401
        assert httpx.get(running.url + "/health").status_code == 200
        with pytest.raises(openai.AuthenticationError) as caught:
            running.client("wrong").chat.completions.create(model="desk", messages=user("x"))
        assert caught.value.code == "invalid_api_key"
        assert "secret" not in caught.value.message


@pytest.mark.parametrize("key", ["ключ", "clé", "ключ для ех", "voilà", "日本語"])
def test_keys_of_any_script(key: str) -> None:
    sent = f"Bearer {key}".encode().decode("latin-1")  # as a server reads the bytes of a header
    for one in (ApiKey(name="ann", variable="KEY"), ApiKey(name="ann", sha256=digest(key))):
        keys = Keys([one], {"KEY": key})
        assert keys.account(sent)
        for wrong in ("?" * len(key), key.encode("ascii", "replace").decode()):
            with pytest.raises(Refused):
                keys.account(f"Bearer {wrong}")


def test_traces_are_their_owner_s() -> None:
    graph = keyed({"name": "ann", "sha256": digest("a")}, {"name": "bob", "sha256": digest("b")})
    with serving(graph) as running:
        answer = running.client("a").chat.completions.create(model="desk", messages=user("x"))
        path = f"{running.url}/v1/traces/{answer.id}"
        assert httpx.get(path, headers={"authorization": "Bearer a"}).status_code == 200
        assert httpx.get(path, headers={"authorization": "Bearer b"}).status_code == 404


def test_requests_per_minute_are_counted_for_each_key() -> None:
    graph = keyed(
        {"name": "ann", "sha256": digest("a"), "requests_per_minute": 2}, {"name": "bob", "sha256": digest("b")}
    )
    with serving(graph) as running:
        ann = running.client("a").chat.completions
        raw = ann.with_raw_response.create(model="desk", messages=user("x"))
        assert (raw.headers["x-ratelimit-limit-requests"], raw.headers["x-ratelimit-remaining-requests"]) == ("2", "1")
        ann.create(model="desk", messages=user("x"))
        with pytest.raises(openai.RateLimitError) as caught:
            ann.create(model="desk", messages=user("x"))
        assert caught.value.code == "rate_limit_exceeded"
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 30
        assert running.client("b").chat.completions.create(model="desk", messages=user("x"))


def test_budgets_and_tokens_per_minute_count_what_was_used() -> None:
    graph = keyed(
        {"name": "ann", "sha256": digest("a"), "budget": 10},
        {"name": "bob", "sha256": digest("b"), "tokens_per_minute": 10},
    )
    with serving(graph) as running:
        for key, code in (("a", "insufficient_quota"), ("b", "rate_limit_exceeded")):
            chat = running.client(key).chat.completions
            list(chat.create(model="desk", messages=user("x"), stream=True))
            with pytest.raises(openai.RateLimitError) as caught:
                chat.create(model="desk", messages=user("x"))
            assert caught.value.code == code


def test_a_bucket_refills_evenly() -> None:
    now = 0.0
    bucket = Bucket(60, lambda: now)
    bucket.take(90)
    assert (bucket.level, bucket.seconds_until(1)) == (-30, 31)
    now = 31.0
    assert bucket.level == pytest.approx(1)
    now = 1e6
    assert bucket.level == 60


@pytest.mark.parametrize(
    ("taken", "capacity", "left"), [(20, 30, 10), (20, 600, 580), (20, 6, 0), (70, 6, -10), (70, 80, 10)]
)
def test_a_bucket_of_another_size_keeps_what_was_taken(taken: int, capacity: int, left: int) -> None:
    bucket = Bucket(60, lambda: 0.0)
    bucket.take(taken)
    bucket.hold(capacity)
    assert (bucket.level, bucket.capacity) == (left, capacity)


def test_an_edit_of_a_key_refills_no_limit() -> None:
    ann = ApiKey(name="ann", sha256=digest("a"), requests_per_minute=2, tokens_per_minute=100)
    keys = Keys([ann], {})
    account = keys.account("Bearer a")
    assert account is not None
    account.admit()
    account.admit()
    keys.replace([ann.model_copy(update={"budget": 1000})], {})
    changed = keys.account("Bearer a")
    assert changed is not None
    with pytest.raises(Refused, match="at most 2 requests"):
        changed.admit()
    keys.replace([], {})
    keys.replace([ann.model_copy(update={"requests_per_minute": 60})], {})
    back = keys.account("Bearer a")
    assert back is not None and back.headers()["x-ratelimit-remaining-requests"] == "58"
    account.charge(200)  # a request that was under way all the while
    with pytest.raises(Refused, match="at most 100 tokens"):
        back.admit()


def test_keys_that_are_refused_change_nothing() -> None:
    ann = ApiKey(name="ann", sha256=digest("a"), requests_per_minute=2)
    keys = Keys([ann], {})
    with pytest.raises(DataError, match="NOPE"):
        keys.replace([ann.model_copy(update={"requests_per_minute": 9}), ApiKey(name="bob", variable="NOPE")], {})
    account = keys.account("Bearer a")
    assert account is not None and account.headers()["x-ratelimit-limit-requests"] == "2"


def test_new_limits_leave_what_was_used() -> None:
    keys = Keys([ApiKey(name="ann", sha256=digest("a"), budget=100)], {})
    account = keys.account("Bearer a")
    assert account is not None
    account.charge(60)
    keys.replace([ApiKey(name="ann", sha256=digest("new"), budget=50)], {})
    with pytest.raises(Refused, match="known API key"):
        keys.account("Bearer a")
    changed = keys.account("bearer new")
    assert isinstance(changed, Account)
    with pytest.raises(Refused, match="at most 50 tokens"):
        changed.admit()


@pytest.mark.parametrize(
    ("text", "says_so"),
    [
        ("keys: []", "keys"),
        ("keys: [{name: a}]", "sha256"),
        ("keys: [{name: a, sha256: secret}]", r"sha256, found a hidden value\. Fix: write"),
        ("keys: [{name: a, key: secret}]", "key"),
        ("keys: [", "valid YAML"),
        ("[" * 10_000, "levels"),
        ("", r"`keys:`"),
        ("[1]", r"keys\.yaml:1:1: expected a mapping .*`keys:`"),
        ("keys: [1]", r"keys\.yaml:1:8: expected a mapping at keys\[0\], found 1\. Fix: write"),
    ],
)
def test_files_of_keys_that_are_wrong(tmp_path: Path, text: str, says_so: str) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(text)
    with pytest.raises(SpecError, match=says_so):
        read_keys(file)


def test_a_file_of_keys_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="readable"):
        read_keys(tmp_path / "none.yaml")


def test_a_key_in_a_variable_that_is_not_set() -> None:
    with pytest.raises(DataError, match="NOPE"):
        Keys([ApiKey(name="a", variable="NOPE")], {})
    with pytest.raises(DataError, match="twice"):
        Keys([ApiKey(name="a", sha256=digest("a")), ApiKey(name="b", sha256=digest("a"))], {})
