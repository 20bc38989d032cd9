"""What pydantic cannot see: whether the parts of a spec fit together.

``check_structure`` needs nothing but the spec; ``check_files``, ``check_masks`` and ``check_templates`` look at the disk,
``check_fit`` reads whole models, ``check_functions`` runs code of the user's. All yield findings that ``load_spec`` puts in their place in the file; those of the structure ``build_graph``
raises for a spec made in Python.
"""

from __future__ import annotations

from router.spec.check.edges import check_edges
from router.spec.check.files import check_files
from router.spec.check.functions import check_functions
from router.spec.check.masks import check_fit, check_masks
from router.spec.check.native import check_native, check_templates
from router.spec.check.reach import check_reach
from router.spec.check.references import check_references
from router.spec.check.tools import check_tools
from router.spec.check.workers import check_workers
from router.spec.models import GraphSpec
from router.spec.positions import Findings

__all__ = ["check_files", "check_fit", "check_functions", "check_masks", "check_structure", "check_templates"]


def check_structure(spec: GraphSpec) -> Findings:
    """Names, workers, edges, tools, and, when all names are known, the shape of the graph."""
    dangling = list(check_references(spec))
    yield from dangling
    yield from check_workers(spec)
    yield from check_edges(spec)
    yield from check_tools(spec)
    yield from check_native(spec)
    if not dangling:
        yield from check_reach(spec)
