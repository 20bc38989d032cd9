"""What nodes that answer with models ask them, and what of the text is the answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from experts.engines.base import Engine
from experts.engines.requests import GenerateRequest, Generation, Message, Sampling
from router.runtime.options import RunOptions
from router.runtime.query import Prompt
from router.runtime.visits.base import Visit
from router.spec.models import AnsweringNode


def options_of(visit: Visit, *, answers: bool) -> RunOptions:
    """What the caller asked of this answer; on the way to another one, nothing but to be in time.

    Args:
        answers: the user may get what the node writes.
    """
    return visit.options if answers else RunOptions(deadline=visit.options.deadline, authors=visit.options.authors)


def longest(node: AnsweringNode, options: RunOptions) -> int:
    """The most tokens that an answer may have, the run's budget aside."""
    return options.max_tokens or node.max_tokens


def request_of(engine: Engine, node: AnsweringNode, visit: Visit, options: RunOptions) -> GenerateRequest:
    """The request of a visit: the dialogue under the node's system prompt, or exactly the prompt that was asked for."""
    own = node.stop if options.structure is None else ()  # it would cut JSON in two
    request = GenerateRequest(
        max_tokens=visit.allowance.cap(longest(node, options)), stop=(*own, *options.stop), structure=options.structure,
        top_logprobs=options.logprobs or 0, deadline=options.deadline,
        sampling=Sampling(
            node.temperature if options.temperature is None else options.temperature,
            node.top_p if options.top_p is None else options.top_p,
            node.seed if options.seed is None else options.seed,
        ),
    )  # fmt: skip
    if isinstance(visit.asked, Prompt):
        ids = visit.asked.token_ids
        return replace(request, prompt_ids=engine.encode(visit.asked.text) if ids is None else ids)
    # One system turn at the start: many chat templates accept no other.
    turns = [node.system or "", *(m.content for m in visit.messages if m.role == "system")]
    system = "\n\n".join(turn for turn in turns if turn)
    rest = (message for message in visit.messages if message.role != "system")
    messages = (*((Message("system", system),) if system else ()), *rest)
    return replace(request, messages=messages, tools=options.tools)


def ended(generation: Generation) -> Literal["stop", "length"]:
    """Why an answer ended; a whole one does not end before a token that is left to another model."""
    assert generation.finish_reason != "defer", "the loop of a pair goes on there"
    return generation.finish_reason


def split_answer(node: AnsweringNode, text: str, visit: Visit, options: RunOptions) -> tuple[str, str]:
    """Working and answer; where a structure was asked for, nothing but the answer was written.

    What goes on with a prompt is no answer: all of it counts, white space too.
    """
    if isinstance(visit.asked, Prompt):
        return "", text
    mark = node.answer_after if options.structure is None else None
    if mark is None or mark not in text:
        return "", text.strip()
    working, _, answer = text.rpartition(mark)
    return working + mark, answer.strip()
