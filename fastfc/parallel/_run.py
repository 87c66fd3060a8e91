"""The engine of a training over several processes: compiled parts of steps, and exchanges between them."""

import zlib
from time import perf_counter
from typing import Any

import numpy as np

from fastfc._runtime.interrupts import held_back
from fastfc.ops.rules import MOST_HYPERPARAMETERS
from fastfc.parallel._agreement import ProcessError, exchanged, unbroken
from fastfc.training.calls import new_call, plan_of_rows
from fastfc.training.compiling import kernel
from fastfc.training.job import training_job
from fastfc.training.memory import BATCH_NORM, DONE, LOSS, SQUARES, Plan, Predictions, StepPart
from fastfc.training.parts import PART_SECONDS, predict_in_parts
from fastfc.training.plan import make_plan, set_hyperparameters
from fastfc.training.run import CompiledRun

__all__ = ["ParallelRun"]


class ParallelRun(CompiledRun):
    """A compiled run whose batches are spread over the processes of a communicator, as one of them carries it out.

    To its plan the processes are threads, of which this process is one: each has rows of the batch and follows the
    whole random stream. Gradients are stored and added up; the rule is applied by each process to all parameters.

    Parameters
    ----------
    solver : ParallelSolver
    comm : mpi4py.MPI.Comm
    sync_batchnorm : bool
        Whether batch statistics are those of the whole batch; else of the process's rows.
    """

    _KERNEL = "forward_part"

    def __init__(self, solver: Any, comm: Any, sync_batchnorm: bool) -> None:
        from mpi4py import MPI

        self._comm, self._sync, self._in_place = comm, sync_batchnorm, MPI.IN_PLACE
        super().__init__(solver, 1)
        dtype = self._plan.dtype
        self._forward, self._backward = self._train_steps, kernel("backward_part", dtype)
        self._update = kernel("apply_update", dtype)
        self._of_update = new_call(dtype)
        self._rows = np.array([thread.end - thread.first for thread in self._plan.threads])

    def _made_plan(self) -> Plan:
        solver, comm = self.solver, self._comm
        plan = make_plan(
            self._model,
            int(solver.batch_size),
            comm.size,
            solver.update_rule,
            self._team.barrier,
            stores_gradients=True,
        )
        # Nobody has all rows.
        plan.by_features = plan.gradients_by_rows = False
        return plan

    def _adopt(self) -> None:
        super()._adopt()
        if self._comm.rank > 0:
            # The penalty is added once.
            self._plan.reg = 0.0
        self._own = plan_of_rows(self._plan, self._comm.rank)

    @property
    def _words(self) -> np.ndarray:
        return self._plan.threads[self._comm.rank].stream

    def checks_inside(self) -> bool:
        return False

    def steps(self, limit: int, before: int = 0, iterations_per_epoch: int = 0) -> int:
        solver, plan = self.solver, self._plan
        set_hyperparameters(plan, self._model, solver.update_rule, solver.optim_configs)
        self._model._set_mode("train")
        count, epoch = self._agreed(limit), limit + before + 1
        start = perf_counter()
        # All processes take all of these steps, also after Ctrl-C in one of them.
        with held_back(), unbroken(self._comm):
            factors, call = solver._factors(count), self._new_call(count, before, epoch, 0)
            job = training_job(
                plan, examples=self._examples["train"], params=self._model.params.flat, losses=call.losses,
                count=len(solver.X_train), y=self._y, targets=self._targets, weights=self._weights,
                progress=call.progress, before=before, epoch=epoch,
            )  # fmt: skip
            part = StepPart(plan.dtype, steps=job, own=self._own, layer=0)
            self._call, self._ahead = call, True
            for k in range(count):
                self._step(part, k, None if factors is None else factors[k])
                call.losses[k] = self._own_loss()
            self._comm.Allreduce(self._in_place, call.losses)
            if plan.norm == BATCH_NORM:
                for layer in plan.layers[:-1]:
                    self._comm.Bcast(layer.running_mean)
                    self._comm.Bcast(layer.running_var)
            call.progress[DONE] = count
        seconds = perf_counter() - start
        losses = self._book()
        self._seconds_per_step = seconds / count
        solver._book_time(count, seconds)
        solver._warn_of_divergence(losses)
        return count

    def _agreed(self, limit: int) -> int:
        """The number of steps that all processes take next; an error unless they stand at the same point."""
        thread = self._plan.threads[self._comm.rank]
        digest = zlib.crc32(thread.stream, zlib.crc32(thread.hyperparameters))
        count = int(min(limit, max(1, PART_SECONDS / self._seconds_per_step)))
        found = exchanged(self._comm, f"goes on after iteration {len(self.solver.loss_history)}", (digest, count))
        _require_one("hyperparameters or random stream", [theirs for theirs, _ in found])
        return min(theirs for _, theirs in found)

    def _step(self, part: StepPart, k: int, factor: float | None) -> None:
        """Step number k of a call, with the rates multiplied by a factor if there is one."""
        plan, rank, last = self._plan, self._comm.rank, self._plan.depth - 1
        normalized = plan.norm == BATCH_NORM
        # Without batch statistics the layers need nothing of other processes.
        for layer in range(last + 1 if normalized else 1):
            if layer > 0:
                self._exchange(layer - 1, "shift", "mean", "var")
            part.layer = layer
            self._forward(plan, rank, part)
        for layer in range(last, -1 if normalized else last - 1, -1):
            if layer < last:
                self._exchange(layer, "dgamma", "dbeta")
            part.layer = layer
            self._backward(plan, rank, part)
        self._comm.Allreduce(self._in_place, self._plan.gradients)
        thread = plan.threads[rank]
        if factor is not None:
            thread.hyperparameters.reshape(-1, MOST_HYPERPARAMETERS)[:, 0] = thread.rates * factor
        self._of_update.step = k
        self._update(self._own, 0, self._of_update)

    def _exchange(self, layer: int, *names: str) -> None:
        """Bring the other processes' sums of a layer to where compiled code has them."""
        shares, rank = [thread.shares[layer] for thread in self._plan.threads], self._comm.rank
        own = [getattr(shares[rank], name) for name in names]
        if self._sync:
            found = np.empty((len(shares), len(names), own[0].size), own[0].dtype)
            found[rank] = own
            self._comm.Allgather(self._in_place, found)
        elif names[0] == "shift":
            # As if the others had the same moments.
            found = np.broadcast_to(own, (len(shares), len(names), own[0].size))
        else:
            found = np.multiply.outer(self._rows / self._rows[rank], own).astype(own[0].dtype)
        for other, share in enumerate(shares):
            if other != rank:
                for name, values in zip(names, found[other], strict=True):
                    getattr(share, name)[:] = values

    def _own_loss(self) -> float:
        """This process's part of the loss of the last step."""
        plan, sums = self._plan, self._plan.threads[self._comm.rank].sums
        return float(sums[LOSS] / plan.batch + 0.5 * plan.reg * sums[SQUARES])

    def _predict(self, job: Predictions) -> None:
        """Predict this process's share of the examples, and bring together all of them."""
        plan, comm = self._plan, self._comm
        predict_in_parts(plan, job, lambda: self._predict_rows(plan, comm.rank, job))
        shares = [slice(job.count * k // comm.size, job.count * (k + 1) // comm.size) for k in range(comm.size)]
        mine = shares[comm.rank]
        found = exchanged(
            comm, f"predicts {job.count} examples",
            (zlib.crc32(self._model.params.flat), job.predictions[mine], job.scores[mine]),
        )  # fmt: skip
        _require_one("parameters", [digest for digest, *_ in found])
        for share, (_, predictions, scores) in zip(shares, found, strict=True):
            job.predictions[share], job.scores[share] = predictions, scores


def _require_one(name: str, digests: list[int]) -> None:
    if len(set(digests)) > 1:
        raise ProcessError(f"{name}: expected the same in all processes; a callback must change them alike in each")
