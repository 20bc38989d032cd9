"""The seven subjects of the pocket graph, and the questions that belong to none."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import cast

from experts.pocket.domains.base import Domain

NAMES = ("arithmetic", "numerals", "spelling", "logic", "bases", "calendar", "capitals")
OFF_TOPIC = "offtopic"
_PHRASINGS = Path(__file__).parent.parent / "phrasings"


@cache
def load_domain(name: str) -> Domain:
    """The domain of that name."""
    return cast("Domain", import_module(f"experts.pocket.domains.{name}").DOMAIN)


@cache
def load_phrasings(name: str) -> dict[str, tuple[str, ...]]:
    """The templates of a domain, by task."""
    import yaml

    with (_PHRASINGS / f"{name}.yaml").open(encoding="utf-8") as file:
        return {task: tuple(templates) for task, templates in yaml.safe_load(file).items()}
