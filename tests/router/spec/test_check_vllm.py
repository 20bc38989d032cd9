"""Settings of a vLLM worker that do not go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from experts.engines.config import VllmWorker
from router.errors import SpecError
from router.spec import load_spec, parse_spec

TEXT = "entry: a\nworkers: {{w: {{engine: vllm, model: owner/model{}}}}}\nnodes: {{a: {{kind: expert, worker: w}}}}\n"
URL = "'http://there:8000/v1'"


def worker(settings: str) -> VllmWorker:
    found = next(iter(parse_spec(TEXT.format(f", {settings}"), environ={}).workers.values()))
    assert isinstance(found, VllmWorker)
    return found


def test_servers_elsewhere() -> None:
    assert worker("replicas: 2").attached == ()
    assert worker(f"url: {URL}").attached == ("http://there:8000/v1",)
    assert worker(f"urls: [{URL}, 'https://here/v1']").attached == ("http://there:8000/v1", "https://here/v1")


def test_settings() -> None:
    found = worker("quantization: fp8, queue: 0, max_concurrency: 8, sleep_after: 0.5")
    assert (found.quantization, found.queue, found.max_concurrency, found.sleep_after) == ("fp8", 0, 8, 0.5)


WRONG = [
    ("url: there:8000", "url", "a URL", "something else"),
    (f"urls: [{URL}, 'there:8000']", "urls[1]", "a URL", "something else"),
    (f"url: {URL}, urls: [{URL}]", "urls", "either url or urls", "both"),
    (f"url: {URL}, replicas: 2", "replicas", "no replicas to start", "2 beside addresses"),
    (f"urls: [{URL}], sleep_after: 9", "sleep_after", "a server to start", "one that runs elsewhere"),
    ("queue: -1", "queue", "a number not below 0", "-1"),
    ("max_concurrency: 0", "max_concurrency", "a number above 0", "0"),
    ("sleep_after: 0", "sleep_after", "a number above 0", "0"),
]


@pytest.mark.parametrize(("settings", "key", "expected", "found"), WRONG)
def test_what_does_not_go_together(settings: str, key: str, expected: str, found: str) -> None:
    with pytest.raises(SpecError) as caught:
        worker(settings)
    (problem,) = caught.value.problems
    assert (problem.path, problem.expected, problem.found) == (f"workers.w.{key}", expected, found)


def test_adapters_are_looked_for_where_the_server_is_started(tmp_path: Path) -> None:
    path = tmp_path / "graph.yaml"
    path.write_text(TEXT.format(", adapters: {x: ./missing}"))
    with pytest.raises(SpecError, match=r"expected a folder with a LoRA adapter at workers\.w\.adapters\.x"):
        load_spec(path)
    path.write_text(TEXT.format(f", urls: [{URL}], adapters: {{x: ./missing}}"))
    load_spec(path)
