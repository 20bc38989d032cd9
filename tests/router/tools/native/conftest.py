"""A small model that learnt a few dialogues with native calls by heart; its chat template and tokens are Qwen's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken

from experts.engines.prompt import PromptTokenizer
from experts.engines.requests import Message, ToolCall
from router.tools.builtins.catalogue import load_builtin
from router.tools.native.turns import call_id, schema_of
from tests.experts.engines.checkpoints import character_tokenizer, random_model

TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool.function.name }}({{ tool.function.parameters.required "
    "| join(',') }}) {% endfor %}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{% for call in message.tool_calls or [] %}<tool_call>\n{\"name\": \"{{ call.function.name }}\", \"arguments\": "
    "{{ call.function.arguments | tojson }}}\n</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)  # fmt: skip
NAMES = ("add", "divide")
TOOLS = {tool.name: tool for tool in load_builtin("arithmetic") if tool.name in NAMES}
LEARNT: dict[str, tuple[tuple[str, dict[str, str], str], ...]] = {
    # question: name, arguments and result of each call
    "2 and 3?": (("add", {"a": "2", "b": "3"}, "5"),),
    "40 and 2?": (("add", {"a": "40", "b": "2"}, "42"),),
    "8 by 2?": (("divide", {"a": "8", "b": "2"}, "4"),),
}


def dialogue(question: str, answer: str = "") -> list[Message]:
    messages = [Message("user", question)]
    for number, (name, arguments, result) in enumerate(LEARNT[question]):
        messages.append(Message("assistant", "", (ToolCall(name, arguments, call_id(number)),)))
        messages.append(Message("tool", result, tool_call_id=call_id(number)))
    return [*messages, Message("assistant", answer)] if answer else messages


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("native") / "model"
    tokenizer = character_tokenizer(TEMPLATE)
    tokenizer.add_tokens([AddedToken(token, special=False) for token in ("<tool_call>", "</tool_call>")])
    model = random_model("qwen3", hidden_size=64, vocab_size=len(tokenizer), max_position_embeddings=512)
    prompts, schemas = PromptTokenizer(tokenizer), [schema_of(tool) for tool in TOOLS.values()]
    opening = 1 + len("assistant\n")
    texts = []
    for question, calls in LEARNT.items():
        whole = prompts.render(dialogue(question, f"It is {calls[-1][2]}."), schemas)
        texts.append(torch.tensor(whole[:-opening]))
    ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
    labels = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=-100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(400):
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.03:
            break
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
