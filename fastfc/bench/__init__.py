"""Training steps side by side, each engine in a process of its own.

``task.py`` is the work, ``engines/`` the libraries that can do it, ``worker.py`` the process
that one engine runs in, ``rounds.py`` what starts the processes and asks them in turn,
``machine.py`` says where it was measured, ``table.py`` is ``fastfc bench``.
"""
