"""Fits the functional rows of a frozen decoder on hidden states computed once."""

from __future__ import annotations

from pathlib import Path

from router.functional.decoder_data import TrainingData
from router.functional.fit import LAMBDAS, Rows, fit_rows
from router.functional.merge import load_decoder
from router.functional.tuning import Tuned


def tune_rows(data: TrainingData, folder: Path, regularisation: float | None, seed: int) -> Tuned:
    """Fits the functional rows W of the model in ``folder`` on the frozen states h, and writes it back.

    They are fitted for h / s with s the mean length of h, so that lambda means the same for every model. An output
    layer has no bias: the fitted b joins the rows along the direction v with h . v nearest to 1.
    """
    import numpy as np
    import torch

    train, validation = data.train_states, data.validation_states
    assert train is not None and validation is not None
    model = load_decoder(folder)
    output = model.get_output_embeddings().weight
    ids = torch.tensor(data.ids)
    before = output.detach()[ids].float().numpy()
    length = np.float32(np.linalg.norm(train, axis=1).mean())
    fitted = fit_rows(
        train / length, data.labels(data.train), Rows(before * length, np.zeros(len(before), np.float32)),
        lambdas=LAMBDAS if regularisation is None else (regularisation,), seed=seed,
    )  # fmt: skip
    one = np.linalg.lstsq(train.astype(np.float64), np.ones(len(train)), rcond=1e-6)[0].astype(np.float32)
    after = fitted.rows.weights / length + np.outer(fitted.rows.bias, one)
    with torch.no_grad():
        output[ids] = torch.from_numpy(after).to(output)
    model.save_pretrained(folder)
    return Tuned(validation @ before.T, validation @ after.T, None, 0, fitted.regularisation)
