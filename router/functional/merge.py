"""Merges functional tokens into a decoder's vocabulary, as a checkpoint that any server of such models can serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experts.engines.config import LocalWorker
from experts.engines.factory import create_engine
from router.functional.decision import Target
from router.functional.decoder_prior import abstaining, add_tokens, known
from router.functional.tokens_file import (
    FILE_NAME,
    TokensFile,
    description_hash,
    load_tokens,
    save_tokens,
    token_texts,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Vocabulary:
    """What a merge adds to a model.

    Attributes:
        tokens: the functional tokens of the merged model, those that it had included; None: these are of another kind.
        rows: output rows of the new ones, float32 [width] each.
        added: all new special tokens; those without a row get the mean of the model's rows.
        inputs: of new tokens, the ids of tokens whose mean input embedding they get. With any, embeddings that were tied
            are no longer.
    """

    tokens: TokensFile | None
    rows: Mapping[str, NDArray[np.float32]]
    added: tuple[str, ...]
    inputs: Mapping[str, Sequence[int]] = field(default_factory=dict)


async def merge_tokens(
    worker: LocalWorker,
    targets: Sequence[Target],
    out: Path,
    *,
    system: str | None = None,
    abstain: str | None = None,
    writes_calls: bool = False,
) -> TokensFile:
    """Writes a model with functional tokens for the targets to ``out``; nothing is trained.

    Tokens that the model already has (its folder holds ``functional_tokens.json``) stay as they are. New ones get the
    rows of `router.functional.decoder_prior` and are silent: the model writes no call after them until it is trained
    to. ``out`` becomes a complete checkpoint with its tokenizer and chat template, in the model's own precision, for
    transformers or vLLM as they are.

    Args:
        system: the router's system prompt.
        abstain: text of an abstain token to add, if the model has none.
        writes_calls: whether the model will be trained to write ``('query')<end>`` and so needs the end token.

    Raises:
        CheckpointError: the model's files are missing or not accepted.
        TokenHeadError: two targets have one token.
    """
    from experts.engines.local.checkpoint import fingerprint, resolve

    folder = resolve(worker.model)
    vocabulary = await _vocabulary(worker, folder, targets, system, abstain, writes_calls)
    write_checkpoint(folder, vocabulary, out)
    assert vocabulary.tokens is not None
    tokens = vocabulary.tokens.model_copy(update={"fingerprint": fingerprint(out)})
    save_tokens(tokens, out)
    return tokens


async def _vocabulary(
    worker: LocalWorker, folder: Path, targets: Sequence[Target], system: str | None, abstain: str | None, calls: bool
) -> Vocabulary:
    has = load_tokens(folder) if (folder / FILE_NAME).is_file() else TokensFile(backbone="decoder", tokens={})
    abstain = has.abstain or abstain
    texts = token_texts(targets, has.tokens)
    engine = await create_engine(worker)
    try:
        entries = [
            known(target, texts[target.node], trained=engine.token_id(texts[target.node]) is not None)
            for target in targets
        ]
        if abstain:
            entries.append(abstaining(abstain, trained=engine.token_id(abstain) is not None))
        end = (has.end,) if calls and engine.token_id(has.end) is None else ()
        rows = await add_tokens(engine, entries, system)
    finally:
        await engine.close()
    new = [target for target in targets if texts[target.node] in rows]
    tokens = has.model_copy(
        update={
            "tokens": {**has.tokens, **texts},
            "abstain": abstain,
            "silent": tuple(dict.fromkeys((*has.silent, *(target.node for target in new)))),
            "descriptions": has.descriptions | {t.node: description_hash(t.description, t.examples) for t in new},
            "report": None,
        }
    )
    return Vocabulary(tokens, rows, (*rows, *end))


def write_checkpoint(folder: Path, vocabulary: Vocabulary, out: Path) -> None:
    """Writes the model of ``folder`` with more special tokens to ``out``.

    Where input and output embeddings are tied they stay tied, so a new row serves as both; otherwise a new token's
    input embedding is the mean of the others.
    """
    import torch
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    tokenizer.add_tokens(
        [AddedToken(token, special=True, normalized=False) for token in vocabulary.added], special_tokens=True
    )
    model = load_decoder(folder)
    inputs, outputs = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    mean_input, mean_output = inputs.detach().mean(0), outputs.detach().mean(0)
    if len(tokenizer) > len(inputs):
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    if vocabulary.inputs and model.config.tie_word_embeddings:
        model.config.tie_word_embeddings = False
        head = model.get_output_embeddings()
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
    with torch.no_grad():
        for token in vocabulary.added:
            number = tokenizer.convert_tokens_to_ids(token)
            entering = model.get_input_embeddings().weight
            similar = list(vocabulary.inputs.get(token, ()))
            entering[number] = entering[similar].mean(0) if similar else mean_input
            row = vocabulary.rows.get(token)
            output = model.get_output_embeddings().weight
            output[number] = mean_output if row is None else torch.from_numpy(row).to(output)
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def load_decoder(folder: Path) -> Any:
    """The model of a checkpoint folder, in its own precision."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", use_safetensors=True, trust_remote_code=False, local_files_only=True
    )
