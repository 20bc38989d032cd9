"""Tools that come with tokengraph: what a model should not guess."""
