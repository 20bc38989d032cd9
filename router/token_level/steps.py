"""The four steps from prompts to a measured token router: label, fit, calibrate, evaluate."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from experts.defer.files import TokenRouterFile, check_fingerprint, read_file, save_router, write_file
from experts.engines.config import WorkerSpec
from router.errors import DataError, GraphError
from router.program import program
from router.spec.models import GraphSpec
from router.token_level.bench import EVERYTHING, JUDGED, Runs, embedding_table, measured
from router.token_level.calibrate import by_labels
from router.token_level.checkers import task_checker
from router.token_level.dataset import LabelledRows
from router.token_level.evaluate import Evaluation
from router.token_level.fit import FitOptions, Fitted, fit, scores_of
from router.token_level.judge import PROMPT, Judge
from router.token_level.label import Labeller
from router.token_level.large import Continuation
from router.token_level.pair import PairSpec, running, running_here
from router.token_level.policies import Router
from router.token_level.problems import check_unseen, read_problems
from router.token_level.progress import Report, silent
from router.token_level.shards import LabelFolder, LabelSettings
from router.token_level.vocabularies import check_same_tokens
from router.types import WorkerId

SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
TARGET_SHARE = 0.15


@dataclass(frozen=True)
class Labelling:
    """How to label.

    Attributes:
        checker: ``exact``, ``number`` or ``module:function``; exclusive with ``judge``.
        mark: text that precedes the final answer.
        judge: a worker of the graph that says whether two continuations mean the same.
        judge_prompt: what it is asked, with the fields {question}, {prefix}, {reference} and {proposal}.
    """

    continuation: Continuation
    checker: str | None = None
    mark: str | None = None
    judge: WorkerId | None = None
    judge_prompt: str = PROMPT
    problems_a_shard: int = 64


async def label_pair(
    spec: GraphSpec, pair: PairSpec, data: Path, out: Path, labelling: Labelling, *, device: str | None = None,
    report: Report = silent,
) -> dict[str, Any]:  # fmt: skip
    """Labels the prompts of a file; goes on where an interrupted run stopped. Returns the statistics.

    Raises:
        DataError: the file is wrong, the options do not go together, or ``out`` holds labels that were made otherwise.
        GraphError: the models' tokenizers differ.
        EngineError: a model cannot be run.
    """
    problems = read_problems(data)
    async with AsyncExitStack() as stack:
        if (labelling.judge is None) == (labelling.checker is None):
            raise DataError("the options", "either a checker or a judge", "both" if labelling.judge else "neither")
        if labelling.judge is not None:
            judge = await stack.enter_async_context(running(_worker(spec, labelling.judge)))
            verifier: Any = Judge(judge, labelling.judge_prompt)
        else:
            verifier = task_checker(labelling.checker or "", labelling.mark)
            if labelling.continuation.until != "answer":
                raise DataError("the options", "a judge where branches end with a sentence", "a task checker")
        small = await stack.enter_async_context(running_here(pair.small, device))
        large = await stack.enter_async_context(running(pair.large))
        check_same_tokens(small, large)
        settings = LabelSettings(
            small=small.info.model, small_fingerprint=small.info.fingerprint, large=large.info.model,
            large_fingerprint=large.info.fingerprint, data=data.name,
            data_hash=hashlib.blake2b(data.read_bytes(), digest_size=16).hexdigest(),
            verifier=labelling.checker or f"{JUDGED}{labelling.judge}", mark=labelling.mark,
            until=labelling.continuation.until, sentences=labelling.continuation.sentences, system=pair.node.system,
            max_tokens=labelling.continuation.max_tokens, problems_a_shard=labelling.problems_a_shard,
        )  # fmt: skip
        labeller = Labeller(small, large, verifier, labelling.continuation, pair.node.system)
        return await labeller.label(problems, LabelFolder(out), settings, report)


async def fit_router(
    pair: PairSpec, labels: Path, out: Path, options: FitOptions, *, target_share: float = TARGET_SHARE,
    report: Report = silent,
) -> Fitted:  # fmt: skip
    """Trains a token router on labels and writes its folder; it needs thresholds before it can be used.

    Raises:
        DataError: the folder has no labels, or too few.
        CheckpointError: the labels were made with another small model.
    """
    folder = LabelFolder(labels)
    settings = folder.settings
    async with running_here(pair.small, None) as small:
        check_fingerprint(small.info.fingerprint, settings.small_fingerprint, "small", labels)
        embeddings = await embedding_table(small)
    train, valid = LabelledRows(folder, "train"), LabelledRows(folder, "valid")
    fitted = fit(train, valid, embeddings, options, report)
    file = TokenRouterFile(
        shape=fitted.router.shape, small=settings.small_fingerprint, large=settings.large_fingerprint,
        target_share=target_share, created_with=program(),
        metrics={
            "validation AUC": max(fitted.curve), "training positions": train.count,
            "training positions, divergent": train.divergent,
        },
    )  # fmt: skip
    save_router(fitted.router, file, out)
    return fitted


async def calibrate_router(
    pair: PairSpec, labels: Path, router: Path, *, by: Literal["runs", "labels"] = "runs",
    shares: Sequence[float] = SHARES, target_share: float | None = None, runs: Runs = EVERYTHING, report: Report = silent,
) -> TokenRouterFile:  # fmt: skip
    """Finds the thresholds for shares of the large model's tokens and writes them into the router's folder.

    Args:
        by: by real runs of the pair on the calibration prompts, or by the labels of the calibration split alone.
        target_share: the share whose threshold is used where a node names none; it stays as it is by default.

    Raises:
        DataError: the folder has no labels, or too few.
        CheckpointError: router, labels and models do not belong together.
    """
    file = read_file(router)
    target = file.target_share if target_share is None else target_share
    wanted = sorted({*shares, target})
    async with measured(pair, labels, router, runs, report, large=by == "runs") as bench:
        rows = bench.rows("calibration")
        if by == "labels":
            table = by_labels(scores_of(bench.network, rows.whole(), bench.embeddings), wanted)
        else:
            evaluator = bench.evaluator()
            table = await evaluator.thresholds(
                Router(bench.network), rows.whole(), bench.problems("calibration"), wanted
            )
    changed = file.model_copy(update={"thresholds": tuple(table), "target_share": target})
    write_file(changed, router)
    return changed


async def evaluate_router(
    pair: PairSpec, labels: Path, router: Path, *, data: Path | None = None, shares: Sequence[float] = (TARGET_SHARE,),
    seed: int = 0, runs: Runs = EVERYTHING, report: Report = silent,
) -> Evaluation:  # fmt: skip
    """Measures a token router and its rivals on prompts of the test split, and notes the router's figures in its file.

    Args:
        data: other test prompts for the runs; none of them may have been used for anything else.

    Raises:
        DataError: the folder has no labels or too few, prompts have no answers, or ``data`` has prompts that were used.
        CheckpointError: router, labels and models do not belong together.
    """
    async with measured(pair, labels, router, runs, report, large=True) as bench:
        tests = bench.problems("test") if data is None else read_problems(data)
        check_unseen(tests, [row.problem for row in bench.folder.all_problems()], str(data or labels))
        evaluation = await bench.evaluator().evaluate(
            bench.network, bench.rows("train"), (bench.rows("calibration"), bench.problems("calibration")),
            (bench.rows("test"), tests[: runs.prompts]), shares, seed,
        )  # fmt: skip
    file = read_file(router)
    own = next(quality for quality in evaluation.qualities if quality.policy == Router.name)
    noted = {"test AUC": own.auc, "test calibration error": own.calibration_error or 0.0}
    noted |= {f"test recall at share {share}": value for share, value in own.recall.items()}
    write_file(file.model_copy(update={"metrics": {**file.metrics, **noted}}), router)
    return evaluation


def _worker(spec: GraphSpec, name: WorkerId) -> WorkerSpec:
    if name not in spec.workers:
        raise GraphError(f"expected one of the workers {', '.join(spec.workers)} as judge, found {name}. Correct it")
    return spec.workers[name]
