"""The benchmarks that asv runs. See ``common.py`` for what they share."""
