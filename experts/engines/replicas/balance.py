"""Which replica takes a request: where its prompt's beginning is cached, unless that one is busier than the others."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from hashlib import blake2b
from itertools import takewhile

from experts.engines.replicas.replica import Replica
from experts.engines.requests import GenerateRequest

_PREFIX_TOKENS = 128
_PREFIX_CHARACTERS = 512
_SPARE = 0.25


def affinity_key(request: GenerateRequest) -> bytes:
    """Equal for prompts that begin alike, for every turn of one dialogue, and for the requests of one session.

    Of ids the first 128 count. Of messages the system's and the user's first do, 512 characters of each: they stay
    when the dialogue goes on, and need not be tokenised here.
    """
    digest = blake2b((request.adapter or "").encode(), digest_size=16)
    if request.session is not None:
        digest.update(request.session.name.encode())
        return digest.digest()
    if request.prompt_ids is not None:
        digest.update(array("q", request.prompt_ids[:_PREFIX_TOKENS]).tobytes())
        return digest.digest()
    before_user = list(takewhile(lambda message: message.role != "user", request.messages))
    for message in request.messages[: len(before_user) + 1]:
        digest.update(f"\0{message.role}\0{message.content[:_PREFIX_CHARACTERS]}".encode("utf-8", "surrogatepass"))
    return digest.digest()


def choose(replicas: Sequence[Replica], key: bytes | None) -> Replica | None:
    """The replica that takes the next request; None if none is free.

    Rendezvous hashing gives every key a home that stays when other replicas come and go. The home takes the request
    unless it would then have over a quarter more than its share of all requests (consistent hashing with bounded
    loads); else, and without a key, the one with the fewest outstanding requests does.
    """
    free = [replica for replica in replicas if replica.free]
    if not free:
        return None
    if key is not None:
        up = [replica for replica in replicas if replica.up]
        home = max(up, key=lambda replica: _weight(key, replica.name))
        fair = (sum(replica.outstanding for replica in up) + 1) / len(up)
        if home.free and home.outstanding < (1 + _SPARE) * fair:
            return home
    return min(free, key=lambda replica: (replica.outstanding, random.random()))


def _weight(key: bytes, name: str) -> bytes:
    return blake2b(name.encode(), key=key, digest_size=8).digest()
