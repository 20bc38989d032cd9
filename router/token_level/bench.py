"""The models, the labels and the token router of a pair, ready to be measured."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experts.defer.files import check_fingerprint, load_router
from experts.engines.local.engine import LocalEngine
from router.errors import DataError
from router.token_level.checkers import task_checker
from router.token_level.dataset import LabelledRows
from router.token_level.evaluate import Evaluator
from router.token_level.lockstep import Lockstep
from router.token_level.pair import PairSpec, running_here
from router.token_level.problems import Problem, Split
from router.token_level.progress import Report
from router.token_level.shards import LabelFolder, LabelSettings

if TYPE_CHECKING:
    from torch import Tensor

JUDGED = "judge "
"""Begins the name of a verifier that is a judge, before its worker."""


@dataclass(frozen=True)
class Runs:
    """How the pair is run to measure it.

    Attributes:
        prompts: that are run at most.
        batch: answers that grow at the same time.
    """

    device: str | None = None
    prompts: int | None = None
    batch: int = 128


EVERYTHING = Runs()


@dataclass(frozen=True)
class Bench:
    """What calibration and evaluation work with.

    Attributes:
        embeddings: of the small model, [vocabulary, width].
        large: for runs; labels alone do not need it.
    """

    folder: LabelFolder
    network: Any
    embeddings: Tensor
    small: LocalEngine
    large: LocalEngine | None
    settings: LabelSettings
    runs: Runs
    report: Report

    def rows(self, split: Split) -> LabelledRows:
        return LabelledRows(self.folder, split)

    def problems(self, split: Split) -> list[Problem]:
        """Prompts of a split, those without usable responses too."""
        return [row.problem for row in self.folder.all_problems(split)][: self.runs.prompts]

    def evaluator(self) -> Evaluator:
        assert self.large is not None, "runs need both models"
        if self.settings.verifier.startswith(JUDGED):
            found = "labels that a judge made"
            raise DataError(str(self.folder.folder), "labels of a task checker, which can grade answers", found)
        lockstep = Lockstep(self.small, self.large, self.settings.max_tokens, self.settings.system, self.runs.batch)
        return Evaluator(
            lockstep, task_checker(self.settings.verifier, self.settings.mark), self.embeddings, self.report
        )


@asynccontextmanager
async def measured(
    pair: PairSpec, labels: Path, router: Path, runs: Runs, report: Report, *, large: bool
) -> AsyncIterator[Bench]:
    """The bench of a pair, its labels and its token router.

    Raises:
        DataError: the folder has no labels.
        CheckpointError: router, labels and models do not belong together.
    """
    folder = LabelFolder(labels)
    settings = folder.settings
    async with AsyncExitStack() as stack:
        small = await stack.enter_async_context(running_here(pair.small, runs.device))
        check_fingerprint(small.info.fingerprint, settings.small_fingerprint, "small", labels)
        other: LocalEngine | None = None
        if large:
            other = await stack.enter_async_context(running_here(pair.large, runs.device))
            check_fingerprint(other.info.fingerprint, settings.large_fingerprint, "large", labels)
        network, _ = load_router(router, small=small.info.fingerprint)
        yield Bench(folder, network, await embedding_table(small), small, other, settings, runs, report)


async def embedding_table(engine: LocalEngine) -> Tensor:
    """The input embedding of every token as the model computes it, on the CPU, [vocabulary, width]."""
    import torch

    def read(model: Any) -> Tensor:
        with torch.inference_mode():
            ids = torch.arange(model.get_output_embeddings().out_features, device=model.device)
            table: Tensor = model.get_input_embeddings()(ids).cpu()
            return table.clone()

    return await engine.call(read)
