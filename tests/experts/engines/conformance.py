"""The contract of ``Engine`` as tests: subclass ``EngineConformance`` and supply the engine.

Tests of a capability that the engine does not report check that it refuses.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from contextlib import aclosing
from dataclasses import replace

import jsonschema
import numpy as np
import pytest

from experts.engines.base import Capability, Engine, require
from experts.engines.requests import (
    NEVER,
    NO_MASK,
    Chunk,
    Defer,
    GenerateRequest,
    Generation,
    JsonStructure,
    Message,
    Sampling,
    Session,
)
from experts.errors import CapabilityError, DeadlineExceeded, RequestError

ASK = GenerateRequest(
    messages=(Message("user", "What is 2 + 3?"),), max_tokens=12, sampling=Sampling(temperature=1.0, seed=5), ignore_eos=True
)  # fmt: skip

SCHEMA = {
    "type": "object", "properties": {"sum": {"enum": ["five", "six", None]}, "sure": {"type": "boolean"}},
    "required": ["sum", "sure"], "additionalProperties": False,
}  # fmt: skip


async def chunks_of(engine: Engine, request: GenerateRequest) -> list[Chunk]:
    return [chunk async for chunk in engine.stream(request)]


def assert_same(one: Generation, other: Generation, tolerance: float = 1e-5) -> None:
    """Equal but for rounding of the log-probabilities."""
    assert one.logprobs == pytest.approx(other.logprobs, abs=tolerance)
    assert one.first_logprobs == pytest.approx(other.first_logprobs, abs=tolerance)
    assert [set(top) for top in one.top_logprobs] == [set(top) for top in other.top_logprobs]
    plain = {"logprobs": (), "first_logprobs": {}, "top_logprobs": ()}
    assert replace(one, **plain) == replace(other, **plain)  # type: ignore[arg-type]


def skip_without(engine: Engine, *capabilities: Capability) -> None:
    if missing := set(capabilities) - engine.capabilities:
        pytest.skip(f"no {missing}")


class EngineConformance:
    """Subclasses define a fixture ``engine`` that generates, and name a special token of its vocabulary, if any."""

    special_token: str | None = "<node_0>"
    second_token: str | None = "<node_1>"

    def test_info_is_complete(self, engine: Engine) -> None:
        info = engine.info
        assert info.model
        assert info.fingerprint
        assert 0 <= info.activated_parameters <= info.parameters
        assert info.vocabulary_size > 0
        assert info.context_length > 0

    @pytest.mark.parametrize("text", ["", "a", "2 + 3 = 5", "  two  spaces\nand a line\n"])
    def test_decode_reverses_encode(self, engine: Engine, text: str) -> None:
        assert engine.decode(engine.encode(text)) == text

    def test_unknown_special_tokens_have_no_id(self, engine: Engine) -> None:
        assert engine.token_id("<no such token>") is None

    def test_spelling_of_a_special_token_stays_characters(self, engine: Engine) -> None:
        if self.special_token is None:
            pytest.skip("no special token")
        special = engine.token_id(self.special_token)
        assert special is not None
        assert engine.decode([special]) == self.special_token
        spelled = engine.encode(f"a{self.special_token}b")
        assert special not in spelled
        assert engine.decode(spelled) == f"a{self.special_token}b"
        request = GenerateRequest(messages=(Message("user", self.special_token),))
        assert special not in engine.render(request)

    def test_render_is_prompt_then_forced_ids(self, engine: Engine) -> None:
        prompt, forced = engine.render(ASK), engine.encode("ok")
        assert engine.render(replace(ASK, forced_ids=forced)) == prompt + forced
        assert engine.render(replace(ASK, messages=(), prompt_ids=prompt)) == prompt

    @pytest.mark.asyncio
    async def test_generation_is_consistent(self, engine: Engine) -> None:
        answer = await engine.generate(ASK)
        assert 1 <= len(answer.token_ids) <= ASK.max_tokens
        assert len(answer.logprobs) == len(answer.token_ids)
        assert all(logprob <= 0 for logprob in answer.logprobs)
        assert answer.prompt_tokens == len(engine.render(ASK))
        assert answer.top_logprobs == ()
        assert answer.first_logprobs == {}

    @pytest.mark.asyncio
    async def test_length_limit(self, engine: Engine) -> None:
        answer = await engine.generate(replace(ASK, max_tokens=3))
        assert len(answer.token_ids) == 3
        assert (answer.finish_reason, answer.stop_reason) == ("length", None)

    @pytest.mark.asyncio
    async def test_same_request_same_answer(self, engine: Engine) -> None:
        greedy = replace(ASK, sampling=Sampling())
        for request in (ASK, greedy):
            assert_same(await engine.generate(request), await engine.generate(request))

    @pytest.mark.asyncio
    async def test_requests_together_answer_as_alone(self, engine: Engine) -> None:
        requests = [replace(ASK, max_tokens=n, sampling=Sampling(float(n % 2), seed=n)) for n in range(2, 10)]
        together = await asyncio.gather(*map(engine.generate, requests))
        for request, answer in zip(requests, together, strict=True):
            assert_same(answer, await engine.generate(request))

    @pytest.mark.asyncio
    async def test_stream_adds_up_to_generation(self, engine: Engine) -> None:
        skip_without(engine, Capability.STREAM)
        whole = await engine.generate(ASK)
        chunks = await chunks_of(engine, ASK)
        assert [chunk.generation is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        assert chunks[-1].generation is not None
        assert_same(chunks[-1].generation, whole)
        assert "".join(chunk.text for chunk in chunks) == whole.text
        assert tuple(token for chunk in chunks for token in chunk.token_ids) == whole.token_ids

    @pytest.mark.asyncio
    async def test_stream_may_be_closed_early(self, engine: Engine) -> None:
        skip_without(engine, Capability.STREAM)
        async with aclosing(engine.stream(replace(ASK, max_tokens=100))) as stream:  # type: ignore[type-var]
            await anext(stream)
        assert_same(await engine.generate(ASK), await engine.generate(ASK))

    @pytest.mark.asyncio
    async def test_stop_text_across_tokens(self, engine: Engine) -> None:
        whole = (await engine.generate(ASK)).text
        stop = whole[4:7]
        request = replace(ASK, stop=("never in it", stop))
        answer = await engine.generate(request)
        assert answer.text == whole[: whole.index(stop)]
        assert (answer.finish_reason, answer.stop_reason) == ("stop", stop)
        assert len(answer.token_ids) < ASK.max_tokens
        if Capability.STREAM in engine.capabilities:
            assert "".join(chunk.text for chunk in await chunks_of(engine, request)) == answer.text

    @pytest.mark.asyncio
    async def test_half_a_stop_text_is_no_stop(self, engine: Engine) -> None:
        whole = await engine.generate(ASK)
        request = replace(ASK, stop=(whole.text[-2:] + "\x00",))
        assert_same(await engine.generate(request), whole)

    @pytest.mark.asyncio
    async def test_stop_token(self, engine: Engine) -> None:
        whole = await engine.generate(ASK)
        stop = whole.token_ids[3]
        answer = await engine.generate(replace(ASK, stop_token_ids=(stop,)))
        assert answer.token_ids == whole.token_ids[: whole.token_ids.index(stop) + 1]
        assert (answer.finish_reason, answer.stop_reason) == ("stop", stop)
        assert whole.text.startswith(answer.text)
        assert engine.decode([stop]) not in answer.text

    @pytest.mark.asyncio
    async def test_first_token_is_chosen_among_the_given(self, engine: Engine) -> None:
        skip_without(engine, Capability.ALLOWED_TOKENS)
        given = (*engine.encode("xyz"), *engine.encode("q"))
        answer = await engine.generate(replace(ASK, first_token_ids=given, sampling=Sampling(), top_logprobs=2))
        assert tuple(answer.first_logprobs) == given
        assert sum(map(math.exp, answer.first_logprobs.values())) == pytest.approx(1, abs=1e-5)
        assert answer.token_ids[0] == max(given, key=lambda token: answer.first_logprobs[token])
        assert answer.logprobs[0] == pytest.approx(answer.first_logprobs[answer.token_ids[0]])
        assert set(answer.top_logprobs[0]) <= set(given)
        assert len(answer.token_ids) > 1

    @pytest.mark.asyncio
    async def test_allowed_tokens(self, engine: Engine) -> None:
        skip_without(engine, Capability.ALLOWED_TOKENS)
        allowed = engine.encode("01")
        answer = await engine.generate(replace(ASK, allowed_token_ids=allowed))
        assert set(answer.token_ids) <= set(allowed)
        assert len(answer.token_ids) == ASK.max_tokens

    @pytest.mark.asyncio
    async def test_a_banned_token_is_not_chosen(self, engine: Engine) -> None:
        skip_without(engine, Capability.ALLOWED_TOKENS)
        greedy = replace(ASK, sampling=Sampling())
        banned = (await engine.generate(greedy)).token_ids[0]
        answer = await engine.generate(replace(greedy, logit_bias={banned: NEVER}))
        assert banned not in answer.token_ids
        assert len(answer.token_ids) == ASK.max_tokens

    @pytest.mark.asyncio
    async def test_top_logprobs(self, engine: Engine) -> None:
        skip_without(engine, Capability.LOGPROBS)
        answer = await engine.generate(replace(ASK, top_logprobs=3, sampling=Sampling()))
        assert len(answer.top_logprobs) == len(answer.token_ids)
        for token, logprob, top in zip(answer.token_ids, answer.logprobs, answer.top_logprobs, strict=True):
            assert 1 <= len(top) <= 3
            assert top[token] == pytest.approx(logprob)
            assert list(top.values()) == sorted(top.values(), reverse=True)

    @pytest.mark.asyncio
    async def test_an_answer_is_held_to_a_schema(self, engine: Engine) -> None:
        held = replace(ASK, structure=JsonStructure(SCHEMA), max_tokens=120, ignore_eos=False)
        if Capability.STRUCTURED_OUTPUTS not in engine.capabilities:
            for call in (engine.generate(held), chunks_of(engine, held)):
                with pytest.raises(CapabilityError, match=r"hold an answer to JSON.*engine: vllm"):
                    await call
            return
        # A random model would go on with white space, which JSON may have anywhere, until there is no room left.
        held = replace(held, logit_bias=dict.fromkeys(engine.encode(" \t\n\r"), NEVER), top_logprobs=2)
        for sampling in (Sampling(), *(Sampling(1.0, seed=seed) for seed in range(3))):
            request = replace(held, sampling=sampling)
            answer = await engine.generate(request)
            assert (answer.finish_reason, answer.stop_reason) == ("stop", None)
            jsonschema.validate(json.loads(answer.text), SCHEMA)
            assert len(answer.logprobs) == len(answer.token_ids)
            chunks = await chunks_of(engine, request)
            assert "".join(chunk.text for chunk in chunks) == answer.text
        free = await engine.generate(replace(ASK, max_tokens=1, sampling=Sampling(), top_logprobs=3))
        first = await engine.generate(replace(held, max_tokens=1, sampling=Sampling(), top_logprobs=3))
        assert first.top_logprobs[0].keys() >= free.top_logprobs[0].keys(), "the model's own log-probabilities"

    @pytest.mark.asyncio
    async def test_an_answer_is_held_to_an_object(self, engine: Engine) -> None:
        skip_without(engine, Capability.STRUCTURED_OUTPUTS)
        answer = await engine.generate(replace(ASK, structure=JsonStructure()))
        assert answer.text.startswith("{")
        assert (answer.finish_reason, len(answer.token_ids)) == ("length", ASK.max_tokens)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("name", ["first_token_ids", "allowed_token_ids"])
    async def test_a_structure_and_a_choice_of_tokens_are_refused(self, engine: Engine, name: str) -> None:
        skip_without(engine, Capability.STRUCTURED_OUTPUTS)
        with pytest.raises(RequestError, match=f"either a structure or {name}"):
            await engine.generate(replace(ASK, structure=JsonStructure(), **{name: engine.encode("{")}))  # type: ignore[arg-type]

    @pytest.mark.asyncio
    async def test_nothing_is_deferred_above_all_scores(self, engine: Engine) -> None:
        skip_without(engine, Capability.DEFER)
        whole = await engine.generate(ASK)
        assert whole.criticality == ()
        scored = await engine.generate(replace(ASK, defer=Defer(1.1), criticality=True))
        assert len(scored.criticality) == len(scored.token_ids)
        assert all(0 <= score <= 1 for score in scored.criticality)
        assert_same(replace(scored, criticality=()), whole)
        assert_same(await engine.generate(replace(ASK, criticality=True)), scored)

    @pytest.mark.asyncio
    async def test_ends_before_the_first_token_that_is_left(self, engine: Engine) -> None:
        skip_without(engine, Capability.DEFER)
        greedy = replace(ASK, sampling=Sampling(), criticality=True)
        whole = await engine.generate(greedy)
        threshold = max(whole.criticality[3:])
        for after in (0, 2, len(whole.token_ids)):
            places = [i for i, score in enumerate(whole.criticality) if i >= after and score >= threshold - 1e-4]
            request = replace(greedy, defer=Defer(threshold - 1e-4, after=after))
            left = await engine.generate(request)
            end = (places or [len(whole.token_ids)])[0]
            assert left.token_ids == whole.token_ids[:end]
            assert left.logprobs == pytest.approx(whole.logprobs[:end], abs=1e-4)
            assert left.criticality == pytest.approx(whole.criticality[: end + 1], abs=1e-4)
            assert (left.finish_reason, left.stop_reason) == (("defer", None) if places else ("length", None))
            assert whole.text.startswith(left.text)
            assert_same(await engine.generate(replace(request, criticality=False)), replace(left, criticality=()), 1e-4)
            if Capability.STREAM in engine.capabilities:
                chunks = await chunks_of(engine, request)
                assert tuple(token for chunk in chunks for token in chunk.token_ids) == left.token_ids
                assert "".join(chunk.text for chunk in chunks) == left.text

    @pytest.mark.asyncio
    async def test_the_very_first_token_can_be_left(self, engine: Engine) -> None:
        skip_without(engine, Capability.DEFER)
        left = await engine.generate(replace(ASK, defer=Defer(0.0), criticality=True))
        assert (left.token_ids, left.text, left.logprobs, left.finish_reason) == ((), "", (), "defer")
        assert len(left.criticality) == 1

    @pytest.mark.asyncio
    async def test_a_session_goes_on_where_it_was(self, engine: Engine) -> None:
        """Whatever the engine keeps between two requests, the second one's answer is that of a fresh request."""
        if Capability.ALLOWED_TOKENS not in engine.capabilities:
            pytest.skip("it answers questions, and does not go on from tokens")
        session, prompt, greedy = Session(), engine.render(ASK), replace(ASK, messages=(), sampling=Sampling())
        whole = await engine.generate(replace(greedy, prompt_ids=prompt))
        first = await engine.generate(replace(greedy, prompt_ids=prompt, max_tokens=5, session=session))
        assert first.token_ids == whole.token_ids[:5]
        onward = replace(greedy, prompt_ids=prompt + first.token_ids, max_tokens=7)
        rest = await engine.generate(replace(onward, session=session))
        assert_same(rest, await engine.generate(onward), 1e-4)
        other = replace(onward, prompt_ids=prompt + engine.encode("something else"))
        assert_same(await engine.generate(replace(other, session=session)), await engine.generate(other), 1e-4)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("change", [{"defer": Defer(0.5)}, {"criticality": True}])
    async def test_deferring_needs_a_token_router(self, engine: Engine, change: dict[str, object]) -> None:
        if Capability.DEFER in engine.capabilities:
            pytest.skip("it has one")
        with pytest.raises(CapabilityError, match=r"defer.*token_router"):
            await engine.generate(replace(ASK, **change))  # type: ignore[arg-type]

    @pytest.mark.asyncio
    @pytest.mark.parametrize(("defer", "named"), [(Defer(-0.1), "threshold"), (Defer(math.nan), "threshold"),
                                                  (Defer(math.inf), "threshold"), (Defer(0.5, after=-1), "after")])  # fmt: skip
    async def test_wrong_deferring_is_refused(self, engine: Engine, defer: Defer, named: str) -> None:
        with pytest.raises(RequestError, match=named):
            await engine.generate(replace(ASK, defer=defer))

    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"messages": ()}, "messages"),
            ({"prompt_ids": (1,)}, "both"),
            ({"max_tokens": 0}, "max_tokens"),
            ({"top_logprobs": -1}, "top_logprobs"),
            ({"logit_bias": {1: 101.0}}, "logit_bias"),
            ({"logit_bias": {10**9: 1.0}}, "logit_bias"),
            ({"sampling": Sampling(temperature=-1.0)}, "temperature"),
            ({"sampling": Sampling(top_p=0.0)}, "top_p"),
            ({"first_token_ids": ()}, "first_token_ids"),
            ({"allowed_token_ids": (10**9,)}, "allowed_token_ids"),
            ({"messages": (), "prompt_ids": (-1,)}, "prompt_ids"),
            ({"messages": (), "prompt_ids": ()}, "prompt"),
            ({"stop": ("",)}, "stop"),
            ({"adapter": "no such adapter"}, "adapters"),
            ({"expert_mask": "no such mask"}, "masks"),
        ],
    )
    async def test_wrong_requests_are_refused(self, engine: Engine, change: dict[str, object], named: str) -> None:
        request = replace(ASK, **change)  # type: ignore[arg-type]
        with pytest.raises(RequestError, match=named):
            await engine.generate(request)
        with pytest.raises(RequestError, match=named):
            await chunks_of(engine, request)

    @pytest.mark.asyncio
    async def test_no_mask_of_experts_can_be_asked_for(self, engine: Engine) -> None:
        assert_same(await engine.generate(replace(ASK, expert_mask=NO_MASK)), await engine.generate(ASK))

    @pytest.mark.asyncio
    async def test_passed_deadline_is_refused(self, engine: Engine) -> None:
        request = replace(ASK, deadline=time.monotonic())
        with pytest.raises(DeadlineExceeded, match="deadline"):
            await engine.generate(request)
        with pytest.raises(DeadlineExceeded, match="deadline"):
            await chunks_of(engine, request)
        assert await engine.generate(replace(ASK, deadline=time.monotonic() + 100))

    @pytest.mark.asyncio
    async def test_lacking_capabilities_are_refused(self, engine: Engine) -> None:
        calls = {
            Capability.EMBED: lambda: engine.embed(["a"]),
            Capability.LAYERS: lambda: engine.embed(["a"], layers=True),
            Capability.HIDDEN_STATES: lambda: engine.hidden_states([ASK]),
            Capability.EXPERT_MASKS: lambda: engine.set_masks({}),
            Capability.EXTEND_VOCABULARY: lambda: engine.extend_vocabulary({"<x>": np.zeros(4, dtype=np.float32)}),
        }
        for capability, call in calls.items():
            if capability not in engine.capabilities:
                with pytest.raises(CapabilityError, match=capability):
                    await call()
                with pytest.raises(CapabilityError, match=capability):
                    require(engine, capability)
