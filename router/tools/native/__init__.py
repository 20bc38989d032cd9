"""Native function calling: a model writes calls as its chat template taught it, in JSON, with no token of its own for a tool."""
