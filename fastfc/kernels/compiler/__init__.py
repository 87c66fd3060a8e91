"""How a kernel gets from source text to memory; README.md tells it in order."""
