"""What masks of experts do to a node: scans of labelled prompts, and what the node answers with masks and without."""
