"""Tool tokens: tools that a model calls by writing one token (Hao et al., "ToolkenGPT", 2023).

A frozen model gets one more output row for each tool. Where a call is due the row wins against the vocabulary, and the
model writes ``<tool>(arguments)=``; the tool is run, its result is spliced in, and the model goes on. A row starts from
the tool's name and description ("Re-Initialization Token Learning for Tool-Augmented Large Language Models").
"""
