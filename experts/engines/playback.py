"""Plays a known answer the way a model would generate it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice, repeat

from experts.engines.answer_text import AnswerText
from experts.engines.base import EngineInfo
from experts.engines.characters import CharacterVocabulary
from experts.engines.checks import check_prompt, check_request
from experts.engines.partial import PartialEngine
from experts.engines.requests import NEVER, Chunk, GenerateRequest, Generation, TokenId

CONTEXT_LENGTH = 1_000_000

_CHOSEN_FIRST = 0.9


@dataclass(frozen=True)
class Script:
    """What to say: token ids without the end token, and the log-probability of each."""

    token_ids: tuple[TokenId, ...]
    logprob: float = 0.0


class PlaybackEngine(PartialEngine):
    """Base of engines that know their answers: a subclass finds the script, the request's limits apply to it."""

    def __init__(self, name: str, fingerprint: str, vocabulary: CharacterVocabulary) -> None:
        self._vocabulary = vocabulary
        self._info = EngineInfo(
            model=name, fingerprint=fingerprint, parameters=0, activated_parameters=0,
            vocabulary_size=len(vocabulary), context_length=CONTEXT_LENGTH, end_ids=(vocabulary.end_id,),
        )  # fmt: skip

    @property
    def info(self) -> EngineInfo:
        return self._info

    def token_id(self, token: str) -> TokenId | None:
        return self._vocabulary.token_id(token)

    def encode(self, text: str) -> tuple[TokenId, ...]:
        return self._vocabulary.encode(text)

    def decode(self, token_ids: Sequence[TokenId], *, plain: bool = False) -> str:
        return self._vocabulary.decode_plain(token_ids) if plain else self._vocabulary.decode(token_ids)

    def render(self, request: GenerateRequest) -> tuple[TokenId, ...]:
        check_request(request, vocabulary_size=len(self._vocabulary))
        prompt = request.prompt_ids
        if prompt is None:
            prompt = self._vocabulary.render(request.messages, request.tools)
        check_prompt(len(prompt) + len(request.forced_ids), CONTEXT_LENGTH)
        return prompt + request.forced_ids

    async def generate(self, request: GenerateRequest) -> Generation:
        async for chunk in self.stream(request):
            if chunk.generation is not None:
                return chunk.generation
        raise AssertionError("a stream ends with its generation")

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Chunk]:
        prompt = self.render(request)
        script = await self._script(request)
        for chunk in play(script, request, len(prompt), self._vocabulary):
            yield chunk

    async def _script(self, request: GenerateRequest) -> Script:
        raise NotImplementedError

    def _query(self, request: GenerateRequest) -> str:
        """The last message of the user; of a prompt given as ids, all of its text."""
        if request.prompt_ids is not None:
            return self.decode(request.prompt_ids)
        return next((m.content for m in reversed(request.messages) if m.role == "user"), "")


def play(
    script: Script, request: GenerateRequest, prompt_tokens: int, vocabulary: CharacterVocabulary
) -> Iterator[Chunk]:
    """The answer as chunks of one token; the last chunk carries the generation."""
    first = _first_logprobs(script, request)
    answer = AnswerText(vocabulary.decode_plain, request.stop)
    own_end = () if request.ignore_eos else (vocabulary.end_id,)
    ids: list[TokenId] = []
    text = ""
    finished = False
    stop_reason: TokenId | str | None = None
    for token in islice(_wanted(script, request, first, vocabulary.end_id), request.max_tokens):
        if ids:
            yield Chunk(text, (ids[-1],))
        ids.append(token)
        if token in own_end or token in request.stop_token_ids:
            text, finished, stop_reason = "", True, None if token in own_end else token
            break
        text = answer.push(token)
        if answer.stopped is not None:
            finished, stop_reason = True, answer.stopped
            break
    text += answer.finish()
    logprobs = (first.get(ids[0], script.logprob), *repeat(script.logprob, len(ids) - 1))
    tops = [{token: logprob} for token, logprob in zip(ids, logprobs, strict=True)]
    tops[0] = dict(sorted(first.items(), key=lambda item: -item[1])[: request.top_logprobs]) or tops[0]
    yield Chunk(
        text,
        (ids[-1],),
        Generation(
            token_ids=tuple(ids),
            text=answer.text,
            logprobs=logprobs,
            finish_reason="stop" if finished else "length",
            prompt_tokens=prompt_tokens,
            top_logprobs=tuple(tops) if request.top_logprobs else (),
            first_logprobs=first,
            stop_reason=stop_reason,
        ),
    )


def _first_logprobs(script: Script, request: GenerateRequest) -> dict[TokenId, float]:
    """0.9 for what the script starts with (else for the first allowed), the rest shared by the others."""
    if request.first_token_ids is None:
        return {}
    choices = tuple(dict.fromkeys(request.first_token_ids))
    if len(choices) == 1:
        return {choices[0]: 0.0}
    begin = _after_forced(script, request)[:1]
    chosen = begin[0] if begin and begin[0] in choices else choices[0]
    other = math.log((1 - _CHOSEN_FIRST) / (len(choices) - 1))
    return {token: math.log(_CHOSEN_FIRST) if token == chosen else other for token in choices}


def _wanted(
    script: Script, request: GenerateRequest, first: dict[TokenId, float], end_id: TokenId
) -> Iterator[TokenId]:
    """The tokens that the engine would emit if nothing stopped it."""
    ids = _after_forced(script, request)
    if first:
        chosen = max(first, key=lambda token: first[token])
        yield chosen
        ids = ids[1:] if ids[:1] == (chosen,) else ids
    allowed, never = request.allowed_token_ids, {token for token, bias in request.logit_bias.items() if bias <= NEVER}
    for token in chain(ids, (end_id,), cycle((*script.token_ids, end_id))):
        if token not in never:
            yield token if allowed is None or token in allowed else allowed[0]


def _after_forced(script: Script, request: GenerateRequest) -> tuple[TokenId, ...]:
    """A script goes on after forced ids that it starts with; after others it is said whole."""
    forced = request.forced_ids
    return script.token_ids[len(forced) :] if script.token_ids[: len(forced)] == forced else script.token_ids
