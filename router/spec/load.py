"""YAML -> GraphSpec: every problem at once, each with its place and its fix."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from router.errors import SpecError, SpecProblem
from router.spec.check import check_files, check_fit, check_functions, check_masks, check_structure, check_templates
from router.spec.document import Document
from router.spec.explain import explain
from router.spec.include import Sources
from router.spec.models import GraphSpec
from router.spec.positions import Finding, Findings, KeyPath
from router.spec.schema import Schema, json_schema


def load_spec(path: str | Path, *, environ: Mapping[str, str] = os.environ, thorough: bool = False) -> GraphSpec:
    """Reads and checks a graph spec.

    ``${NAME}`` in text comes from ``environ``; ``include`` adds other files; relative paths become absolute against
    the file that contains them.

    Args:
        thorough: also check what takes reading whole models, whether masks of experts fit them, and what takes running
            the user's code, whether the functions of tools can be imported.

    Raises:
        SpecError: everything that is wrong, in file order; also when the file cannot be read.
    """
    return load_spec_and_files(path, environ=environ, thorough=thorough)[0]


def load_spec_and_files(
    path: str | Path, *, environ: Mapping[str, str] = os.environ, thorough: bool = False
) -> tuple[GraphSpec, tuple[Path, ...]]:
    """Like ``load_spec``; also tells which files it read: the spec's own and what it includes."""
    sources = Sources(environ)
    spec = _finished(sources.read(Path(path), str(path)), sources, thorough=thorough)
    return spec, tuple(sources.files)


def parse_spec(text: str, file: str = "<string>", *, environ: Mapping[str, str] = os.environ) -> GraphSpec:
    """Like ``load_spec``, for text. ``file`` names it in errors; paths and includes are relative to its folder."""
    sources = Sources(environ)
    return _finished(sources.parse(text, Path(file), file), sources)


@cache
def _schema() -> Schema:
    return json_schema()


def _finished(document: Document, sources: Sources, *, thorough: bool = False) -> GraphSpec:
    problems = list(document.problems)
    known = {problem.where for problem in problems}  # one place, one problem: what follows from it is left out
    spec: GraphSpec | None = None
    try:
        spec = GraphSpec.model_validate(document.data, by_alias=True, by_name=False)
        findings: Iterable[Finding] = [
            *_misread(document.data, spec.model_dump(by_alias=True)),
            *_checked(spec, thorough),
        ]
    except ValidationError as error:
        findings = list(explain(error, document.data, _schema()))
    located = (finding.located(document.positions) for finding in findings)
    problems += (problem for problem in located if problem.where not in known)
    if spec is None or problems:
        # An alias repeats its anchor's problems; the first of each stays.
        once = [*{(p.where, p.expected, p.found): p for p in reversed(problems)}.values()]
        once.reverse()
        order = {file: index for index, file in enumerate(sources.files.values())}
        raise SpecError(tuple(sorted(once, key=lambda problem: _place(problem, order)))) from None
    return spec


def _checked(spec: GraphSpec, thorough: bool) -> Findings:
    yield from check_structure(spec)
    yield from check_files(spec)
    yield from check_masks(spec)
    yield from check_templates(spec)
    if thorough:
        yield from check_fit(spec)
        yield from check_functions(spec)


def _misread(data: object, read: object, path: KeyPath = ()) -> Findings:
    """Booleans that pydantic took for numbers: it reads ``max_tokens: true`` as 1."""
    if isinstance(data, dict) and isinstance(read, dict):
        for key, value in data.items():
            yield from _misread(value, read.get(key), (*path, key))
    elif isinstance(data, list) and isinstance(read, (list, tuple)):
        for index, value in enumerate(data):
            yield from _misread(value, read[index], (*path, index))
    elif isinstance(data, bool) and not isinstance(read, bool):
        yield Finding(path, "a number", "true" if data else "false", "write a number")


def _place(problem: SpecProblem, order: Mapping[str, int]) -> tuple[int, int, int]:
    return order.get(problem.where.file, len(order)), problem.where.line, problem.where.column
