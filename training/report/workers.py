"""Workers: processes of one thread each that carry out runs, one after another.

Processes are started afresh, since a fork of a process that has torch's threads may hang. Each maps the same
rows into its memory. Knows runs as jobs; what becomes of them is told by what they write.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from training.progress import Event, Observer
from training.report.run import Job

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
_TOLD_EVERY = 0.02


@dataclass(frozen=True)
class RunAdvanced(Event):
    """A run went on."""

    name: str
    """Of its files, such as `mmoe-seed7`."""
    share: float
    """Done, from 0 to 1."""


@dataclass(frozen=True)
class RunEnded(Event):
    """A run came to its end."""

    name: str
    record: Mapping[str, Any] | None
    """None where its process died."""


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    job: Job | None = None


def carry_out_all(jobs: Sequence[Job], rows: Path, processes: int, observer: Observer) -> None:
    """Carry out all jobs; each writes its own record.

    Args:
        jobs: in the order in which they are begun.
        rows: folder of the encoded rows.
        processes: at most so many at a time.
        observer: told of each run.
    """
    waiting = list(reversed(jobs))
    workers: list[_Worker] = []
    context = multiprocessing.get_context("spawn")
    try:
        with _one_thread():
            for _ in range(min(processes, len(jobs))):
                workers.append(_start(context, rows))  # noqa: PERF401 (those started are stopped if one fails)
        for worker in workers:
            _give(worker, waiting)
        while busy := [worker for worker in workers if worker.job is not None]:
            for pipe in wait([worker.pipe for worker in busy]):
                worker = next(each for each in busy if each.pipe is pipe)
                job = worker.job
                assert job is not None  # noqa: S101 (it is busy)
                try:
                    what, value = worker.pipe.recv()
                except (EOFError, OSError):
                    observer(RunEnded(job.name, None))
                    workers.remove(worker)
                    if waiting:
                        with _one_thread():
                            workers.append(_start(context, rows))
                        _give(workers[-1], waiting)
                    continue
                if what == "share":
                    observer(RunAdvanced(job.name, value))
                else:
                    observer(RunEnded(job.name, value))
                    _give(worker, waiting)
    finally:
        for worker in workers:
            worker.pipe.close()
            worker.process.kill()
        for worker in workers:
            worker.process.join()


def _start(context: Any, rows: Path) -> _Worker:
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, rows), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _give(worker: _Worker, waiting: list[Job]) -> None:
    worker.job = waiting.pop() if waiting else None
    if worker.job is not None:
        # One that has died is found when it is waited for.
        with contextlib.suppress(OSError):
            worker.pipe.send(worker.job)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started within take one thread for whatever they import."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(pipe: Connection, rows: Path) -> None:
    """The life of a worker process: it ends when its parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    from training.report.rows import map_rows
    from training.report.run import carry_out

    train, validation = map_rows(rows)
    with contextlib.suppress(EOFError, OSError):
        while True:
            job = pipe.recv()
            told = [0.0]

            def on_progress(share: float, told: list[float] = told) -> None:
                if share - told[0] >= _TOLD_EVERY:
                    told[0] = share
                    try:
                        pipe.send(("share", share))
                    except OSError:
                        os._exit(1)  # the parent is gone: its next run does this job again

            pipe.send(("end", carry_out(job, train, validation, on_progress)))
