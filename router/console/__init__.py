"""What the terminal shows: answers as they come, traces, tables, progress and errors. ``cli.py`` only declares."""
