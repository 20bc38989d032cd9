"""Completions, embeddings and models with the official client."""

from __future__ import annotations

import base64

import numpy as np
import openai
import pytest

from router import Router
from router.types import WorkerId
from tests.router.gateway.graphs import lone, user
from tests.router.gateway.recording import Recording
from tests.router.gateway.servers import Running, serving
from tests.router.runtime.graphs import edge, expert, router, says, spec


def test_a_node_goes_on_with_the_prompt_as_it_is() -> None:
    engine = Recording()
    with serving(Router(lone(says("x")), engines={WorkerId("w"): engine})) as running:
        create = running.client().completions.create
        answer = create(model="lone", prompt="once upon", max_tokens=3, logprobs=2)
        create(model="lone/a", prompt=[5, 6, 7])
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("ans", "length")
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert (logprobs.tokens, logprobs.text_offset) == (["a", "n", "s"], [0, 1, 2])
    assert [*map(len, logprobs.top_logprobs or ())] == [1, 1, 1]
    text, ids = engine.requests
    assert text.messages == () and engine.decode(text.prompt_ids or ()) == "once upon"
    assert (text.max_tokens, text.top_logprobs, ids.prompt_ids) == (3, 2, (5, 6, 7))


def test_a_completion_is_the_raw_text() -> None:
    written = "\n 1+1=2 \n"
    with serving(lone(says(written), answer_after="=", stop=["#"])) as running:
        create = running.client().completions.create
        choice = create(model="lone", prompt="x", logprobs=0).choices[0]
        chunks = [chunk.choices[0] for chunk in create(model="lone", prompt="x", logprobs=0, stream=True)]
        question = running.client().chat.completions.create(model="lone", messages=user("x"))
    assert choice.text == written == "".join(chunk.text for chunk in chunks)
    assert len(chunks) > len(written), "piece by piece"
    for logprobs in (choice.logprobs, chunks[-1].logprobs):
        assert logprobs is not None
        assert (logprobs.tokens, logprobs.text_offset) == ([*written], [*range(len(written))])
    assert question.choices[0].message.content == "2", "an answer to a question is what the spec says"


@pytest.mark.parametrize("model", ["lone", "pair"])
def test_offsets_fit_the_text(model: str) -> None:
    """Special tokens are told with the others, but the text has none; around an answer there is no white space."""
    worker = says(" a<end>bc ")
    nodes = {"a": expert("w"), "b": expert("w")}
    graph = lone(worker) if model == "lone" else spec("a", {"w": worker}, nodes, edge("a", "b", "error"), name="pair")
    with serving(graph) as running:
        choice = running.client().completions.create(model=model, prompt="x", logprobs=0).choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.tokens == [" ", "a", "<end>", "b", "c", " "]
    expected = (" abc ", [0, 1, 2, 2, 3, 4]) if model == "lone" else ("abc", [0, 0, 1, 1, 2, 3])
    assert (choice.text, choice.logprobs.text_offset) == expected


def test_the_graph_takes_a_prompt_for_a_question(server: Running) -> None:
    create = server.client().completions.create
    answers = create(model="desk", prompt=["repeat me", "x"], n=2)
    assert [choice.text for choice in answers.choices] == ["[me]"] * 2 + ["something else altogether"] * 2
    streamed: dict[int, str] = {}
    chunks = list(create(model="desk", prompt=["repeat me", "x"], stream=True))
    for chunk in chunks:
        (choice,) = chunk.choices
        streamed[choice.index] = streamed.get(choice.index, "") + choice.text
    assert streamed == {0: "[me]", 1: "something else altogether"}
    assert [hasattr(chunk, "tokengraph") for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    asked = list(create(model="desk", prompt="x", stream=True, stream_options={"include_usage": True}))
    assert [bool(chunk.choices) for chunk in asked] == [True] * (len(asked) - 1) + [False]
    assert asked[-1].usage is not None and asked[-1].usage.total_tokens > 0
    with pytest.raises(openai.BadRequestError, match="Ask a node"):
        create(model="desk", prompt=[1, 2])
    with pytest.raises(openai.BadRequestError, match="suffix"):
        create(model="desk", prompt="x", suffix="y")


def test_models(server: Running) -> None:
    client = server.client()
    assert [model.id for model in client.models.list()] == ["desk", "desk/echo", "desk/other", "desk/down"]
    assert client.models.retrieve("desk/echo").owned_by == "tokengraph"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("desk/none")


def test_embeddings_of_the_encoder_that_routes() -> None:
    workers = {"master": {"engine": "local", "model": "all-MiniLM-L6-v2", "task": "embed"}, "e": says("x")}
    nodes = {"master": router("master"), "a": expert("e", description="sums"), "b": expert("e", description="poems")}
    graph = spec("master", workers, nodes, edge("master", "a"), edge("master", "b"), name="desk")
    with serving(graph) as running:
        client = running.client()
        assert "desk/master" in [model.id for model in client.models.list()]
        texts = ["hello there", "goodbye"]
        got = client.embeddings.create(model="desk/master", input=texts)  # the client asks for base64
        plain = client.embeddings.create(model="desk", input=texts[0], encoding_format="float")
        coded = client.embeddings.with_raw_response.create(model="desk", input=texts[0], encoding_format="base64")
        assert got.usage.prompt_tokens == got.usage.total_tokens > 0
        first = np.frombuffer(base64.b64decode(coded.http_response.json()["data"][0]["embedding"]), "<f4")
        np.testing.assert_allclose(first, plain.data[0].embedding, atol=1e-6)
        np.testing.assert_allclose(first, got.data[0].embedding, atol=1e-6)
        assert np.linalg.norm(got.data[1].embedding) == pytest.approx(1, abs=1e-5)
        with pytest.raises(openai.BadRequestError, match="desk/master"):
            client.embeddings.create(model="desk/a", input="x")
