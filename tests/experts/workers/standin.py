"""A stand-in for vLLM's server, run as a script: the same routes, ready at once, with faults on demand.

What to do is read from a JSON file at every request, so that a test can change it while the server runs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--orders", type=Path, default=os.environ.get("STANDIN_ORDERS"))
    arguments, _ = parser.parse_known_args()
    orders = read(arguments.orders)
    if orders.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "child" in orders:  # as vLLM's engine processes, it does not notice when this one dies
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.sigwait([signal.SIGUSR1])"])
        Path(orders["child"]).write_text(str(child.pid))
    if "error" in orders:
        sys.exit(orders["error"])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            orders = read(arguments.orders)
            if "crash" in orders:
                sys.stderr.write(orders["crash"] + "\n")
                sys.stderr.flush()
                os._exit(1)
            match self.path:
                case "/health":
                    self.answer("", 503 if orders.get("sick") else 200)
                case "/load":
                    self.answer(json.dumps({"server_load": orders.get("load", 0)}))
                case "/metrics":
                    text = 'vllm:request_success_total{reason="stop"} 1.0\nvllm:request_success_total{reason="length"} '
                    self.answer(f"# HELP x\n{text}{orders.get('finished', 0)}\n")

        def do_POST(self) -> None:
            with Path(orders["calls"]).open("a") as calls:
                calls.write(self.path + "\n")
            time.sleep(read(arguments.orders).get("moving", 0))
            self.answer("{}")

        def answer(self, text: str, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

    ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler).serve_forever()


def read(file: Path) -> dict:
    return json.loads(file.read_text() or "{}")


if __name__ == "__main__":
    main()
