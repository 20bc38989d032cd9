"""Replays recorded answers."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from experts.engines.base import Capability
from experts.engines.characters import CharacterVocabulary
from experts.engines.config import RecordedWorker
from experts.engines.playback import PlaybackEngine, Script
from experts.engines.requests import GenerateRequest
from experts.errors import CheckpointError, RequestError


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)
    query: str
    answer: str


class RecordedEngine(PlaybackEngine):
    """Answers the last message of the user from a JSON lines file of {"query", "answer"}; other keys are ignored.

    It reports no log-probabilities: those in its generations are zeros.

    Raises:
        CheckpointError: the file is missing, or a line of it is wrong.
        RequestError: a query that is not in the file.
    """

    def __init__(self, worker: RecordedWorker) -> None:
        content = _read(worker.file)
        super().__init__(str(worker.file), hashlib.blake2b(content, digest_size=16).hexdigest(), CharacterVocabulary())
        self._file = worker.file
        self._answers = _parse(content, worker.file)

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset({Capability.GENERATE, Capability.STREAM})

    async def _script(self, request: GenerateRequest) -> Script:
        query = self._query(request)
        if query not in self._answers:
            raise RequestError(f"expected a query recorded in {self._file}, found {query!r}. Record its answer first")
        return Script(self.encode(self._answers[query]))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"expected recorded answers in {file}, found: {error.strerror}. Correct it") from error


def _parse(content: bytes, file: Path) -> dict[str, str]:
    answers: dict[str, str] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = _Record.model_validate_json(line)
        except ValidationError as error:
            raise CheckpointError(
                f'{file}:{number}: expected {{"query": "...", "answer": "..."}}, found {line[:80]!r}: {error}'
            ) from error
        if answers.setdefault(record.query, record.answer) != record.answer:
            raise CheckpointError(
                f"{file}:{number}: expected one answer per query, found a second one for {record.query!r}. Remove one"
            )
    return answers
