"""Asking the user in the middle of a run: the run stops at a checkpoint, and goes on with the answer.

A yes is good for one call. If the process is killed after it, nobody knows whether the call had its effect, so the
resumed run asks again instead of calling twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from router.errors import RunError
from router.tools.ask import PendingCall

if TYPE_CHECKING:
    from langgraph.types import Interrupt, StateSnapshot

APPROVAL = "approval"
"""Key of ``config["configurable"]``: the user's Approval, for the run that goes on."""


@dataclass
class Approval:
    """The user's answer to one call, taken once.

    Attributes:
        asked: the call as the run asked for it, with the task that it belongs to.
    """

    asked: Mapping[str, Any]
    yes: bool
    _taken: bool = field(default=False, init=False)

    def take(self, asked: Mapping[str, Any]) -> bool | None:
        """The answer if it is one to this call and was not taken before."""
        if self._taken or dict(self.asked) != asked:
            return None
        self._taken = True
        return self.yes


class RunConsent:
    """Asks for the calls of one visit.

    Args:
        configurable: of the LangGraph run.
        task: id of the task that is visited.
    """

    def __init__(self, configurable: Mapping[str, Any], task: str) -> None:
        self._configurable, self._task = configurable, task

    async def __call__(self, call: PendingCall) -> bool:
        """The user's answer.

        Raises:
            RunError: the run cannot stop and go on, since it is kept nowhere.
            GraphInterrupt: there is no answer yet; LangGraph keeps the question with the run.
        """
        from langgraph.types import interrupt

        asked = {"task": self._task, **asdict(call), "arguments": dict(call.arguments)}
        approval: Approval | None = self._configurable.get(APPROVAL)
        answer = None if approval is None else approval.take(asked)
        if answer is not None:
            return answer
        if not self._configurable.get("thread_id"):
            raise RunError(
                f"expected a run with a thread_id, since {call.tool} has side effects and the user must agree to the call "
                "first; found one without. Run it with checkpoints and a thread_id (--checkpoints FILE --thread ID), then "
                "resume it with approve=True (--resume --approve)"
            )
        return interrupt(asked) is True


def asked_in(state: StateSnapshot) -> Interrupt | None:
    """The first question of a stopped run."""
    return next((each for each in state.interrupts if isinstance(each.value, dict) and "tool" in each.value), None)


def pending_call(asked: Interrupt) -> PendingCall:
    """The call without what belongs to the run."""
    return PendingCall(asked.value["tool"], asked.value["description"], asked.value["arguments"], asked.id)
