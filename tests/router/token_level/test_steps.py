"""From prompts to a measured token router, with the bundled pair."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli import app
from experts.defer.files import read_file
from experts.pocket.word_problems.data import router_prompts

SPEC = """\
name: pair
entry: pair
workers:
  small: {engine: local, model: "pocket:pair_small", token_router: ./router}
  large: {engine: local, model: "pocket:pair_large"}
  calm: {engine: scripted, rules: [{answer: "Other words.\\nVERDICT: SAME"}]}
  vague: {engine: scripted, rules: [{answer: "Hard to say."}]}
nodes:
  pair: {kind: token_pair, small: small, large: large, max_tokens: 160}
"""
PER_SPLIT = {"train": 16, "valid": 14, "calibration": 8, "test": 16}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["train", "token-router", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts, a graph, and labels of the prompts."""
    folder = tmp_path_factory.mktemp("pair")
    (folder / "pair.yaml").write_text(SPEC)
    rows = list(router_prompts(200))
    some = [[row for row in rows if row["split"] == split][:count] for split, count in PER_SPLIT.items()]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for split in some for row in split))
    found = label(folder, "labels")
    assert found.exit_code == 0, found.output
    return folder


def label(folder: Path, out: str, *more: object) -> Result:
    checker = more or ("--checker", "number", "--mark", "####")
    data = ("--data", folder / "prompts.jsonl", "--out", folder / out)
    return run("label", "-g", folder / "pair.yaml", *data, *checker, "--shard", 16, "--json")


def test_every_position_of_the_usable_responses_has_a_label(folder: Path) -> None:
    counted = json.loads((folder / "labels" / "statistics.json").read_text())
    assert {split: sum(kinds.values()) for split, kinds in counted["responses"].items()} == PER_SPLIT
    rows = [json.loads(line) for file in (folder / "labels").glob("*.jsonl") for line in file.open()]
    usable = [row for row in rows if not row["dropped"]]
    assert all(row["right"] for row in usable)
    assert sum(counted["all positions"].values()) == sum(row["tokens"] for row in usable)
    assert counted["all positions"]["divergent"] == sum(row["divergent"] for row in rows) > 0
    assert counted["all positions"]["identical"] > counted["all positions"]["neutral"] > 0


def test_labelling_goes_on_where_it_was_killed(folder: Path, tmp_path: Path) -> None:
    labels = folder / "labels"
    before = {file.name: file.read_bytes() for file in labels.iterdir()}
    kept = (labels / "00000.safetensors").stat().st_mtime_ns
    (labels / "00001.jsonl").unlink()  # killed between a shard's two files
    (labels / "statistics.json").unlink()
    assert label(folder, "labels").exit_code == 0
    assert {file.name: file.read_bytes() for file in labels.iterdir()} == before
    assert (labels / "00000.safetensors").stat().st_mtime_ns == kept


def test_labels_of_two_kinds_do_not_mix(folder: Path) -> None:
    found = label(folder, "labels", "--checker", "exact", "--mark", "####")
    assert found.exit_code == 2
    assert "verifier 'number' there and 'exact' now" in found.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--until", "answer"), "either a checker or a judge"),
        (("--checker", "number", "--until", "sentence"), "a judge where branches end with a sentence"),
        (("--judge", "nobody"), "expected one of the workers small, large, calm, vague as judge"),
    ],
)
def test_options_that_do_not_go_together_are_refused(folder: Path, more: tuple[str, ...], message: str) -> None:
    found = label(folder, "other", *more)
    assert found.exit_code == 2
    assert message in found.output


@pytest.mark.parametrize(("judge", "verdict"), [("calm", "neutral"), ("vague", "unclear")])
def test_a_judge_in_place_of_a_checker(folder: Path, tmp_path: Path, judge: str, verdict: str) -> None:
    (tmp_path / "prompts.jsonl").write_text("".join((folder / "prompts.jsonl").open().readlines()[:4]))
    (tmp_path / "pair.yaml").write_text(SPEC)
    found = label(tmp_path, "labels", "--judge", judge, "--until", "sentence", "--sentences", 1)
    assert found.exit_code == 0, found.output
    counted = json.loads(found.stdout)["all positions"]
    assert counted[verdict] > 0
    assert set(counted) == {"identical", verdict}


def test_fit_calibrate_and_eval(folder: Path) -> None:
    router, labels = folder / "router", ("--labels", folder / "labels", "-g", folder / "pair.yaml")
    fitted = run("fit", *labels, "--out", router, "--width", 16, "--blocks", 1, "--epochs", 6, "--json")
    assert fitted.exit_code == 0, fitted.output
    assert read_file(router).thresholds == ()

    made = ("--router", router, *labels)
    assert run("calibrate", *made, "--by", "labels", "--share", 0.1).exit_code == 0
    assert [entry.share for entry in read_file(router).thresholds] == [0.1, 0.15]
    assert run("calibrate", *made, "--share", 0.3, "--target-share", 0.3, "--prompts", 4).exit_code == 0
    assert read_file(router).target_share == 0.3

    report = folder / "pair.md"
    found = run("eval", *made, "--share", 0.3, "--prompts", 8, "--report", report, "--json")
    assert found.exit_code == 0, found.output
    result = json.loads(found.stdout)
    outcomes = {one["policy"]: one for one in result["outcomes"]}
    assert outcomes["small only"]["share"] == 0 < outcomes["router"]["share"] < outcomes["large only"]["share"] == 1
    assert outcomes["oracle"]["accuracy"] >= outcomes["large only"]["accuracy"] > outcomes["small only"]["accuracy"]
    assert outcomes["small only"]["recovered"] == 0
    assert outcomes["large only"]["recovered"] == 1
    assert outcomes["router"]["relative"] < outcomes["large only"]["relative"] == 1
    assert {one["policy"] for one in result["qualities"]} == {
        "router", "entropy", "margin", "aleatoric", "random", "query level"
    }  # fmt: skip
    assert read_file(router).metrics["test AUC"] == next(
        q["auc"] for q in result["qualities"] if q["policy"] == "router"
    )
    assert "| router, calibrated to 30% |" in report.read_text()


def test_a_router_cannot_be_tested_on_prompts_that_made_it(folder: Path) -> None:
    made = ("--router", folder / "router", "--labels", folder / "labels", "-g", folder / "pair.yaml")
    assert run("fit", *made[2:], "--out", folder / "router", "--epochs", 1, "--width", 16).exit_code == 0
    found = run("eval", *made, "--data", folder / "prompts.jsonl")
    assert found.exit_code == 2
    assert "not used in split train" in found.output
