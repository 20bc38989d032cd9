"""Who writes the next token: routers between a small and a large model, and what they learn from."""
