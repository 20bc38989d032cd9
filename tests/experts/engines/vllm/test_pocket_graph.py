"""The pocket graph with a vLLM server behind every node answers as it does in process."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from experts.engines.config import VllmWorker
from experts.engines.local.checkpoint import resolve
from experts.pocket.corpus import draw_mixed
from router import Router
from router.runtime.result import RunResult
from router.spec import load_spec
from tests.experts.engines.vllm.servers import KEY, Servers

SPEC = Path(__file__).parents[4] / "graph_specs" / "pocket.yaml"


@pytest.mark.asyncio
@pytest.mark.timeout(600)
async def test_identical_answers(servers: Servers) -> None:
    spec = load_spec(SPEC)
    names = {name: worker.model for name, worker in spec.workers.items()}
    urls = servers.start_together(*map(resolve, names.values()))
    workers = {
        name: VllmWorker(engine="vllm", model=model, url=url, api_key=KEY)
        for (name, model), url in zip(names.items(), urls, strict=True)
    }
    rng = Random(0)
    queries = [draw_mixed(rng, "test").query for _ in range(120)]
    async with Router(spec) as local, Router(spec.model_copy(update={"workers": workers})) as served:
        expected, found = await local.abatch(queries), await served.abatch(queries)
    for query, one, other in zip(queries, expected, found, strict=True):
        assert isinstance(one, RunResult) and isinstance(other, RunResult), (query, one, other)
        assert (other.answer, [p.node for p in other.route]) == (one.answer, [p.node for p in one.route]), query
        assert [p.probability for p in other.route] == pytest.approx([p.probability for p in one.route], abs=1e-4)
