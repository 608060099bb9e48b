"""The hash registry: which rows a generation has already seen, and which of its pages are committed."""
