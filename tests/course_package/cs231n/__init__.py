"""A finished assignment 2 as a student has it: plain NumPy, the course's names, files and order of calls."""
