"""Facts about models whose weights are elsewhere, or not in order."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from aiohttp import web
from aiohttp.test_utils import TestServer
from safetensors.torch import load_file, save_file

from experts.engines.local.loading import count_parameters
from experts.engines.vllm.facts import read_facts
from experts.errors import CheckpointError
from tests.experts.engines.checkpoints import random_model

COMMIT = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00"
READ = """
import json
from experts.engines.vllm.facts import read_facts
facts = read_facts("owner/name")
print(json.dumps([facts.fingerprint, facts.parameters, facts.activated_parameters, facts.vocabulary_size,
                  sorted(facts.end_ids), sorted(file.name for file in facts.folder.iterdir())]))
"""


@pytest.fixture
def folder(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(checkpoints["qwen3_moe"], tmp_path / "model")


def hub(folder: Path) -> web.Application:
    """As much of the Hugging Face hub as it takes to offer one model."""

    async def description(_: web.Request) -> web.Response:
        files = [{"rfilename": file.name} for file in folder.iterdir()]
        return web.json_response({"id": "owner/name", "sha": COMMIT, "siblings": files})

    async def tree(_: web.Request) -> web.Response:
        files = [
            {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": file.name}
            for file in folder.iterdir()
        ]
        return web.json_response(files)

    async def file(request: web.Request) -> web.StreamResponse:
        found = folder / request.match_info["file"]
        if not found.is_file():
            return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
        return web.FileResponse(found, headers={"X-Repo-Commit": COMMIT, "ETag": f'"{found.name}"'})

    app = web.Application()
    app.router.add_get("/api/models/owner/name", description)
    app.router.add_get("/api/models/owner/name/revision/{revision}", description)
    app.router.add_get("/api/models/owner/name/tree/{revision}", tree)
    app.router.add_get("/owner/name/resolve/{revision}/{file}", file)
    return app


@pytest.mark.asyncio
async def test_model_of_the_hub_needs_no_weights(folder: Path, tmp_path: Path) -> None:
    async def read(home: Path) -> list[object]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment |= {"HF_ENDPOINT": str(server.make_url("")).rstrip("/"), "HF_HOME": str(home)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", READ, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()[-3000:]
        return list(json.loads(output))

    async with TestServer(hub(folder)) as server:
        found = await read(tmp_path / "one")
        assert await read(tmp_path / "other") == found
    fingerprint, total, activated, size, ends, names = found
    assert fingerprint
    assert (total, activated) == count_parameters(random_model("qwen3_moe"))
    local = read_facts(str(folder))
    assert (size, set(ends)) == (local.vocabulary_size, local.end_ids)  # type: ignore[call-overload]
    assert "tokenizer.json" in names and "model.safetensors" not in names  # type: ignore[operator]


def test_several_end_tokens(folder: Path) -> None:
    configuration = folder / "generation_config.json"
    configuration.write_text(json.dumps({"eos_token_id": [3, 5]}))
    assert read_facts(str(folder)).end_ids == {3, 5}
    configuration.unlink()
    assert read_facts(str(folder)).end_ids == {3}


def test_packed_weights(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoints["gpt_oss"], tmp_path / "packed")
    weights = load_file(folder / "model.safetensors")
    plain = read_facts(str(folder))
    for name in [name for name in weights if name.endswith("experts.down_proj")]:
        experts, rows, columns = weights.pop(name).shape
        weights[f"{name}_blocks"] = torch.zeros(experts, columns, rows // 32, 16, dtype=torch.uint8)
        weights[f"{name}_scales"] = torch.zeros(experts, columns, rows // 32, dtype=torch.uint8)
    save_file(weights, folder / "model.safetensors")
    packed = read_facts(str(folder))
    assert (packed.parameters, packed.activated_parameters) == (plain.parameters, plain.activated_parameters)
    assert packed.fingerprint != plain.fingerprint


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("config.json", None, r"expected config\.json"),
        ("config.json", b"{", r"expected JSON in .*config\.json"),
        ("config.json", b"[]", "found list"),
        ("model.safetensors", b"\0" * 100, "expected safetensors in"),
    ],
)
def test_files_out_of_order(folder: Path, file: str, content: bytes | None, named: str) -> None:
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=named):
        read_facts(str(folder))


@pytest.mark.parametrize("model", ["no/such-model", "./no/such/folder", "pocket:none"])
def test_no_such_model(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="expected a"):
        read_facts(model)
