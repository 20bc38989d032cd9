"""The folder of a token router, and its network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from experts.defer.features import features, proposals
from experts.defer.files import (
    FILE_NAME,
    WEIGHTS_NAME,
    ShareThreshold,
    TokenRouterFile,
    load_router,
    locate,
    read_file,
    save_router,
    write_file,
)
from experts.defer.network import TokenRouter
from experts.defer.shape import RouterShape
from experts.errors import CheckpointError

SHAPE = RouterShape(model_width=12, top_k=5, width=16, blocks=2)
TABLE = tuple(ShareThreshold(share=share, threshold=1 - share) for share in (0.05, 0.1, 0.2))
FILE = TokenRouterFile(
    shape=SHAPE, small="small print", large="large print", target_share=0.15, thresholds=TABLE, metrics={"auc": 0.9}
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_router(TokenRouter(SHAPE), FILE, tmp_path / "router")
    return tmp_path / "router"


def places(rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    logits = torch.randn(rows, 40)
    table = torch.randn(40, 12)
    return torch.randn(rows, 12), logits, table[proposals(logits)]


def test_what_is_saved_is_loaded(folder: Path) -> None:
    torch.manual_seed(0)
    made = TokenRouter(SHAPE).eval()
    router, file = load_router(folder, small="small print")
    assert file == FILE
    assert torch.equal(router.score(*places(7)), made.score(*places(7)))
    assert router.score(*places(7)).dtype == torch.float32
    assert not router.training
    assert SHAPE.parameters == sum(weight.numel() for weight in router.parameters())
    assert {path.name for path in folder.iterdir()} == {FILE_NAME, WEIGHTS_NAME}


def test_a_row_is_scored_alike_whatever_is_beside_it_and_in_any_precision(folder: Path) -> None:
    router, _ = load_router(folder)
    hidden, logits, embeddings = places(9)
    together = router.score(hidden, logits, embeddings)
    for row in range(9):
        one = slice(row, row + 1)
        torch.testing.assert_close(router.score(hidden[one], logits[one], embeddings[one]), together[one])
    halves = [part.to(torch.bfloat16) for part in (hidden, logits, embeddings)]
    assert torch.equal(router.score(*halves), router.score(*(part.float() for part in halves)))


def test_features_are_the_greatest_logits_in_order() -> None:
    hidden, logits, embeddings = places(3)
    found = features(hidden, logits, embeddings, k=5)
    assert torch.equal(found.top_logits, logits.sort(descending=True).values[:, :5])
    assert features(hidden, logits, embeddings).top_logits.shape == (3, 40), "a vocabulary of fewer than 100"
    assert proposals(logits).tolist() == logits.argmax(-1).tolist()


@pytest.mark.parametrize(("share", "threshold"), [(None, 0.9), (0.05, 0.95), (0.199, 0.9), (0.2, 0.8), (1.0, 0.8)])
def test_the_threshold_of_a_share(share: float | None, threshold: float) -> None:
    assert FILE.threshold(share) == threshold


def test_a_share_without_threshold_is_an_error() -> None:
    with pytest.raises(CheckpointError, match=r"large share of 0\.01, found those for: 0\.05, 0\.1, 0\.2.*calibrate"):
        FILE.threshold(0.01)


def test_another_model_is_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"small model with fingerprint small print, found other\..*train"):
        load_router(folder, small="other")


def test_calibrating_rewrites_the_file_alone(folder: Path) -> None:
    weights = (folder / WEIGHTS_NAME).read_bytes()
    write_file(FILE.model_copy(update={"thresholds": TABLE[:1]}), folder)
    assert read_file(folder).thresholds == TABLE[:1]
    assert (folder / WEIGHTS_NAME).read_bytes() == weights


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"version": 2}, "version"),
        ({"shape": {"model_width": 12}}, "shape"),
        ({"thresholds": [{"share": 0.1, "threshold": "x"}]}, "thresholds"),
        ({"more": 1}, "more"),
    ],
)
def test_a_damaged_file_names_the_place(folder: Path, change: dict[str, object], named: str) -> None:
    content = json.loads((folder / FILE_NAME).read_text()) | change
    (folder / FILE_NAME).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=named):
        read_file(folder)


def test_damaged_weights_are_an_error(folder: Path) -> None:
    (folder / WEIGHTS_NAME).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="weights of a token router"):
        load_router(folder)
    save_router(TokenRouter(RouterShape(12, 5, 8, 2)), FILE, folder)
    with pytest.raises(CheckpointError, match="weights of a token router"):
        load_router(folder)


def test_where_a_router_is(folder: Path, tmp_path: Path) -> None:
    assert locate(str(folder)) == folder
    with pytest.raises(CheckpointError, match=r"token_router\.json"):
        locate(str(tmp_path))
    with pytest.raises(CheckpointError, match="bundled model"):
        locate("pocket:no such model")
