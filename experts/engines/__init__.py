"""Engines run models. ``create_engine`` in ``factory`` makes one from a worker's part of a spec."""
