"""A mask of experts for one request, with the official client."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from router import Router
from tests.router.gateway.graphs import user
from tests.router.gateway.servers import Running, serving
from tests.router.mixtures import mixture_graph

ASKED = "what is 2 + 3?"


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Router.from_file(mixture_graph(tmp_path_factory.mktemp("mixture"))) as router, serving(router) as running:
        yield running


def ask(running: Running, model: str, mask: str | None = None) -> str | None:
    body = {} if mask is None else {"expert_mask": mask}
    chat = running.client().chat.completions
    return chat.create(model=model, messages=user(ASKED), extra_body=body).choices[0].message.content


def test_a_request_chooses_among_the_masks_of_its_node(masked: Running) -> None:
    plain = ask(masked, "mixture/plain")
    own = ask(masked, "mixture/masked")
    forced = ask(masked, "mixture/masked", "forced")
    assert len({plain, own, forced}) == 3
    assert ask(masked, "mixture/masked", "off") == own
    assert ask(masked, "mixture/masked", "none") == plain
    client = masked.client()
    more = {"extra_body": {"expert_mask": "forced"}, "max_tokens": 4, "prompt": "abc"}
    assert (
        client.completions.create(model="mixture/masked", **more).choices[0].text  # type: ignore[call-overload]
        != client.completions.create(model="mixture/masked", max_tokens=4, prompt="abc").choices[0].text
    )


@pytest.mark.parametrize(
    ("model", "mask", "known"),
    [
        ("mixture/masked", "nosuch", "forced, off"),
        ("mixture/plain", "off", "none"),
        ("mixture", "nosuch", "forced, off"),
    ],
)
def test_unknown_names_are_refused(masked: Running, model: str, mask: str, known: str) -> None:
    with pytest.raises(openai.BadRequestError, match=rf"\({known}\), found '{mask}'"):
        ask(masked, model, mask)
