"""A pocket model that uses tools: its questions, what they cost to answer exactly, and how it is trained.

The model is trained once and then stays frozen: its tool tokens are rows that come later (ToolkenGPT). So it learns three
things that do not depend on which tools there will be: to see that a call is due, to write the arguments, and to read a
tool's description as an output row (`experts.pocket.tools.train`).
"""
