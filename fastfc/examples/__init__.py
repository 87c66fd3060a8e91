"""Programs to start from: ``python -m fastfc.examples.NAME``."""
