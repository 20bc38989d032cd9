"""The vLLM servers behind workers: planned, started, watched and stopped.

``plan`` says what to start, ``Supervisor`` keeps it alive, and ``find_running`` tells engines where it runs.
"""
