"""An encoder that remembers, so that several trainings and scorings in one process share the work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experts.engines.base import Capability, Engine, EngineInfo
from experts.engines.partial import PartialEngine
from experts.engines.requests import TokenId

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Remembering(PartialEngine):
    """Embeds each text once, with every layer, and keeps the vectors. The engine beneath needs the capability LAYERS."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, NDArray[np.float32]] = {}
        self._width: int | None = None

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._engine.capabilities & {Capability.EMBED, Capability.LAYERS}

    def token_id(self, token: str) -> TokenId | None:
        """See `Engine.token_id`."""
        return self._engine.token_id(token)

    def encode(self, text: str) -> tuple[TokenId, ...]:
        """See `Engine.encode`."""
        return self._engine.encode(text)

    def decode(self, token_ids: Sequence[TokenId], *, plain: bool = False) -> str:
        """See `Engine.decode`."""
        return self._engine.decode(token_ids, plain=plain)

    async def embed(self, texts: Sequence[str], layers: bool = False) -> NDArray[np.float32]:
        import numpy as np

        if self._width is None:
            self._width = (await self._engine.embed(["-"])).shape[1]
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        found = await self._engine.embed(new, layers=True)
        self._known.update(zip(new, found, strict=True))
        vectors = np.array([self._known[text] for text in texts], np.float32).reshape(len(texts), found.shape[1])
        return vectors if layers else vectors[:, -self._width :]
