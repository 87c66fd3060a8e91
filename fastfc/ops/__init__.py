"""The operations that there are, their two implementations, and how the two are held against each other."""
