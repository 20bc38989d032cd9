"""Measures what the project claims; every table in docs/ is written by a command of this package."""
