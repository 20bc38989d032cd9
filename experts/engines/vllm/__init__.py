"""The engine ``vllm``: a client of one vLLM server."""
