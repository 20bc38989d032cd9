"""Labels for a token router: at which tokens does it matter that the small model would write another one?

After R2R ("Small-Large Model Token Routing"): the large model answers; the small one is teacher-forced over the answer; at
each mismatch the large model continues from the small one's token, and a verifier compares where that leads. Equal
tokens and harmless differences are 0, differences that change the outcome 1; what cannot be told is dropped.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from experts.engines.base import Engine
from experts.engines.requests import TokenId
from router.token_level.branches import Mismatch, branches
from router.token_level.checkers import Verdict, Verifier
from router.token_level.large import Continuation, Large, Text, Written, large_of
from router.token_level.problems import SPLITS, Problem
from router.token_level.progress import Progress, Report, silent
from router.token_level.shards import Label, LabelFolder, Labelled, LabelSettings, Positions
from router.token_level.teacher import Forced, teacher_force

if TYPE_CHECKING:
    from experts.engines.local.engine import LocalEngine

_VERDICTS: dict[Verdict, Label] = {
    "neutral": Label.NEUTRAL,
    "divergent": Label.DIVERGENT,
    "unclear": Label.UNCLEAR,
}
_SHARDS_AT_ONCE = 2  # so that the large model has work while a shard is verified


@dataclass(frozen=True)
class Labeller:
    """What labels are made with.

    Attributes:
        small: in this process: its hidden states are read.
        large: any engine with the same tokenizer.
        verifier: decides what a mismatch is worth.
    """

    small: LocalEngine
    large: Engine
    verifier: Verifier
    continuation: Continuation
    system: str | None = None

    @cached_property
    def _writer(self) -> Large:
        return large_of(self.large)

    async def label(
        self, problems: Sequence[Problem], folder: LabelFolder, settings: LabelSettings, report: Report = silent
    ) -> dict[str, Any]:
        """Labels all problems that are not labelled yet, shard by shard, and returns the statistics.

        Raises:
            DataError: the folder holds labels that were made otherwise.
            EngineError: a model failed; the shards that are complete stay.
        """
        folder.begin(settings)
        size = settings.problems_a_shard
        shards = [problems[at : at + size] for at in range(0, len(problems), size)]
        ready = set(folder.shards())
        gate, counts = asyncio.Semaphore(_SHARDS_AT_ONCE), Counter[Label]()
        done = 0

        def tell() -> None:
            shown = ", ".join(f"{label.name.lower()} {counts[label]:,}" for label in Label if counts[label])
            report(Progress("labelling", done, len(problems), shown))

        async def one(number: int) -> None:
            nonlocal done
            if number not in ready:
                async with gate:
                    positions, rows = await self.label_shard(shards[number])
                    await asyncio.to_thread(folder.write, number, positions, rows)
            labels, _ = await asyncio.to_thread(folder.labels, number)
            counts.update(map(Label, labels.tolist()))
            done += len(shards[number])
            tell()

        tell()
        tasks = [asyncio.create_task(one(number)) for number in range(len(shards))]
        try:
            await asyncio.gather(*tasks)
        finally:  # after an error, nothing more is asked of the models
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        counted = await asyncio.to_thread(statistics, folder)
        folder.write_statistics(counted)
        return counted

    async def label_shard(self, problems: Sequence[Problem]) -> tuple[Positions, list[Labelled]]:
        """The positions and the responses of some problems."""
        longest = self.continuation.max_tokens
        prompts = [self.small.render(problem.request(self.system, longest)) for problem in problems]
        room = min(self.small.info.context_length, self.large.info.context_length)
        written = await self._writer.respond([Text(prompt, min(longest, room - len(prompt))) for prompt in prompts])
        responses = [self.large.decode(answer.tokens, plain=True) for answer in written]
        rights = await asyncio.gather(
            *(self.verifier.grade(problem, text) for problem, text in zip(problems, responses, strict=True))
        )
        kept = [i for i in range(len(problems)) if self._dropped(written[i], rights[i]) is None]
        texts = [(prompts[i], written[i].tokens) for i in kept]
        forced = await self.small.call(lambda model: teacher_force(model, texts)) if texts else []
        mismatches = [
            Mismatch(problems[i], prompts[i], written[i].tokens, at, TokenId(proposal), written[i].past)
            for i, read in zip(kept, forced, strict=True)
            for at, proposal in enumerate(read.proposal.tolist())
            if proposal != written[i].tokens[at]
        ]
        verdicts = await self.verifier.verify(await branches(self.large, self._writer, mismatches, self.continuation))
        labels = [[Label.IDENTICAL] * len(text[1]) for text in texts]
        place = {(problems[i].prompt): order for order, i in enumerate(kept)}
        for mismatch, verdict in zip(mismatches, verdicts, strict=True):
            labels[place[mismatch.problem.prompt]][mismatch.position] = _VERDICTS[verdict]
        divergent = {i: row.count(Label.DIVERGENT) for i, row in zip(kept, labels, strict=True)}
        rows = [
            Labelled(
                problem, responses[i], rights[i], len(written[i].tokens), divergent.get(i, 0),
                self._dropped(written[i], rights[i]),
            )
            for i, problem in enumerate(problems)
        ]  # fmt: skip
        return self._positions(kept, texts, forced, labels), rows

    def _dropped(self, written: Written, right: bool | None) -> Any:
        """Why a response teaches nothing: it is wrong itself, or it has no end that branches could be compared at."""
        if not written.tokens or (self.verifier.needs_answers and written.cut):
            return "cut"
        return "wrong" if right is False else None

    def _positions(
        self, kept: Sequence[int], texts: Sequence[tuple[tuple[TokenId, ...], tuple[TokenId, ...]]],
        forced: Sequence[Forced], labels: Sequence[Sequence[Label]],
    ) -> Positions:  # fmt: skip
        import torch

        if not kept:
            return Positions(*(torch.zeros(0, 0),) * 2, *(torch.zeros(0, dtype=torch.int32),) * 4)
        written = [token for _, response in texts for token in response]
        problem = [i for i, (_, response) in zip(kept, texts, strict=True) for _ in response]
        return Positions(
            hidden=torch.cat([read.hidden for read in forced]),
            logits=torch.cat([read.logits for read in forced]),
            proposal=torch.cat([read.proposal for read in forced]).to(torch.int32),
            written=torch.tensor(written, dtype=torch.int32),
            label=torch.tensor([label for row in labels for label in row], dtype=torch.uint8),
            problem=torch.tensor(problem, dtype=torch.int32),
        )


def statistics(folder: LabelFolder) -> dict[str, Any]:
    """What a folder of labels holds: responses by outcome, and positions by label, per split and in all."""
    responses = {split: Counter[str]() for split in SPLITS}
    positions = {split: Counter[str]() for split in SPLITS}
    for shard in folder:
        rows = folder.problems(shard)
        for row in rows:
            graded = {True: "right", False: "wrong", None: "ungraded"}[row.right]
            responses[row.problem.split][row.dropped or graded] += 1
        labels, problem = folder.labels(shard)
        counts = Counter(zip(problem.tolist(), labels.tolist(), strict=True))
        for (index, label), count in counts.items():
            positions[rows[index].problem.split][Label(label).name.lower()] += count
    return {
        "responses": {split: dict(counter) for split, counter in responses.items()},
        "positions": {split: dict(counter) for split, counter in positions.items()},
        "all positions": dict(sum(positions.values(), Counter[str]())),
    }
