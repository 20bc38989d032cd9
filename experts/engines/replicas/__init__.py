"""Several engines of one model behind one: balanced, retried, watched."""
