"""A callback that writes a training's file after every iteration, to go on from each of them."""

from fastfc.callbacks import Callback

__all__ = ["SaveEach"]


class SaveEach(Callback):
    """Writes a file after every iteration of its `solver`, which is set once there is one."""

    every = 1

    def __init__(self, folder):
        self.folder, self.solver = folder, None

    def on_step(self, run):
        self.solver.save(self.folder / f"{run.step}.npz")
