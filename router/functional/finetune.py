"""Fine-tunes a decoder, or low-rank adapters of it, on ``<node_i>('reformulated query')<end>``.

Loss: cross-entropy of the functional token plus cross-entropy of the call's tokens, each averaged over its own
positions (so the choice weighs as much as a whole call), plus ``regularisation * ||W - W0||^2`` over the functional
rows W of the output layer, which started at W0 ("Re-Initialization Token Learning").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from router.functional.decoder_data import TrainingData
from router.functional.merge import load_decoder
from router.functional.sequences import Batch, RoutingSequence, batches, collate
from router.functional.tuning import Epoch, Evaluation, Settings, Tuned

if TYPE_CHECKING:
    from torch import Tensor


def tune_weights(data: TrainingData, folder: Path, settings: Settings, progress: Callable[[Epoch], None]) -> Tuned:
    """Fine-tunes the model in ``folder`` and writes it back, in the precision that it had."""
    model = load_decoder(folder)
    dtype = model.dtype
    # Weights are trained in float32: updates of a usual size are lost in bfloat16.
    tuner = FineTuner(model.float(), data.ids, settings)
    before = tuner.evaluate(data.validation)
    tuned, best, epoch = tuner.fit(data.train, data.validation, progress)
    tuned.to(dtype).save_pretrained(folder)
    exact = float(best.exact.mean()) if len(best.exact) else None
    return Tuned(before.logits, best.logits, exact, epoch, settings.regularisation)


class FineTuner:
    """Trains ``model`` in place.

    Args:
        functional: ids of the functional tokens and the abstain token.
    """

    def __init__(self, model: Any, functional: Sequence[int], settings: Settings) -> None:
        import torch

        torch.manual_seed(settings.seed)
        self._model = model.to(settings.device)
        self._settings = settings
        self._ids = torch.tensor(list(functional), device=settings.device)
        self._peft = _with_adapters(model, functional, settings.rank) if settings.tune == "lora" else None
        self._start = self._rows().detach().clone()
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def fit(
        self, train: Sequence[RoutingSequence], validation: Sequence[RoutingSequence], progress: Callable[[Epoch], None]
    ) -> tuple[Any, Evaluation, int]:
        """Trains, keeps the best epoch's weights and merges adapters.

        Returns:
            The model, its evaluation on ``validation`` and the number of the best epoch (0: training did not help).
        """
        import torch

        settings, rng = self._settings, Random(self._settings.seed)
        steps = settings.epochs * sum(1 for _ in batches(train, settings.batch_tokens))
        optimiser = torch.optim.AdamW(self._trained, lr=settings.lr, weight_decay=0.0)
        warmup = max(1, steps // 10)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: min((step + 1) / warmup, max(0.0, (steps - step) / max(1, steps - warmup)))
        )
        best, best_epoch, kept = self.evaluate(validation), 0, self._snapshot()
        progress(Epoch(0, settings.epochs, float("nan"), best))
        for epoch in range(1, settings.epochs + 1):
            self._model.train()
            losses = []
            for group in batches(train, settings.batch_tokens, rng):
                loss = self._step_loss(collate(group, settings.device))
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(self._trained, 1.0)
                optimiser.step()
                optimiser.zero_grad()
                schedule.step()
                losses.append(loss.item())
            evaluation = self.evaluate(validation)
            progress(Epoch(epoch, settings.epochs, sum(losses) / len(losses), evaluation))
            if evaluation.score > best.score:
                best, best_epoch, kept = evaluation, epoch, self._snapshot()
            elif epoch - best_epoch >= settings.patience:
                break
        self._restore(kept)
        return (self._model if self._peft is None else self._peft.merge_and_unload()), best, best_epoch

    def evaluate(self, sequences: Sequence[RoutingSequence]) -> Evaluation:
        """Teacher-forced evaluation; the order of the results is that of ``sequences``."""
        import numpy as np
        import torch

        self._model.eval()
        place = {id(sequence): index for index, sequence in enumerate(sequences)}
        logits = np.zeros((len(sequences), len(self._ids)), np.float32)
        right = np.zeros(len(sequences), bool)
        exact: list[bool] = []
        losses: list[float] = []
        with torch.inference_mode():
            for group in batches(sequences, 4 * self._settings.batch_tokens):
                batch = collate(group, self._settings.device)
                scores = self._scores(batch)
                losses.append(float(_cross_entropy(scores, batch)) * len(group))
                rows = [place[id(sequence)] for sequence in group]
                chosen = scores[batch.choices >= 0][:, self._ids]
                logits[rows] = chosen.cpu().numpy()
                right[rows] = (self._ids[chosen.argmax(-1)] == batch.choices[batch.choices >= 0]).cpu().numpy()
                wrong = ((scores.argmax(-1) != batch.calls) & (batch.calls >= 0)).any(1)
                exact += (~wrong)[(batch.calls >= 0).any(1)].tolist()
        return Evaluation(logits, right, np.array(exact, bool), sum(losses) / max(1, len(sequences)))

    def _scores(self, batch: Batch) -> Tensor:
        """Logits of the kept positions, float32 [batch, kept, vocabulary]."""
        import torch

        device = torch.device(self._settings.device).type
        with torch.autocast(device, torch.bfloat16, enabled=self._settings.bfloat16):
            output = self._model(
                input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids,
                logits_to_keep=batch.choices.shape[1], use_cache=False,
            )  # fmt: skip
        scores: Tensor = output.logits.float()
        return scores

    def _step_loss(self, batch: Batch) -> Tensor:
        drift = (self._rows() - self._start).square().sum()
        return _cross_entropy(self._scores(batch), batch) + self._settings.regularisation * drift

    def _rows(self) -> Tensor:
        """The functional rows of the output layer, [functional tokens, width]."""
        rows: Tensor = self._model.get_output_embeddings().weight[self._ids]
        return rows

    def _snapshot(self) -> list[Tensor]:
        return [parameter.detach().to("cpu", copy=True) for parameter in self._trained]

    def _restore(self, kept: list[Tensor]) -> None:
        import torch

        with torch.no_grad():
            for parameter, value in zip(self._trained, kept, strict=True):
                parameter.copy_(value)


def _cross_entropy(scores: Tensor, batch: Batch) -> Tensor:
    from torch.nn.functional import cross_entropy

    choice = cross_entropy(scores[batch.choices >= 0], batch.choices[batch.choices >= 0])
    written = batch.calls >= 0
    return choice + cross_entropy(scores[written], batch.calls[written]) if written.any() else choice


def _with_adapters(model: Any, functional: Sequence[int], rank: int) -> Any:
    """Low-rank adapters in every linear layer; of the embedding and output matrices only the functional rows learn."""
    from peft import LoraConfig, get_peft_model

    layers = [model.get_input_embeddings()]
    if not model.config.tie_word_embeddings:
        layers.append(model.get_output_embeddings())
    named = [name for name, module in model.named_modules() if any(module is layer for layer in layers)]
    indices = {name: list(functional) for name in named}
    return get_peft_model(
        model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", trainable_token_indices=indices)
    )
