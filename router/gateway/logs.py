"""Structured logs: one JSON object a line. What users write is in none of them unless it is asked for."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import orjson

log = logging.getLogger("tokengraph.gateway")


class JsonLines(logging.Formatter):
    """Formats a record, with the fields given as ``extra={"fields": {...}}``, as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def log_to_stderr(level: int = logging.INFO) -> None:
    """Sends the logs of the gateway and of the server under it to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    log.setLevel(level)
