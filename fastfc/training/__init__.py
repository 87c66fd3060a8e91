"""The compiled training run: whole steps in one compiled call.

``plan.py`` lays out the memory of a run, ``step.py`` is a training step as every member of
the team carries it out, ``run.py`` drives it from Python.
"""
