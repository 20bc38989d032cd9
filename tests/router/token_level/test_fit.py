from __future__ import annotations

import pytest
import torch
from torch import Tensor

from experts.defer.features import Features
from experts.defer.network import TokenRouter
from experts.defer.shape import RouterShape
from router.errors import DataError
from router.token_level.dataset import LabelledRows
from router.token_level.fit import FitOptions, Scales, fit, fold, platt, scores_of, shape_for
from router.token_level.metrics import auc, calibration_error
from router.token_level.problems import Problem, split_of
from router.token_level.shards import Label, LabelFolder, Labelled, Positions

WIDTH, K, VOCABULARY, LENGTH = 8, 5, 11, 10


def embeddings() -> Tensor:
    return torch.randn(VOCABULARY, WIDTH, generator=torch.Generator().manual_seed(9))


def filled(folder: LabelFolder, shards: int = 12, problems: int = 20) -> LabelFolder:
    """Labels that follow from the features, on scales as far apart as real ones are, one in ten positive."""
    folder.folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(1)
    for shard in range(shards):
        rows = problems * LENGTH
        hidden = 50 + 20 * torch.randn(rows, WIDTH, generator=generator)
        proposal = torch.randint(0, VOCABULARY, (rows,), generator=generator)
        wild = (hidden[:, 0] - 50) / 20 + 0.5 * torch.randn(rows, generator=generator)
        label = torch.where(wild > 1.4, Label.DIVERGENT, Label.IDENTICAL).to(torch.uint8)
        label[::50] = Label.UNCLEAR
        logits = torch.randn(rows, K, generator=generator).sort(descending=True).values
        number = torch.arange(problems).repeat_interleave(LENGTH)
        folder.write(
            shard, Positions(hidden, logits, proposal.int(), proposal.int(), label, number.int()),
            [
                Labelled(Problem(text, "1", split_of(text)), "", True, LENGTH)
                for text in (f"problem {shard} {i}" for i in range(problems))
            ],
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> LabelFolder:
    return filled(LabelFolder(tmp_path_factory.mktemp("labels")))


def test_splits_share_no_problem_and_unclear_rows_are_left_out(labels: LabelFolder) -> None:
    rows = {split: LabelledRows(labels, split).whole() for split in ("train", "valid", "calibration", "test")}
    numbers = [set(found.problem.tolist()) for found in rows.values()]
    assert sum(map(len, numbers)) == len(set().union(*numbers)) == 240
    assert sum(map(len, rows.values())) == 240 * LENGTH * 49 // 50
    for found in rows.values():
        assert torch.equal(found.problem[found.first], found.problem)
        assert (found.first <= torch.arange(len(found))).all()


def test_portions_hold_every_row_once_however_little_memory_there_is(labels: LabelFolder) -> None:
    whole = LabelledRows(labels, "train").whole()
    small = LabelledRows(labels, "train", in_memory=300)
    portions = list(small.portions(torch.Generator().manual_seed(0)))
    assert len(portions) > 3
    assert all(len(portion) <= 300 for portion in portions)
    hidden = torch.cat([portion.hidden for portion in portions])
    assert torch.equal(hidden[:, 0].sort().values, whole.hidden[:, 0].sort().values)


def test_a_split_without_divergent_positions_is_refused(labels: LabelFolder, tmp_path: object) -> None:
    with pytest.raises(DataError, match="Label more prompts"):
        LabelledRows(LabelFolder(labels.folder / "none"), "train")


def test_it_learns_and_its_scores_are_probabilities(labels: LabelFolder) -> None:
    train, valid, test = (LabelledRows(labels, split) for split in ("train", "valid", "test"))
    options = FitOptions(width=16, blocks=1, learning_rate=3e-3, epochs=12, batch=128, dropout=0.0)
    fitted = fit(train, valid, embeddings(), options)
    rows = test.whole()
    scores = scores_of(fitted.router, rows, embeddings())
    assert auc(scores, rows.divergent) > 0.93
    assert calibration_error(scores, rows.divergent) < 0.04
    assert abs(float(scores.mean() - rows.divergent.mean())) < 0.03  # class weights are taken out again


def test_equal_seeds_give_equal_routers(labels: LabelFolder) -> None:
    def trained(seed: int) -> dict[str, Tensor]:
        rows = LabelledRows(labels, "train"), LabelledRows(labels, "valid")
        return fit(*rows, embeddings(), FitOptions(width=8, blocks=1, epochs=1, seed=seed)).router.state_dict()

    first, second, other = trained(0), trained(0), trained(1)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_scales_are_folded_into_the_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    router = TokenRouter(RouterShape(WIDTH, K, 16, 2)).eval()
    raw = Features(*(7 + 30 * torch.randn(50, width, generator=generator) for width in (WIDTH, K, WIDTH)))
    parts = (raw.hidden, raw.top_logits, raw.embeddings)
    scales = Scales(Features(*(p.mean(0) for p in parts)), Features(*(p.std(0) for p in parts)))
    folded = fold(router, scales, slope=0.5, offset=-2.0).eval()
    expected = 0.5 * router(scales.applied(raw, "cpu")) - 2.0
    torch.testing.assert_close(folded(raw), expected, atol=1e-4, rtol=1e-4)


def test_platt_finds_the_odds_again() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(50_000, generator=generator)
    happened = (torch.rand(50_000, generator=generator) < (0.7 * logits - 1.5).sigmoid()).float()
    slope, offset = platt(logits, happened)
    assert slope == pytest.approx(0.7, abs=0.05)
    assert offset == pytest.approx(-1.5, abs=0.05)


def test_the_size_fits_the_small_model() -> None:
    assert shape_for(1536, 100, FitOptions()) == RouterShape(1536, 100, 1024, 6)  # R2R's own pair
    assert shape_for(64, 100, FitOptions()).width == 64
    assert shape_for(64, 100, FitOptions(width=32, blocks=4)) == RouterShape(64, 100, 32, 4)
