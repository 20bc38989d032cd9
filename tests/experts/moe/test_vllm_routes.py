"""What tokengraph's plugin in a vLLM server answers to whoever is no client of ours."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from tests.experts.engines.vllm.servers import KEY, Servers
from tests.experts.moe.models import mask, prompts, save
from tests.experts.moe.vllm_servers import ARGUMENTS, SLOTS, Served


@pytest.fixture(scope="module")
def served(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = save(tmp_path_factory.mktemp("models") / "qwen3_moe", "qwen3_moe")
    made = Served("qwen3_moe", folder, servers.start(folder, *ARGUMENTS))
    for one in made.masks.values():
        assert made.put(one).status_code == 200
    return made


def test_masks_are_listed(served: Served) -> None:
    answer = served.http.get("/tokengraph/masks").json()
    assert answer["masks"] == {name: one.digest for name, one in served.masks.items()}
    assert answer["default"] is None


def test_a_prefix_cache_is_not_shared_across_masks(served: Served) -> None:
    prompt = prompts(1, 150, seed=6)[0]
    cached = []
    for name in (None, "off", "dropped") * 2:
        response = served.post(prompt, name, max_tokens=4)
        cached.append((response.json()["usage"]["prompt_tokens_details"] or {"cached_tokens": 0})["cached_tokens"])
        served.check(prompt, name, *served.answered(response))
    assert cached == [0, 0, 0, 128, 128, 128]


def test_a_replaced_mask_holds_at_once(served: Served) -> None:
    prompt = prompts(1, 100, seed=7)[0]
    changed = mask("off", fingerprint=served.fingerprint, l0={"off": [1, 3, 5, 7, 9]})
    before = served.answered(served.post(prompt, "off"))
    assert served.put(changed).json() == {"name": "off", "digest": changed.digest}
    served.local.set(served.masks | {"off": changed})
    served.check(prompt, "off", *served.answered(served.post(prompt, "off")))
    assert served.put(served.masks["off"]).status_code == 200
    served.local.set(served.masks)
    assert served.answered(served.post(prompt, "off")) == before


def test_a_removed_mask_is_refused_and_its_slot_used_again(served: Served) -> None:
    for number in range(SLOTS + 4):  # 7 of the slots have masks in them
        other = mask(f"m{number}", fingerprint=served.fingerprint, l1={"off": [number]})
        assert served.put(other).status_code == 200
        assert served.post((7, 8), other.name).status_code == 200
        assert served.http.delete(f"/tokengraph/masks/{other.name}").status_code == 200
        refused = served.post((7, 8), other.name)
        assert refused.status_code == 400 and other.name in refused.text
        assert refused.json()["error"]["param"] == "expert_mask"
    assert served.http.delete("/tokengraph/masks/m0").status_code == 404


def test_a_mask_that_runs_keeps_its_slot(served: Served) -> None:
    """A request goes on with the mask that it began with, although that is removed and others come."""
    long = mask("long", fingerprint=served.fingerprint, l1={"off": [2, 4, 6]}, l2={"force": [3]})
    assert served.put(long).status_code == 200
    prompt = prompts(1, 60, seed=8)[0]
    body = {"model": str(served.folder), "prompt": list(prompt), "max_tokens": 150, "temperature": 0, "ignore_eos": True,
            "logprobs": 0, "return_token_ids": True, "stream": True, "vllm_xargs": {"expert_mask": "long"}}  # fmt: skip
    answer: list[int] = []
    logprobs: list[float] = []
    with served.http.stream("POST", "/completions", json=body) as response:
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            choice = json.loads(line.removeprefix("data: "))["choices"][0]
            if not answer:
                assert served.http.delete("/tokengraph/masks/long").status_code == 200
                other = mask("other", fingerprint=served.fingerprint, l1={"off": [1]})
                assert served.put(other).status_code == 409  # the only free slot is still in use
            answer += choice["token_ids"]
            logprobs += choice["logprobs"]["token_logprobs"]
    assert len(answer) == 150
    served.local.set(served.masks | {"long": long})
    served.check(prompt, "long", tuple(answer), tuple(logprobs))
    served.local.set(served.masks)
    assert served.put(other).status_code == 200
    assert served.http.delete("/tokengraph/masks/other").status_code == 200


def test_masks_without_a_name_of_their_own_make_room(served: Served) -> None:
    """The one that was used longest ago does, unless it is everybody's."""
    digests = []
    for number in range(3):  # there is one free slot
        made = mask("x", fingerprint=served.fingerprint, l1={"off": [number]})
        digests.append(made.digest)
        assert served.put(made.model_copy(update={"name": made.digest})).status_code == 200
        listed = served.http.get("/tokengraph/masks").json()["masks"]
        assert set(listed) == {*served.masks, made.digest}
    assert served.http.put(f"/tokengraph/default/{digests[-1]}").status_code == 200
    assert served.put(mask("no-room", fingerprint=served.fingerprint, l0={"off": [0]})).status_code == 409
    assert served.http.delete(f"/tokengraph/masks/{digests[-1]}").status_code == 200
    assert served.http.delete("/tokengraph/default").json() == {"default": None}  # it went with its mask
    assert served.http.put("/tokengraph/default/x").status_code == 404


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
    response = served.http.put("/tokengraph/masks/off", content=content)
    assert response.status_code == 400
    assert re.search(message, response.text), response.text


def test_the_name_of_no_mask_is_refused(served: Served) -> None:
    response = served.put(mask("none", fingerprint=served.fingerprint))
    assert response.status_code == 400 and "another name than none" in response.text
    prompt = prompts(1, 20, seed=9)[0]
    served.check(prompt, None, *served.answered(served.post(prompt, "none")))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"vllm_xargs": {"expert_mask": "sharpened"}}, r"biased.*sharpened.*Register it first"),
        ({"vllm_xargs": {"expert_mask": 1}}, "found 1"),
        ({"vllm_xargs": {"expert_mask": ["off"]}}, "found"),
        ({"vllm_xargs": {"expert_mask": "sharpened"}, "stream": True}, "sharpened"),
        ({"vllm_xargs": {"expert_scan": "nobody/1"}}, "open scan"),
        ({"cache_salt": "tokengraph:guess"}, "cache_salt"),
    ],
)
def test_wrong_requests_are_refused(served: Served, body: dict[str, Any], message: str) -> None:
    response = served.post((7, 8), **body)
    assert response.status_code == 400
    assert re.search(message, response.text), response.text


def test_slots_cannot_be_named_by_clients(served: Served) -> None:
    prompt = prompts(1, 20, seed=9)[0]
    forged = served.post(prompt, vllm_xargs={"tokengraph_slot": 1, "tokengraph_scan": ["a", "b"]})
    served.check(prompt, None, *served.answered(forged))


def test_a_key_of_a_scan_is_used_once(served: Served) -> None:
    assert served.http.put("/tokengraph/scans/once").status_code == 200
    assert served.http.put("/tokengraph/scans/once").status_code == 409
    statuses = [served.post((7, 8), vllm_xargs={"expert_scan": "once/a"}).status_code for _ in range(2)]
    assert statuses == [200, 400]
    assert list(served.http.delete("/tokengraph/scans/once").json()) == ["a"]
    assert served.http.delete("/tokengraph/scans/once").status_code == 404


@pytest.mark.parametrize("route", ["masks/off", "masks", "scans/s", "default/off", "default"])
def test_masks_need_the_admin_token(served: Served, route: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = httpx.request(
            method, f"{served.url}/v1/tokengraph/{route}", headers={"Authorization": f"Bearer {KEY}"}
        )
        assert answer.status_code in (403, 405)
    assert served.http.get("/tokengraph/masks").json()["masks"].keys() >= {"off"}
