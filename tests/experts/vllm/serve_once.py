"""Run by test_pocket_on_vllm.py in a process of its own: answers requests with an unmodified vLLM, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    from vllm import LLM, SamplingParams

    request = json.load(sys.stdin)
    model = LLM(
        request["model"], dtype="float32", enforce_eager=True, max_num_seqs=8, max_model_len=256, block_size=32,
        kv_cache_memory_bytes=64 << 20, logprobs_mode="processed_logprobs",
    )  # fmt: skip
    prompts = [{"prompt_token_ids": ids} for ids in request["prompts"]]
    choice = SamplingParams(
        temperature=0, max_tokens=1, allowed_token_ids=request["tokens"], logprobs=len(request["tokens"])
    )
    call = SamplingParams(temperature=0, max_tokens=64, stop_token_ids=[request["end"]])
    chosen = [output.outputs[0] for output in model.generate(prompts, choice, use_tqdm=False)]
    calls = model.generate(
        [{"prompt_token_ids": [*p["prompt_token_ids"], *c.token_ids]} for p, c in zip(prompts, chosen, strict=True)], call,
        use_tqdm=False,
    )  # fmt: skip
    answers = [
        {"choice": {str(t): lp.logprob for t, lp in c.logprobs[0].items()}, "call": list(k.outputs[0].token_ids)}
        for c, k in zip(chosen, calls, strict=True)
    ]
    Path(request["out"]).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
