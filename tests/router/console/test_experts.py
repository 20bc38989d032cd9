"""``tokengraph experts`` from the scan to the report, on a tiny mixture."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from cli import app
from experts.moe.mask import ExpertMask
from experts.moe.scan import Scan
from experts.moe.score import contrast
from experts.moe.select import select_top
from tests.router.mixtures import mixture_graph


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = mixture_graph(tmp_path_factory.mktemp("mixture")).parent
    lines = [{"prompt": f"what is {at} + {at}?", "class": "sums", "answer": str(2 * at)} for at in range(6)]
    lines += [{"prompt": f"spell {'abc' * (at + 1)}", "class": "words"} for at in range(6)]
    (made / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return made


@pytest.fixture(scope="module")
def scanned(folder: Path) -> Path:
    out = folder / "scan.safetensors"
    found = run(
        "experts", "scan", folder / "graph.yaml", "--node", "plain", "--prompts", folder / "prompts.jsonl", "--out", out
    )
    assert found.exit_code == 0, found.output
    assert "sums: 6 prompts" in found.stderr
    return out


@pytest.fixture(scope="module")
def masked(folder: Path, scanned: Path) -> Path:
    out = folder / "sums.json"
    assert run("experts", "mask", scanned, "--target", "sums", "--count", 3, "--out", out).exit_code == 0
    return out


def test_a_mask_is_made_of_the_scan(scanned: Path, masked: Path) -> None:
    scan, mask = Scan.load(scanned), ExpertMask.load(masked)
    expected = select_top(contrast(scan, "sums"), scan.layers, 3)
    assert {index: layer.off for index, layer in mask.layers.items()} == expected
    assert (mask.name, mask.fingerprint) == ("sums", scan.shape.fingerprint)


def test_the_options_of_masks(folder: Path, scanned: Path) -> None:
    def made(*options: object) -> ExpertMask:
        found = run("experts", "mask", scanned, "--target", "sums", "--out", folder / "other.json", *options)
        assert found.exit_code == 0, found.output
        return ExpertMask.load(folder / "other.json")

    assert made("--share", 0.1).size == 4
    biased = made("--count", 2, "--use", "bias", "--bias", "-1.5", "--score", "risk")
    assert {bias for layer in biased.layers.values() for bias in layer.bias.values()} == {-1.5}
    assert made("--count", 2, "--mode", "after", "--name", "called").name == "called"
    assert all(len(layer.off) == 1 for layer in made("--count", 3, "--per-layer", 1).layers.values())
    assert made("--count", 3, "--random", 7).made["seed"] == 7


def test_evaluation(folder: Path, scanned: Path, masked: Path) -> None:
    out = folder / "evaluation"
    found = run(
        "experts", "eval", folder / "graph.yaml", "--node", "plain", "--prompts", folder / "prompts.jsonl", "--mask", masked,
        "--target", "sums", "--pattern", "[a-m]", "--scan", scanned, "--random", 3, "--sweep", "1,6", "--limit", 3, "--out", out,
        "--json",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    assert told == json.loads((out / "evaluation.json").read_text())
    kinds = [outcome["kind"] for outcome in told["outcomes"]]
    assert kinds == ["none", "mask", "random", "random", "random", "biased", "forced", "sweep", "sweep"]
    assert told["prompts"] == {"sums": 3, "words": 3}
    assert told["summary"]["share_of_experts"] == 3 / 48
    assert all(set(outcome["shown"]) == {"sums", "words"} for outcome in told["outcomes"])
    assert "3 random masks, mean" in (out / "evaluation.md").read_text()
    for picture in ("sweep.svg", "heat_map.svg"):
        ElementTree.parse(out / picture)


def test_showing(folder: Path, scanned: Path, masked: Path) -> None:
    told = run("experts", "show", masked).stdout
    assert "mask sums: 3 experts" in told and "off " in told
    picture = folder / "new" / "heat.svg"
    found = run("experts", "show", scanned, "--target", "sums", "--mask", masked, "--out", picture, "--top", 4)
    assert found.stdout.count("layer ") == 4
    drawn = ElementTree.parse(picture).getroot()
    cells = [
        one for one in drawn.iter("{http://www.w3.org/2000/svg}rect") if (one.get("class") or "").startswith("cell")
    ]
    assert len(cells) == 3 * 48  # the difference and two classes, 3 layers of 16 experts
    marked = [one for one in drawn.iter("{http://www.w3.org/2000/svg}rect") if one.get("class") == "marked"]
    assert len(marked) == 3 * 3


def test_answers_may_decide_the_classes(folder: Path) -> None:
    out = folder / "decided.safetensors"
    found = run(
        "experts", "scan", folder / "graph.yaml", "--node", "plain", "--prompts", folder / "prompts.jsonl", "--out", out,
        "--checker", "tests.router.console.test_experts:asks_for_a_sum",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    assert (Scan.load(out).classes, Scan.load(out).prompts) == (("other", "shown"), (6, 6))


def asks_for_a_sum(prompt: str, _answer: str) -> bool:
    return "+" in prompt


def test_one_query_with_a_mask(folder: Path) -> None:
    spec = folder / "graph.yaml"
    plain = run("query", "what is 2 + 3?", "--graph", spec).stdout
    masked = json.loads(
        run("query", "what is 2 + 3?", "--graph", spec, "--expert-mask", folder / "off.json", "--json").stdout
    )
    assert masked["answer"] != plain.strip()
    assert masked["events"][-1]["expert_mask"] == "off"
    refused = run("query", "x", "--graph", spec, "--expert-mask", "nosuch")
    assert refused.exit_code == 1 and "nosuch" in refused.stderr
    missing = run("query", "x", "--graph", spec, "--expert-mask", "nosuch.json")
    assert missing.exit_code == 2 and "nosuch.json, found No such file or directory" in missing.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("scan", "graph.yaml", "--prompts", "prompts.jsonl", "--out", "x.safetensors"), "plain, masked"),
        (
            ("scan", "graph.yaml", "--node", "plain", "--prompts", "nosuch.jsonl", "--out", "x.safetensors"),
            "No such file",
        ),
        (("scan", "graph.yaml", "--node", "plain", "--prompts", "prompts.jsonl", "--out", "x.npz"), "safetensors"),
        (
            ("scan", "graph.yaml", "--prompts", "prompts.jsonl", "--out", "x.safetensors", "--checker", ":f"),
            "without a module",
        ),
        (
            ("scan", "graph.yaml", "--prompts", "prompts.jsonl", "--out", "x.safetensors", "--checker", "broken:f"),
            "broken.py:1",
        ),
        (("mask", "scan.safetensors", "--target", "sums", "--out", "x.json"), "neither"),
        (("mask", "scan.safetensors", "--target", "nosuch", "--count", "1", "--out", "x.json"), "words"),
        (("mask", "scan.safetensors", "--target", "sums", "--count", "99", "--out", "x.json"), "1 to 48"),
        (("apply", "graph.yaml", "off.json", "--node", "plain"), "engine local"),
        (("show", "graph.yaml"), "mask of experts"),
        (("show", "off.json", "--target", "x", "--out", "y.svg"), "--target and --out: expected a scan"),
        (("show", "scan.safetensors", "--mask", "off.json"), "--mask: expected --out"),
        (("show", "nosuch.json"), "nosuch.json"),
        (("show", "nosuch.safetensors"), "directory: nosuch.safetensors"),
    ],
)
def test_mistakes(
    folder: Path, scanned: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    (folder / "broken.py").write_text("raise RuntimeError")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(folder)
    found = run("experts", *arguments)
    assert found.exit_code == 2
    assert told in found.stderr
