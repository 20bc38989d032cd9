"""Adds rows to a causal language model's vocabulary (ToolkenGPT, Octopus v4: new tokens for a frozen model)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from experts.engines.prompt import PromptTokenizer
from experts.engines.requests import TokenId
from experts.errors import RequestError

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray


@torch.no_grad()
def extend_vocabulary(
    model: Any, tokenizer: PromptTokenizer, rows: Mapping[str, NDArray[float32]],
    like: Mapping[str, Sequence[TokenId]] | None = None,
) -> None:  # fmt: skip
    """Gives special tokens the output rows, each [width]; tokens that are new join the tokenizer.

    New tokens enter the model as the mean of its input embeddings, or of those of the tokens that they are ``like``.
    Output and input embeddings that were tied are untied, so that the input embeddings stay as they are.

    Raises:
        RequestError: a row has the wrong width, or a token is an empty text.
    """
    head = model.get_output_embeddings()
    for token, row in rows.items():
        if row.shape != (head.in_features,):
            raise RequestError(f"expected a row of shape ({head.in_features},) for {token}, found {row.shape}")
        if not token.strip():
            raise RequestError(f"expected the text of a special token, found {token!r}. Name it, such as <tool_add>")
    new = [token for token in rows if tokenizer.token_id(token) is None]
    tokenizer.add_special(new)
    ids = {token: tokenizer.token_id(token) for token in rows}
    embedding = model.get_input_embeddings()
    mean = embedding.weight.mean(dim=0)
    size = max(head.out_features, len(tokenizer), *(number + 1 for number in ids.values() if number is not None))
    entering = {token: embedding.weight[list((like or {}).get(token, ()))] for token in new}

    # A copy even where nothing grows: it unties the two.
    inputs = _grown(embedding.weight, size)
    for token, similar in entering.items():
        inputs[ids[token]] = similar.mean(dim=0) if len(similar) else mean
    outputs = _grown(head.weight, size)
    for token, row in rows.items():
        outputs[ids[token]] = torch.from_numpy(row).to(outputs)
    embedding.weight = nn.Parameter(inputs, requires_grad=False)
    embedding.num_embeddings = size
    head.weight = nn.Parameter(outputs, requires_grad=False)
    head.out_features = size
    if head.bias is not None:
        head.bias = nn.Parameter(_grown(head.bias, size), requires_grad=False)
        head.bias[list(ids.values())] = 0.0
    model.config.get_text_config().vocab_size = size
    model.config.tie_word_embeddings = False


def _grown(weight: Tensor, size: int) -> Tensor:
    """A copy with rows of zeros up to the size."""
    grown = weight.new_zeros(size, *weight.shape[1:])
    grown[: len(weight)] = weight
    return grown
