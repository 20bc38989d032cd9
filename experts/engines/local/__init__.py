"""Models of the transformers library in this process. Importing a module of this package loads torch."""
