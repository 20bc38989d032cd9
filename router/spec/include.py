"""Reading spec files, and putting included ones together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from router.errors import Location, SpecError, SpecProblem
from router.spec.document import Document, read_document
from router.spec.positions import Finding, KeyPath
from router.spec.wording import quoted, shown

_MAX_BYTES = 1 << 20
_PATHS = (
    ("workers", "*", "adapters", "*"), ("workers", "*", "file"), ("nodes", "*", "tokens"), ("nodes", "*", "tool_tokens"),
    ("tools", "*", "folder"),
    ("nodes", "*", "expert_mask"), ("nodes", "*", "expert_masks", "*"),
    ("tools", "*", "mcp", "folder"), ("tools", "*", "files", "*"),
)  # fmt: skip


@dataclass
class Sources:
    """Reads documents with everything they include.

    ``files`` are the files read so far by absolute path, in the order of reading: a file that two others include is
    read once.
    """

    environ: Mapping[str, str]
    files: dict[Path, str] = field(default_factory=dict)
    _open: list[Path] = field(default_factory=list)

    def read(self, path: Path, shown_as: str, asked_at: Location | None = None, key_path: str = "") -> Document:
        """Reads a file. Raises SpecError; a file that cannot be opened is reported where it was asked for."""
        where = asked_at or Location(shown_as, 1, 1)
        try:
            if not os.path.exists(path):  # Path.exists raises for names the system does not accept
                raise FileNotFoundError
            if not path.is_file():
                found = f"a folder in {quoted(shown_as)}" if path.is_dir() else f"no regular file in {quoted(shown_as)}"
                raise SpecError((SpecProblem(where, key_path, "a YAML file", found, "name a file"),))
            with path.open("rb") as stream:
                content = stream.read(_MAX_BYTES + 1)
        except OSError as error:
            found = f"{quoted(shown_as)}, which {_reason(error)}"
            raise SpecError((SpecProblem(where, key_path, "a readable file", found, "correct the path"),)) from None
        return self.parse(_decoded(content, shown_as), path, shown_as)

    def parse(self, text: str, path: Path, shown_as: str) -> Document:
        """Parses one file's text, makes its paths absolute and merges what it includes into it."""
        identity = Path(os.path.realpath(path)) if "\0" not in shown_as else path
        self.files[identity] = shown_as
        self._open.append(identity)
        document = read_document(text, shown_as, self.environ)
        _make_absolute(document.data, (), path.absolute().parent)
        self._include(document, path, shown_as)
        self._open.pop()
        return document

    def _include(self, document: Document, path: Path, shown_as: str) -> None:
        includes = document.data.pop("include", [])
        if not isinstance(includes, list):
            found = shown(includes)
            finding = Finding(("include",), "a list of files", found, "write `include: [file.yaml]`")
            document.problems.append(finding.located(document.positions))
            return
        for index, name in enumerate(includes):
            key_path: KeyPath = ("include", index)
            where = document.positions.value(key_path)
            if not isinstance(name, str) or not name:
                finding = Finding(key_path, "a file name", shown(name), "write a path, relative to this file")
                document.problems.append(finding.located(document.positions))
                continue
            target = path.parent / name
            identity = Path(os.path.realpath(target)) if "\0" not in name else target
            if identity in self._open:
                chain = " -> ".join(self.files[file] for file in (*self._open[self._open.index(identity) :], identity))
                finding = Finding(key_path, "includes without a cycle", chain, "remove one of these includes")
                document.problems.append(finding.located(document.positions))
            elif identity not in self.files:
                name_shown = os.path.normpath(os.path.join(os.path.dirname(shown_as), name))
                depth = len(self._open)
                try:
                    included = self.read(target, name_shown, where, f"include[{index}]")
                except SpecError as error:
                    del self._open[depth:]
                    document.problems.extend(error.problems)
                else:
                    _merge(document, included)


def _merge(into: Document, included: Document) -> None:
    """Adds what ``included`` defines; of other keys, those that ``into`` lacks."""
    into.problems.extend(included.problems)
    moved: dict[KeyPath, KeyPath] = {}
    for key, value in included.data.items():
        mine = into.data.get(key)
        if key not in into.data:
            into.data[key] = value
            moved[key,] = (key,)
        elif key in ("workers", "nodes") and isinstance(mine, dict) and isinstance(value, dict):
            for name in value:
                path: KeyPath = (key, name)
                if name not in mine:
                    mine[name] = value[name]
                    moved[path] = path
                    continue
                found = f"{quoted(name)} again, first in {into.positions.key(path)}"
                finding = Finding(path, "each name once", found, "rename or remove one", on_key=True)
                into.problems.append(finding.located(included.positions))
        elif key in ("edges", "tools") and isinstance(mine, list) and isinstance(value, list):
            moved.update({(key, index): (key, len(mine) + index) for index in range(len(value))})
            mine.extend(value)
    into.positions.add(included.positions, moved)


def _make_absolute(data: object, path: KeyPath, folder: Path) -> None:
    """Makes the relative paths in a document absolute against the folder of its file, in place.

    Where a tool's code is looked for is that folder, unless the spec says otherwise.
    """
    if not isinstance(data, (dict, list)):
        return
    if path[:1] == ("tools",) and isinstance(data, dict) and ("function" in data or "command" in data):
        data.setdefault("folder", str(folder))
    for key, value in list(data.items()) if isinstance(data, dict) else list(enumerate(data)):
        here = (*path, key)
        if isinstance(value, (dict, list)):
            _make_absolute(value, here, folder)
        elif isinstance(value, str) and value:
            named = any(
                len(p) == len(here) and all(a in ("*", b) for a, b in zip(p, here, strict=True)) for p in _PATHS
            )
            worker_key = here[2] if len(here) == 3 and here[0] == "workers" else None
            named |= worker_key == "token_router" and not value.startswith("pocket:")
            if named or (worker_key == "model" and is_local(value, folder)):
                data[key] = os.path.abspath(folder / os.path.expanduser(value)) if "\0" not in value else value


def is_local(model: str, folder: Path) -> bool:
    """Whether a worker's ``model`` names a directory rather than a model of the Hub or of the pocket family."""
    if model.startswith(("./", "../", "/", "~")) or model in (".", ".."):
        return True
    return not model.startswith("pocket:") and os.path.exists(folder / model)


def _decoded(content: bytes, file: str) -> str:
    if len(content) > _MAX_BYTES:
        where = Location(file, 1, 1)
        raise SpecError((SpecProblem(where, "", "at most 1 MiB", "a larger file", "is this a graph spec? Split it"),))
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        found = f"the byte 0x{content[error.start]:02x}"
        problem = SpecProblem(Location(file, line, column), "", "UTF-8 text", found, "save the file as UTF-8")
        raise SpecError((problem,)) from None


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    return "must not be read (permission denied)" if isinstance(error, PermissionError) else f"fails: {error.strerror}"
