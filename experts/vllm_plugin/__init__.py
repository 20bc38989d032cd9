"""What runs inside a vLLM server: the base that expert masks and the defer token stand on.

Only this package imports vllm. It uses vLLM's official extension points: a model loader that instruments the loaded model
(`loader`), a worker extension that answers for it (`worker`), a logits processor (`defer_processor`) and HTTP routes under
``/v1``, those that change anything for others with a secret of their own (`endpoint`). A server that was not started for it
is left as it is.
"""
