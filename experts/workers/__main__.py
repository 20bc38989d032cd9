"""``python -m experts.workers``: the supervisor behind ``tokengraph workers up --detach``; a plan on standard input."""

from __future__ import annotations

import asyncio
import sys

from experts.errors import WorkerError
from experts.workers.plan import Plan
from experts.workers.records import Records
from experts.workers.supervisor import Supervisor, run_until_stopped


def main() -> int:
    """Runs the plan until it is stopped; 1 for a plan whose servers do not stay up."""
    plan = Plan.model_validate_json(sys.stdin.buffer.read())
    try:
        asyncio.run(run_until_stopped(Supervisor(plan, Records())))
    except WorkerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
