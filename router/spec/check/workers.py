"""Does every node have a worker that suits it?"""

from __future__ import annotations

import re

from experts.engines.config import LocalWorker, Rule, ScriptedWorker, VllmWorker, WorkerSpec
from router.spec.check.references import workers_of
from router.spec.models import GraphSpec, RouterNode, TokenPairNode
from router.spec.positions import Finding, Findings, KeyPath
from router.spec.wording import did_you_mean, quoted
from router.types import NodeId

_DEVICE = re.compile(r"(cpu|mps|(cuda|xpu)(:\d+)?)")
TOKEN = re.compile(r"<[^<>\s]+>")


def check_workers(spec: GraphSpec) -> Findings:
    """Nodes and workers that do not go together."""
    for name, worker in spec.workers.items():
        yield from _check_worker(("workers", name), worker)
    for node_id, node in spec.nodes.items():
        for key, worker_id in workers_of(node):
            worker = spec.workers.get(worker_id)  # type: ignore[call-overload]  # plain str, a WorkerId at run time
            if getattr(worker, "task", "generate") != "embed":
                continue
            if not isinstance(node, RouterNode):
                fix = "name a worker with `task: generate`; only routers can use sentence encoders"
                found = f"{worker_id}, whose task is embed"
                yield Finding(("nodes", node_id, key), "a worker that writes text", found, fix)
            elif node.system is not None:
                path = ("nodes", node_id, "system")
                yield Finding(path, "no system prompt with a sentence encoder", "one", "remove it, or use a decoder")
        if isinstance(node, TokenPairNode):
            yield from _check_pair(spec, node_id, node)


def _check_pair(spec: GraphSpec, node_id: NodeId, node: TokenPairNode) -> Findings:
    if node.small == node.large:
        path = ("nodes", node_id, "large")
        yield Finding(path, "a larger model than the small one", f"the same worker {node.large}", "name another worker")
    small = spec.workers.get(node.small)
    if small is not None and getattr(small, "token_router", None) is None:
        fix = f"add `token_router:` to the worker {node.small}: a folder made by `tokengraph train token-router`"
        yield Finding(("nodes", node_id, "small"), "a worker with a token_router", f"{node.small}, which has none", fix)
    elif isinstance(small, VllmWorker) and not small.plugin:
        fix = f"remove `plugin: false` from the worker {node.small}"
        yield Finding(("nodes", node_id, "small"), "a worker with tokengraph's plugin", "one without", fix)


def _check_worker(path: KeyPath, worker: WorkerSpec) -> Findings:
    if isinstance(worker, LocalWorker) and not _DEVICE.fullmatch(worker.device):
        fix = (
            "did you mean cuda?"
            if "gpu" in worker.device.lower()
            else did_you_mean(worker.device, ("cpu", "cuda", "mps"), "use cpu")
        )
        yield Finding((*path, "device"), "a torch device (cpu, cuda, cuda:1, mps)", quoted(worker.device), fix)
    if isinstance(worker, VllmWorker):
        yield from _check_vllm(path, worker)
    if isinstance(worker, ScriptedWorker):
        for index, rule in enumerate(worker.rules):
            for key, pattern in (("match", rule.match), ("after", rule.after or "")):
                try:
                    re.compile(pattern)
                except (re.error, OverflowError, RecursionError) as error:
                    found = f"{quoted(pattern)} ({error})"
                    fix = "correct it; put a backslash before a character meant literally"
                    yield Finding((*path, "rules", index, key), "a regular expression", found, fix)
            yield from _check_answer((*path, "rules", index, "answer"), rule)
        for index, token in enumerate(worker.tokens):
            yield from check_token((*path, "tokens", index), token)


def _check_answer(path: KeyPath, rule: Rule) -> Findings:
    """Groups in a rule's answer that its expression does not have."""
    pattern = rule.match if rule.after is None else rule.after
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return  # already reported
    try:
        re.sub(pattern, rule.answer, "")  # reads the answer's groups, though there is nothing to replace
    except (re.error, IndexError) as error:
        fix = "name a group that is there; write two backslashes for one that is meant literally"
        yield Finding(path, f"groups of {quoted(pattern)}", f"{quoted(rule.answer)} ({error})", fix)


def _check_vllm(path: KeyPath, worker: VllmWorker) -> Findings:
    for key, url in [((*path, "url"), worker.url), *(((*path, "urls", i), url) for i, url in enumerate(worker.urls))]:
        if url is not None and not re.match(r"https?://[^/]", url):
            yield Finding(key, "a URL", "something else", "write http://HOST:PORT/v1")
    if worker.url is not None and worker.urls:
        yield Finding((*path, "urls"), "either url or urls", "both", "put all servers into urls")
    if not worker.attached:
        return
    if worker.replicas > 1:
        fix = "remove it; give each replica's address in urls"
        yield Finding((*path, "replicas"), "no replicas to start", f"{worker.replicas} beside addresses", fix)
    if worker.sleep_after is not None:
        fix = "remove it; only servers that tokengraph starts can be sent to sleep"
        yield Finding((*path, "sleep_after"), "a server to start", "one that runs elsewhere", fix)


def check_token(path: KeyPath, token: str) -> Findings:
    """A token that is not of the form ``<name>``."""
    if not TOKEN.fullmatch(token):
        bare = token.strip("<> ")
        fix = f"write <{bare}>" if re.fullmatch(r"[\w|-]+", bare) else "write a name in angle brackets"
        yield Finding(path, "a token of the form <name>", quoted(token), fix)
