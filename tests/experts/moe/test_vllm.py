"""Masks inside real vLLM servers, against the same masks in transformers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from experts.engines.local.checkpoint import fingerprint
from experts.moe.apply import ModelMasks
from experts.moe.collect import scan_prompts
from experts.moe.shape import MoeShape
from tests.experts.engines.vllm.servers import KEY, Servers
from tests.experts.moe.models import ARCHITECTURES, mask, masks, mixture, prompts, save
from tests.experts.moe.vllm_servers import ARGUMENTS, client, forkserver

# The attention of DeepSeek-V3 is computed in another order than in transformers.
TOLERANCE = dict.fromkeys(ARCHITECTURES, 1e-05) | {"deepseek_v3": 1e-4}


class Served:
    """A server, and the same model here."""

    def __init__(self, architecture: str, folder: Path, url: str) -> None:
        self.architecture = architecture
        self.url = url
        self.client = client(url)
        self.model = mixture(architecture)
        self.fingerprint = fingerprint(folder)
        self.local = ModelMasks(self.model, self.fingerprint)
        self.masks = masks(self.fingerprint)
        self.local.set(self.masks)
        self._name = str(folder)
        for one in self.masks.values():
            assert self.put(one).status_code == 200

    def prompts(self, count: int, longest: int, seed: int) -> list[tuple[int, ...]]:
        """Prompts on which the two agree without masks: vLLM's attention of DeepSeek-V3 on CPUs is another from the second
        token on."""
        rows = prompts(count, longest, seed)
        return [row[:1] for row in rows] if self.architecture == "deepseek_v3" else rows

    def put(self, one: Any, name: str | None = None) -> httpx.Response:
        return self.client.put(f"/tokengraph/masks/{name or one.name}", content=one.model_dump_json())

    def post(self, prompt: tuple[int, ...], name: str | None = None, **body: Any) -> httpx.Response:
        arguments = body.pop("vllm_xargs", {}) | ({} if name is None else {"expert_mask": name})
        settings = {"max_tokens": 1, "temperature": 0, "ignore_eos": True, "logprobs": 0, "return_token_ids": True}
        body = settings | body | {"model": self._name, "prompt": list(prompt), "vllm_xargs": arguments}
        return self.client.post("/completions", json=body)

    def logprobs(self, prompt: tuple[int, ...], name: str | None = None, **body: Any) -> tuple[list[int], list[float]]:
        """The answer, and the log-probability of each of its tokens."""
        response = self.post(prompt, name, **body)
        assert response.status_code == 200, response.text
        choice = response.json()["choices"][0]
        return choice["token_ids"], choice["logprobs"]["token_logprobs"]

    def expected(self, prompt: tuple[int, ...], answer: list[int], name: str | None = None) -> list[float]:
        """The same log-probabilities, computed here."""
        with self.local.applied([name]), torch.inference_mode():
            logprobs = self.model(torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
        return [logprobs[len(prompt) + at - 1, token].item() for at, token in enumerate(answer)]

    def check(self, prompt: tuple[int, ...], name: str | None, found: tuple[list[int], list[float]]) -> None:
        answer, logprobs = found
        expected = self.expected(prompt, answer, name)
        assert logprobs == pytest.approx(expected, abs=1e-5), name


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    if find_spec("vllm") is None:
        pytest.skip("vLLM's CPU build is installed by `make test`")
    made = forkserver(tmp_path_factory.mktemp("servers"))
    yield made
    made.close()


# As where forward passes are recorded and replayed: then nothing may depend on what a batch holds.
RECORDED = ("--no-enforce-eager", '--compilation-config={"mode": 0}')


@pytest.fixture(scope="module", params=(*ARCHITECTURES, "qwen3_moe recorded"))
def served(request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Served:
    architecture, _, recorded = request.param.partition(" ")
    folder = save(tmp_path_factory.mktemp("models") / architecture, architecture)
    return Served(architecture, folder, servers.start(folder, *ARGUMENTS, *(RECORDED if recorded else ())))


only_one = pytest.mark.parametrize("served", ["qwen3_moe"], indirect=True)


def test_the_server_says_what_masks_have_to_fit(served: Served) -> None:
    answer = served.client.get("/tokengraph/masks").json()
    assert MoeShape.model_validate(answer["shape"]) == served.local.shape
    assert answer["masks"] == {name: one.digest for name, one in served.masks.items()}


def test_requests_with_different_masks_together(served: Served) -> None:
    """Eight requests at once, each with another mask or none: every log-probability is that of the local model."""
    names = [*served.masks, None]
    rows = served.prompts(len(names), 40, seed=3)
    length = 1 if served.architecture == "deepseek_v3" else 24
    with ThreadPoolExecutor(len(names)) as pool:
        found = list(pool.map(lambda row, name: served.logprobs(row, name, max_tokens=length), rows, names))
    for row, name, one in zip(rows, names, found, strict=True):
        served.check(row, name, one)
    # A mask that changes nothing would pass: with none the log-probabilities of these answers are others.
    for row, name, (answer, logprobs) in zip(rows[:-1], names[:-1], found[:-1], strict=True):
        assert np.abs(np.array(served.expected(row, answer)) - logprobs).max() > 1e-3, name


def test_counts_of_a_scan(served: Served) -> None:
    rows = served.prompts(6, 50, seed=4)
    names = [None, None, None, *list(served.masks)[:3]]
    assert served.client.put("/tokengraph/scans/s").status_code == 200
    with ThreadPoolExecutor(len(rows)) as pool:
        keys = [{"expert_scan": f"s/{at}"} for at in range(len(rows))]
        # More than one token is written, but only the prompt counts.
        list(pool.map(lambda *one: served.logprobs(*one[:2], max_tokens=5, vllm_xargs=one[2]), rows, names, keys))
    found = served.client.delete("/tokengraph/scans/s").json()
    for at, (row, name) in enumerate(zip(rows, names, strict=True)):
        with served.local.applied([name]):
            expected = scan_prompts(served.model, [row])[0]
        assert found[str(at)]["tokens"] == len(row)
        np.testing.assert_array_equal(found[str(at)]["counts"], expected.counts)
        np.testing.assert_allclose(found[str(at)]["weights"], expected.weights, atol=1e-4)


def test_without_a_mask_all_is_bitwise_as_before(served: Served) -> None:
    prompt = prompts(1, 45, seed=5)[0]
    salted = [served.logprobs(prompt, cache_salt=str(at), max_tokens=8) for at in range(2)]
    assert salted[0] == salted[1]  # what two runs of the server give
    assert served.logprobs(prompt, "off", max_tokens=8) != salted[0]
    assert served.logprobs(prompt, cache_salt="afterwards", max_tokens=8) == salted[0]


@only_one
def test_a_prefix_cache_is_not_shared_across_masks(served: Served) -> None:
    prompt = prompts(1, 150, seed=6)[0]
    cached = []
    for name in (None, "off", "dropped") * 2:
        response = served.post(prompt, name, max_tokens=4).json()
        cached.append((response["usage"]["prompt_tokens_details"] or {"cached_tokens": 0})["cached_tokens"])
        choice = response["choices"][0]
        served.check(prompt, name, (choice["token_ids"], choice["logprobs"]["token_logprobs"]))
    assert cached == [0, 0, 0, 128, 128, 128]


@only_one
def test_a_replaced_mask_holds_at_once(served: Served) -> None:
    prompt = prompts(1, 100, seed=7)[0]
    changed = mask("off", fingerprint=served.fingerprint, l0={"off": [1, 3, 5, 7, 9]})
    before = served.logprobs(prompt, "off")
    assert served.put(changed).json() == {"name": "off", "digest": changed.digest}
    served.local.set(served.masks | {"off": changed})
    served.check(prompt, "off", served.logprobs(prompt, "off"))
    assert served.put(served.masks["off"]).status_code == 200
    served.local.set(served.masks)
    assert served.logprobs(prompt, "off") == before


@only_one
def test_a_removed_mask_is_refused_and_its_slot_used_again(served: Served) -> None:
    for number in range(12):  # there are 8 slots, and 7 masks in them
        other = mask(f"m{number}", fingerprint=served.fingerprint, l1={"off": [number]})
        assert served.put(other).status_code == 200
        assert served.post((7, 8), other.name).status_code == 200
        assert served.client.delete(f"/tokengraph/masks/{other.name}").status_code == 200
        refused = served.post((7, 8), other.name)
        assert refused.status_code == 400 and other.name in refused.text
    assert served.client.delete("/tokengraph/masks/m0").status_code == 404


@only_one
def test_a_mask_that_runs_keeps_its_slot(served: Served) -> None:
    """A request goes on with the mask that it began with, although that is removed and others come."""
    long = mask("long", fingerprint=served.fingerprint, l1={"off": [2, 4, 6]}, l2={"force": [3]})
    assert served.put(long).status_code == 200
    prompt = prompts(1, 60, seed=8)[0]
    body = {"model": served._name, "prompt": list(prompt), "max_tokens": 150, "temperature": 0, "ignore_eos": True,
            "logprobs": 0, "return_token_ids": True, "stream": True, "vllm_xargs": {"expert_mask": "long"}}  # fmt: skip
    answer, logprobs = [], []
    with served.client.stream("POST", "/completions", json=body) as response:
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            choice = json.loads(line.removeprefix("data: "))["choices"][0]
            if not answer:
                assert served.client.delete("/tokengraph/masks/long").status_code == 200
                other = mask("other", fingerprint=served.fingerprint, l1={"off": [1]})
                assert served.put(other).status_code == 409  # the only free slot is still in use
            answer += choice["token_ids"]
            logprobs += choice["logprobs"]["token_logprobs"]
    assert len(answer) == 150
    served.local.set(served.masks | {"long": long})
    served.check(prompt, "long", (answer, logprobs))
    served.local.set(served.masks)
    assert served.put(other).status_code == 200
    assert served.client.delete("/tokengraph/masks/other").status_code == 200


@only_one
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fingerprint": "0" * 32}, "fingerprint"),
        ({"layers": {"7": {"off": [1]}}}, "0 to 2.*layer 7"),
        ({"layers": {"1": {"off": [16]}}}, "experts 0 to 15.*found 16"),
        ({"layers": {"1": {"off": list(range(13))}}}, "at least 4 experts left"),
        ({"layers": {"1": {"off": [1], "force": [1]}}}, "in both"),
        ({"name": "other"}, "path names, off, found other"),
        ({"version": 2}, "version"),
    ],
)
def test_wrong_masks_are_refused(served: Served, change: dict[str, Any], message: str) -> None:
    content = json.dumps(served.masks["off"].model_dump(mode="json") | change)
    response = served.client.put("/tokengraph/masks/off", content=content)
    assert response.status_code == 400
    assert re.search(message, response.text), response.text


@only_one
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"vllm_xargs": {"expert_mask": "sharpened"}}, r"biased.*sharpened.*Register it first"),
        ({"vllm_xargs": {"expert_mask": 1}}, "found 1"),
        ({"vllm_xargs": {"expert_mask": "sharpened"}, "stream": True}, "sharpened"),
        ({"vllm_xargs": {"expert_scan": "nobody/1"}}, "open scan"),
        ({"cache_salt": "tokengraph:guess"}, "cache_salt"),
    ],
)
def test_wrong_requests_are_refused(served: Served, body: dict[str, Any], message: str) -> None:
    response = served.post((7, 8), **body)
    assert response.status_code == 400
    assert re.search(message, response.text), response.text


@only_one
def test_slots_cannot_be_named_by_clients(served: Served) -> None:
    prompt = prompts(1, 20, seed=9)[0]
    forged = served.logprobs(prompt, vllm_xargs={"tokengraph_slot": 1, "tokengraph_scan": ["a", "b"]})
    served.check(prompt, None, forged)


@only_one
def test_a_key_of_a_scan_is_used_once(served: Served) -> None:
    assert served.client.put("/tokengraph/scans/once").status_code == 200
    assert served.client.put("/tokengraph/scans/once").status_code == 409
    statuses = [served.post((7, 8), vllm_xargs={"expert_scan": "once/a"}).status_code for _ in range(2)]
    assert statuses == [200, 400]
    assert list(served.client.delete("/tokengraph/scans/once").json()) == ["a"]
    assert served.client.delete("/tokengraph/scans/once").status_code == 404


@only_one
@pytest.mark.parametrize("route", ["masks/off", "masks", "scans/s"])
def test_masks_need_the_admin_token(served: Served, route: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = httpx.request(
            method, f"{served.url}/v1/tokengraph/{route}", headers={"Authorization": f"Bearer {KEY}"}
        )
        assert answer.status_code in (403, 405)
    assert served.client.get("/tokengraph/masks").json()["masks"].keys() >= {"off"}
