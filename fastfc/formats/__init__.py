"""Files: how they are read and written, one module per format, and nothing in them is executed."""
