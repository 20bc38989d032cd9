"""Scores the choice among 17 nodes on MMLU: ``python -m router.evals.mmlu DATA.jsonl [--seed N]`` writes docs/mmlu.md.

DATA has lines ``{"subject", "prompt"}``: an MMLU subject and its question with options A to D. The subjects go to the 17
nodes of Octopus v4 (graph_specs/mmlu.yaml). Each node's questions are halved by the seed: one half is to learn from, the
other is scored, with its options and without them.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from experts.engines.base import Engine
from experts.engines.factory import create_engine
from experts.engines.requests import Message
from router.errors import DataError
from router.evals.remembering import Remembering
from router.evals.report import Table, write_report
from router.functional.candidate import write_tokens
from router.functional.data import LabelledQuery, split_rows
from router.functional.decision import Target
from router.functional.encoder import encoder_router
from router.functional.encoder_data import EncoderData
from router.functional.targets import router_node, targets_of
from router.functional.train_rows import RowsTraining, train_rows
from router.functional.views import stem
from router.json_lines import parse_object, read_lines
from router.spec import load_spec
from router.spec.models import RouterNode
from router.types import NodeId

log = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
FEW = 100
SUBJECTS = {
    "biology": "college_biology high_school_biology",
    "physics": "astronomy college_physics conceptual_physics high_school_physics",
    "business": "business_ethics management marketing",
    "chemistry": "college_chemistry high_school_chemistry",
    "computer_science": "college_computer_science computer_security high_school_computer_science machine_learning",
    "math": "abstract_algebra college_mathematics elementary_mathematics high_school_mathematics "
    "high_school_statistics",
    "economics": "econometrics high_school_macroeconomics high_school_microeconomics",
    "health": "anatomy clinical_knowledge college_medicine human_aging medical_genetics nutrition "
    "professional_medicine virology",
    "engineering": "electrical_engineering",
    "philosophy": "formal_logic logical_fallacies moral_disputes moral_scenarios philosophy world_religions",
    "other": "global_facts miscellaneous professional_accounting",
    "history": "high_school_european_history high_school_us_history high_school_world_history prehistory",
    "culture": "human_sexuality sociology",
    "law": "international_law jurisprudence professional_law",
    "psychology": "high_school_psychology professional_psychology",
    "politics": "high_school_government_and_politics public_relations security_studies us_foreign_policy",
    "geography": "high_school_geography",
}
NODE_OF = {subject: node for node, subjects in SUBJECTS.items() for subject in subjects.split()}
# The nodes that are also categories of MMLU-Pro, whose questions come without options elsewhere.
PRO = tuple(node for node in SUBJECTS if node not in ("culture", "politics", "geography"))


@dataclass(frozen=True)
class Question:
    """A question with its options, and the node that should get it."""

    prompt: str
    node: NodeId


def read_questions(path: Path) -> list[Question]:
    """Reads the data.

    Raises:
        DataError: a line is no object with a known subject and a prompt.
    """
    questions = []
    for line, where in read_lines(path):
        row = parse_object(line, where, "an MMLU question")
        if row.get("subject") not in NODE_OF or not row.get("prompt"):
            raise DataError(where, "an MMLU subject and a prompt", str(row.get("subject")))
        questions.append(Question(row["prompt"], NodeId(NODE_OF[row["subject"]])))
    return questions


def halves(questions: Sequence[Question], seed: int) -> tuple[list[Question], list[Question]]:
    """Each node's questions in two halves, to learn from and to score."""
    random = Random(seed)
    learn, score = [], []
    for node in SUBJECTS:
        own = [question for question in questions if question.node == node]
        random.shuffle(own)
        learn += own[: len(own) // 2]
        score += own[len(own) // 2 :]
    return learn, score


@dataclass(frozen=True)
class Scorer:
    """Scores routers of one graph on the same questions."""

    engine: Engine
    node: RouterNode
    targets: tuple[Target, ...]
    questions: Sequence[Question]

    async def untrained(self) -> tuple[float, float, float]:
        """Percent right by descriptions and examples alone: with options, without, without among the nodes of PRO."""
        return await self._score(None)

    async def trained(self, learn: Sequence[Question]) -> tuple[float, float, float]:
        """The same after training on questions."""
        rows = [LabelledQuery((Message("user", question.prompt),), question.node) for question in learn]
        data = EncoderData(self.targets, split_rows(rows))
        best, prior = await train_rows(self.engine, data, RowsTraining())
        log.info("%d labels: lambda %s", len(learn), best.regularisation)
        with TemporaryDirectory() as folder:
            write_tokens(Path(folder), data, best, prior, 0, 0.0)
            return await self._score(Path(folder))

    async def _score(self, folder: Path | None) -> tuple[float, float, float]:
        pro = tuple(target for target in self.targets if target.node in PRO)
        asked = [(question.prompt, question.node) for question in self.questions]
        stems = [(stem(prompt), node) for prompt, node in asked]
        among = [(text, node) for text, node in stems if node in PRO]
        shares = []
        for targets, cases in ((self.targets, asked), (self.targets, stems), (pro, among)):
            router = await encoder_router(self.node, targets, self.engine, folder)
            decisions = await router.decide_many([[Message("user", text)] for text, _ in cases])
            right = [d.alternatives[0].node == node for d, (_, node) in zip(decisions, cases, strict=True)]
            shares.append(100 * sum(right) / len(right))
        return shares[0], shares[1], shares[2]


async def measure(path: Path, seed: int) -> Table:
    """The table."""
    spec = load_spec(ROOT / "graph_specs" / "mmlu.yaml")
    name, node = router_node(spec)
    learn, score = halves(read_questions(path), seed)
    few = Random(seed).sample(learn, min(FEW, len(learn)))
    found = [question.node for question in score]
    most = 100 * max(map(found.count, set(found))) / len(found)
    pro = [n for n in found if n in PRO]
    most_pro = 100 * max(map(pro.count, set(pro))) / len(pro)
    engine = await create_engine(spec.workers[node.worker])
    try:
        scorer = Scorer(Remembering(engine), node, targets_of(spec, name), score)
        rows: list[tuple[str | float, ...]] = [
            ("random", 100 / len(SUBJECTS), 100 / len(SUBJECTS), 100 / len(PRO)),
            ("best single node", most, most, most_pro),
            ("zero labels", *await scorer.untrained()),
            (f"{len(few)} labels", *await scorer.trained(few)),
            (f"half the labels ({len(learn):,})", *await scorer.trained(learn)),
            ("oracle", 100.0, 100.0, 100.0),
        ]
    finally:
        await engine.close()
    heads = ("router", "with options", "without options", f"without options, {len(PRO)} nodes")
    return Table("The right one of 17 nodes, percent", heads, tuple(rows), f"{len(score):,} held-out questions.")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Score the choice of a node on MMLU questions.")
    parser.add_argument("data", type=Path, help="JSON lines with subject and prompt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "mmlu.md")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    table = asyncio.run(measure(arguments.data, arguments.seed))
    log.info("%s", table.markdown())
    command = f"python -m router.evals.mmlu {arguments.data.name} --seed {arguments.seed}"
    write_report(arguments.out, "Choosing a node on MMLU", command, [table], seed=arguments.seed)


if __name__ == "__main__":
    main()
