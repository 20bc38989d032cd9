"""The models behind the nodes of a graph. Nothing here imports ``router``, and importing it loads no model library."""
