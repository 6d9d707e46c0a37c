"""What is a job, and where does it run? In this process, in several, or on a Ray cluster; the results are the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import wait
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2  # items a worker has in hand or finished before their turn: it bounds memory, and one slow item stops nobody
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # read as libraries load


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch compute on one thread in the body, as in a worker, and on as many as before after it."""
    import torch  # not by every job

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Job(Generic[Item, Result]):
    """What is done with every item. All three are sent to workers, so they are functions of a module, or partials of such.

    `load` returns what the work needs, such as an analyzer, and is called once in each worker. `work` returns a small value
    that can be pickled. `lost` gives the result of an item at which a process died that read it alone, or
    cluster.MAX_DEATHS actors; it may raise.
    """

    load: Callable[[], Any]
    work: Callable[[Any, Item], Result]
    lost: Callable[[Item], Result]


def spread(
    job: Job[Item, Result], items: Iterable[Item], workers: int = 1, cluster: str | None = None
) -> Iterator[Result]:
    """Yield the result of each item in the order of the items; close the iterator to stop the workers.

    With one worker the work is done here, lazily. `cluster` is "auto" or the address of a Ray cluster, whose CPUs then
    count instead of `workers`. What `load` and `work` raise is raised here. Raises ClusterError.
    """
    if cluster is not None:
        from infant_fer.workers.cluster import on_ray

        return on_ray(job, items, cluster)
    return _here(job, items) if workers <= 1 else _in_processes(job, items, workers)


def _here(job: Job[Item, Result], items: Iterable[Item]) -> Iterator[Result]:
    reader = job.load()
    for item in items:
        yield job.work(reader, item)


def _in_processes(job: Job[Item, Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    waiting = iter(items)
    while True:
        pending: deque[tuple[Item, Future[Result] | None]] = deque()  # without a future: the workers had died before
        last: tuple[Result, ...] = ()
        with _pool(job, workers) as pool:
            pending.extend((item, _submitted(pool, item)) for item in islice(waiting, AHEAD * workers))
            while pending and (future := pending[0][1]) is not None:
                try:
                    result = future.result()
                except BrokenProcessPool:
                    break
                pending.popleft()
                pending.extend((item, _submitted(pool, item)) for item in islice(waiting, 1))
                if not pending:  # given once the workers have ended in order: nobody may ask for more
                    last = (result,)
                    break
                yield result
        yield from last
        if not pending:
            return
        yield from _with_rest(job, pending)


def _with_rest(job: Job[Item, Result], pending: Sequence[tuple[Item, Future[Result] | None]]) -> Iterator[Result]:
    """Yield the result of each item once a pool has broken: of those that were done, and of the others one by one.

    So a further death tells at which item.
    """
    finished = {
        place: future.result()
        for place, (_, future) in enumerate(pending)
        if future is not None and not future.cancelled() and future.exception() is None
    }
    missing = [item for place, (item, _) in enumerate(pending) if place not in finished]
    with closing(_one_by_one(job, missing)) as rest:
        for place in range(len(pending)):
            yield finished.pop(place) if place in finished else next(rest)


def _submitted(pool: ProcessPoolExecutor, item: Any) -> Future | None:
    try:
        return pool.submit(_work, item)
    except BrokenProcessPool:
        return None


def _one_by_one(job: Job[Item, Result], items: Iterable[Item]) -> Generator[Result]:
    """Yield each result from one further process; another one takes over after an item at which it died."""
    pending = deque(items)
    while pending:
        with _pool(job, 1) as pool:
            while pending and (future := _submitted(pool, pending[0])) is not None:
                try:
                    result = future.result()
                except BrokenProcessPool:
                    yield job.lost(pending.popleft())
                    break
                pending.popleft()
                yield result


@contextmanager
def _pool(job: Job, workers: int) -> Iterator[ProcessPoolExecutor]:
    """Start processes of one thread each; leaving the block ends them, in the middle of an item when it was left early."""
    earlier = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (job,))
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        for name, value in earlier.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def end_with_parent() -> None:
    """End this worker as soon as its parent is gone: after a kill it would wait for more work for ever."""
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


_job: Job | None = None
_loaded: list[Any] = []


def _start(job: Job) -> None:
    global _job
    _job = job
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which ends this


def _work(item: Any) -> Any:
    if not _loaded:
        _loaded.append(_job.load())  # type: ignore[union-attr]
    return _job.work(_loaded[0], item)  # type: ignore[union-attr]
