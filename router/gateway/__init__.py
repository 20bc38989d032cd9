"""The graph as one OpenAI model, over HTTP."""
