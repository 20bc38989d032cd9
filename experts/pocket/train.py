"""Trains one pocket model from scratch: ``python -m experts.pocket.train NAME``.

Examples of like length share a batch, padded on the right, so causal attention needs no mask. Matrices learn by Muon
(Jordan et al. 2024), everything else by AdamW. Limits: one process, float32, no resuming; minutes to an hour a model on two cores.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from experts.pocket import WEIGHTS
from experts.pocket.corpus import UNKNOWN_NODE
from experts.pocket.recipes import RECIPES, Recipe
from experts.pocket.tokenizer import ASSISTANT, END, PAD, USER, build_tokenizer

log = logging.getLogger(__name__)

_POOL_BATCHES = 32  # batches whose examples are sorted by length together


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """A Qwen3 of the recipe's shape with fresh weights."""
    end = tokenizer.convert_tokens_to_ids(END)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=recipe.hidden, num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads, num_key_value_heads=recipe.heads, head_dim=recipe.hidden // recipe.heads,
            intermediate_size=recipe.intermediate, max_position_embeddings=recipe.context, rope_theta=10000.0,
            tie_word_embeddings=False, pad_token_id=tokenizer.convert_tokens_to_ids(PAD), bos_token_id=None,
            eos_token_id=end, initializer_range=0.02, use_cache=True,
        )
    )  # fmt: skip


def batches(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, rng: Random) -> Iterator[tuple[Tensor, Tensor]]:
    """Token ids int64 [batch, length] and the loss weight of each of them, float32 [batch, length]."""
    pairs = recipe.pairs(rng, "train")
    user, assistant, end, pad = (tokenizer.convert_tokens_to_ids(t) for t in (USER, ASSISTANT, END, PAD))

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    while True:
        pool: list[tuple[list[int], int]] = []
        total = 0
        while total < _POOL_BATCHES * recipe.batch_tokens:
            prompt, response = next(pairs)
            # The chat template lower-cases and trims the user's text.
            head = [user, *encode(prompt.lower().strip()), assistant]
            ids = [*head, *encode(response), end]
            if len(ids) <= recipe.context:
                pool.append((ids, len(head)))
                total += len(ids)
        pool.sort(key=lambda item: len(item[0]))
        chunks: list[list[tuple[list[int], int]]] = [[]]
        for item in pool:
            if (len(chunks[-1]) + 1) * len(item[0]) > recipe.batch_tokens:
                chunks.append([])
            chunks[-1].append(item)
        rng.shuffle(chunks)
        for chunk in chunks:
            width = max(len(ids) for ids, _ in chunk)
            batch = torch.full((len(chunk), width), pad)
            weight = torch.zeros(len(chunk), width)
            for row, (ids, head_length) in enumerate(chunk):
                batch[row, : len(ids)] = torch.tensor(ids)
                weight[row, : len(ids)] = 1.0
                weight[row, :head_length] = recipe.prompt_weight
            yield batch, weight


def optimisers(model: Qwen3ForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, output rows and norms."""
    blocks = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is q for q in blocks)]
    return [
        torch.optim.Muon(blocks, lr=recipe.learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train(recipe: Recipe, out: Path, *, log_every: int = 100, compiled: bool = True) -> dict[str, float]:
    """Trains by the recipe and writes the checkpoint. Returns what it took.

    Args:
        compiled: run the model through torch.compile, which pays after about a minute.
    """
    torch.manual_seed(recipe.seed)
    rng = Random(recipe.seed)
    tokenizer = build_tokenizer(recipe.special_tokens)
    model = build_model(recipe, tokenizer).train()
    forward = torch.compile(model, dynamic=True) if compiled else model
    optimiser_list = optimisers(model, recipe)
    started, seen, step, budget = time.monotonic(), 0, 0, recipe.million_tokens * 1e6
    losses: list[float] = []
    for ids, weight in batches(recipe, tokenizer, rng):
        progress = seen / budget
        if progress >= 1:
            break
        rate = recipe.learning_rate * min(1.0, (step + 1) / 100, (1 - progress) / recipe.decay)
        for optimiser in optimiser_list:
            for group in optimiser.param_groups:
                group["lr"] = rate
        logits = forward(input_ids=ids, use_cache=False).logits
        loss_each = functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        loss = (loss_each * weight[:, 1:].flatten()).sum() / weight[:, 1:].sum()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimiser_list:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        seen += int((ids != tokenizer.pad_token_id).sum())
        step += 1
        losses.append(loss.item())
        if step % log_every == 0:
            speed = seen / (time.monotonic() - started)
            log.info(
                "step %d  %.2fM tokens  loss %.4f  %.0f tokens/s", step, seen / 1e6, sum(losses) / len(losses), speed
            )
            losses.clear()
    model.eval()
    model.save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)
    if recipe.functional_tokens:
        write_functional_tokens(recipe, out)
    facts = {"seconds": time.monotonic() - started, "steps": step, "million_tokens": seen / 1e6,
             "parameters": model.num_parameters(), "seed": recipe.seed}  # fmt: skip
    (out / "training.json").write_text(json.dumps(facts, indent=2) + "\n")
    return facts


def write_functional_tokens(recipe: Recipe, out: Path) -> None:
    """``functional_tokens.json``: what the router needs to know about the tokens that this model writes."""
    tokens = {"backbone": "decoder", "tokens": recipe.functional_tokens, "abstain": UNKNOWN_NODE, "end": END,
              "created_with": "experts.pocket.train"}  # fmt: skip
    (out / "functional_tokens.json").write_text(json.dumps(tokens, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Trains the models named on the command line."""
    parser = argparse.ArgumentParser(description="Train one pocket model from its recipe.")
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--out", type=Path, help="folder for the checkpoint (default: the bundled weights)")
    parser.add_argument("--threads", type=int, default=0, help="torch threads (default: torch's own choice)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    train(RECIPES[arguments.name], arguments.out or WEIGHTS / arguments.name)


if __name__ == "__main__":
    main()
