"""A sentence encoder and its rows as they are trained: what learns, how fast, and the loss."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experts.engines.config import LocalWorker
from router.errors import TokenHeadError
from router.functional.fit import Rows
from router.functional.views import Labelled, batches

if TYPE_CHECKING:
    from torch import Tensor

_FROZEN_SHARE = 1 / 3
_LAYER_DECAY = 0.9  # learning rate of a layer relative to the next one
_WEIGHT_DECAY = 0.01


@dataclass(frozen=True)
class EncoderSettings:
    """How to fine-tune.

    Attributes:
        lr: peak learning rate of the top layer; it rises over the first tenth of the steps, then falls linearly.
        rows_lr: peak learning rate of the rows.
        max_length: tokens of a query that are read in training.
        regularisation: lambda of lambda * ||E - E0||^2 per query, E0 the rows that training starts with.
        patience: passes without improvement before it stops.
    """

    epochs: int = 4
    lr: float = 1e-4
    rows_lr: float = 1e-2
    batch: int = 32
    max_length: int = 128
    regularisation: float = 1e-5
    patience: int = 2
    seed: int = 0


class TrainableEncoder:
    """The model, its tokenizer and the rows while they are trained."""

    def __init__(self, worker: LocalWorker, start: Rows, settings: EncoderSettings) -> None:
        import torch

        from experts.engines.local.checkpoint import resolve
        from experts.engines.local.loading import load_model
        from experts.engines.local.pooling import PoolingConfig
        from experts.engines.prompt import PromptTokenizer

        self._source = resolve(worker.model)
        self._settings = settings
        self._tokenizer = PromptTokenizer.load(self._source)
        self._pooling = PoolingConfig.load(self._source)
        self._begin, self._end = self._tokenizer.surrounding
        self._model = load_model(
            "AutoModel", self._source, dtype="float32", device=worker.device, optional=("pooler.",)
        )
        stack = next((part for part in self._model.modules() if isinstance(part, torch.nn.ModuleList)), None)
        if stack is None:
            raise TokenHeadError(f"expected layers to tune in {worker.model}, found none. Use tune: rows")
        self._layers = list(stack)[int(len(stack) * _FROZEN_SHARE) :]
        for layer in self._layers:
            layer.requires_grad_(True)
        device = self._model.device
        self._start = [torch.tensor(start.weights, device=device), torch.tensor(start.bias, device=device)]
        self._rows = [value.clone().requires_grad_() for value in self._start]

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups with their learning rates."""
        groups: list[dict[str, Any]] = [{"params": self._rows, "lr": self._settings.rows_lr, "weight_decay": 0.0}]
        for depth, layer in enumerate(reversed(self._layers)):
            lr = self._settings.lr * _LAYER_DECAY**depth
            matrices = [value for value in layer.parameters() if value.ndim > 1]
            vectors = [value for value in layer.parameters() if value.ndim <= 1]
            groups += [
                {"params": matrices, "lr": lr, "weight_decay": _WEIGHT_DECAY},
                {"params": vectors, "lr": lr, "weight_decay": 0.0},
            ]
        return groups

    def free(self) -> list[Tensor]:
        """All that is trained."""
        return [*self._rows, *(value for layer in self._layers for value in layer.parameters())]

    def loss(self, texts: Sequence[str], labels: Sequence[int]) -> Tensor:
        import torch

        self._model.train()
        targets = torch.tensor(labels, device=self._model.device)
        distance = sum(((value - anchor) ** 2).sum() for value, anchor in zip(self._rows, self._start, strict=True))
        fit = torch.nn.functional.cross_entropy(self._logits(texts), targets)
        return fit + self._settings.regularisation * distance

    def accuracy(self, rows: Labelled) -> float:
        import torch

        self._model.eval()
        right = 0
        with torch.inference_mode():
            for texts, labels in batches(rows, 2 * self._settings.batch, None):
                right += int((self._logits(texts).argmax(1).cpu() == torch.tensor(labels)).sum())
        return right / len(rows.labels) if rows.labels else 0.0

    def state(self) -> list[Tensor]:
        return [value.detach().clone() for value in self.free()]

    def save(self, state: Sequence[Tensor], folder: Path) -> Rows:
        """Puts a state back, writes the checkpoint, and returns its rows."""
        import torch

        with torch.no_grad():
            for value, stored in zip(self.free(), state, strict=True):
                value.copy_(stored)
        folder.mkdir(parents=True, exist_ok=True)
        weights = shutil.ignore_patterns("*.safetensors*", "*.bin", "*.onnx", "*.h5", "onnx", "openvino", ".*")
        shutil.copytree(self._source, folder, ignore=weights, dirs_exist_ok=True)
        self._model.save_pretrained(folder)
        rows, biases = (value.detach().cpu().numpy() for value in self._rows)
        return Rows(rows, biases)

    def _logits(self, texts: Sequence[str]) -> Tensor:
        """[n, rows], from the same pooled unit vectors as the engine's."""
        import torch

        room = self._settings.max_length - len(self._begin) - len(self._end)
        lower = self._pooling.lower_case
        prompts = [self._begin + self._tokenizer.encode(t.lower() if lower else t)[:room] + self._end for t in texts]
        device = self._model.device
        longest = max(map(len, prompts))
        ids = torch.tensor([prompt + (0,) * (longest - len(prompt)) for prompt in prompts], device=device)
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)[:, None]
        mask = torch.arange(longest, device=device) < lengths
        with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
            states = self._model(input_ids=ids, attention_mask=mask.long()).last_hidden_state.float()
        pooled = states[:, 0] if self._pooling.mode == "cls" else (states * mask[:, :, None]).sum(1) / lengths
        return torch.nn.functional.normalize(pooled, dim=1) @ self._rows[0].T + self._rows[1]
