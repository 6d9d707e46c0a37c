"""How does a job run on a Ray cluster? One actor a CPU holds the model; a lost actor or node costs only what it had in hand."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from infant_fer.errors import ClusterError
from infant_fer.workers.jobs import AHEAD, Item, Job, Result

HOW_TO_GET = "A Ray cluster needs the package ray: pip install -r requirements-cluster.txt"
WAIT_S = 5.0  # interval between two queries for free CPUs
REACH_S = 10.0  # for the answer of a cluster's address
PATIENCE_S = 120.0  # that a cluster without any worker left is waited for
MAX_DEATHS = 3  # actors that die at an item until it is given up: a node may be lost for another reason


def on_ray(job: Job[Item, Result], items: Iterable[Item], address: str) -> Iterator[Result]:
    """Yield the result of each item in the order of the items, as `spread` does, from actors on a cluster.

    `address` is "auto" (a running cluster of this computer, else a new one here), or a cluster's, as ray.init takes it. An item
    whose actor died is given to another; after MAX_DEATHS actors that died at it its result is `job.lost`. At most AHEAD
    results an actor wait for their turn, so that the object store never holds more. Raises ClusterError.
    """
    with _connected(address) as ray:
        yield from _Run(ray, job, iter(items)).results()


_END = object()  # of the items


@dataclass(eq=False)
class _Run:
    """One job on a cluster: items in hand by the reference of their result, and finished ones that wait for their turn."""

    ray: Any
    job: Job
    items: Iterator
    actors: dict[Any, int] = field(default_factory=dict)  # actor: items in hand
    in_hand: dict[Any, tuple[int, Any, Any]] = field(default_factory=dict)  # reference: number, item, actor
    finished: dict[int, Any] = field(default_factory=dict)  # number: result
    again: list[tuple[int, Any]] = field(default_factory=list)  # items whose actor died
    deaths: dict[int, int] = field(default_factory=dict)  # by number
    taken: int = 0  # numbers given out
    exhausted: bool = False
    idle_s: float = 0.0  # without an actor

    def results(self) -> Iterator:
        due = 0
        try:
            self._add_actors()
            while True:
                self._hand_out(due)
                if self.exhausted and due == self.taken:
                    return
                self._collect()
                while due in self.finished:
                    yield self.finished.pop(due)
                    due += 1
        finally:
            for actor in self.actors:
                self.ray.kill(actor)

    def _add_actors(self) -> None:
        """Start an actor for every CPU that is free now; the cluster may have grown, or have lost some."""
        remote = self.ray.remote(num_cpus=1, max_restarts=0)(_Actor)  # ray gives such an actor one OpenMP thread
        for _ in range(int(self.ray.available_resources().get("CPU", 0))):
            self.actors[remote.remote(self.job)] = 0

    def _hand_out(self, due: int) -> None:
        """Give items to the least busy actors, those of dead actors first."""
        while self.actors:
            actor = min(self.actors, key=self.actors.__getitem__)
            if self.actors[actor] >= AHEAD:
                return
            if self.again:
                number, item = self.again.pop(0)
            elif self.exhausted or self.taken - due >= 2 * AHEAD * len(
                self.actors
            ):  # a slow item: the others wait for it
                return
            else:
                number, item = self.taken, next(self.items, _END)
                if item is _END:
                    self.exhausted = True
                    return
                self.taken += 1
            self.in_hand[actor.run.remote(item)] = (number, item, actor)
            self.actors[actor] += 1

    def _collect(self) -> None:
        """Wait for the next result, or for the news that an actor died."""
        if not self.actors:
            self._wait_for_actors()
        if not self.in_hand:
            return
        ready, _ = self.ray.wait(list(self.in_hand), timeout=WAIT_S)
        for reference in ready:
            number, _, actor = self.in_hand[reference]
            try:
                self.finished[number] = self._result(reference)
            except self._lost:
                self._bury(actor)
            else:
                del self.in_hand[reference]
                self.actors[actor] -= 1
        if not ready or not self.actors:
            self._add_actors()

    @property
    def _lost(self) -> tuple[type[Exception], ...]:
        """Return what a result raises whose actor or node is gone."""
        return self.ray.exceptions.RayActorError, self.ray.exceptions.ObjectLostError

    def _result(self, reference: Any) -> Any:
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from None  # what `load` or `work` raised

    def _bury(self, actor: Any) -> None:
        """Keep what a dead actor had finished, and put back the item at which it died and those that waited behind it."""
        del self.actors[actor]
        died = True
        for reference, (number, item, owner) in list(self.in_hand.items()):  # an actor takes them in this order
            if owner is not actor:
                continue
            del self.in_hand[reference]
            try:
                self.finished[number] = self._result(reference)
            except self._lost:
                self._again(number, item, died)
                died = False

    def _again(self, number: int, item: Any, died: bool) -> None:
        """Put an item back unless MAX_DEATHS actors have died at it."""
        self.deaths[number] = self.deaths.get(number, 0) + died
        if self.deaths[number] >= MAX_DEATHS:
            self.finished[number] = self.job.lost(item)
        else:
            self.again.append((number, item))
            self.again.sort(key=lambda each: each[0])

    def _wait_for_actors(self) -> None:
        if self.idle_s >= PATIENCE_S:
            raise ClusterError(
                f"The cluster has had no free CPU for {PATIENCE_S:.0f} s. Start a worker and run the command again."
            )
        time.sleep(WAIT_S)
        self.idle_s += WAIT_S
        self._add_actors()
        self.idle_s = 0.0 if self.actors else self.idle_s


class _Actor:
    """Holds what the job loads; runs one item after the other."""

    def __init__(self, job: Job):
        self.job = job
        self.loaded: list[Any] = []

    def run(self, item: Any) -> Any:
        if not self.loaded:  # here, not above, so that the driver gets what `load` raises
            self.loaded.append(self.job.load())
        return self.job.work(self.loaded[0], item)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Join a cluster, and leave it at the end if this call joined it. Raises ClusterError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # ray would report its use to its maker
    try:
        import ray
    except ImportError:
        raise ClusterError(HOW_TO_GET) from None
    joined = not ray.is_initialized()
    if joined:
        try:
            _check_reachable(address)
            ray.init(address=None if address == "auto" else address, log_to_driver=False, logging_level=logging.ERROR,
                     include_dashboard=False)  # fmt: skip
        except Exception as error:  # ray raises a bare Exception where its own processes do not start in time
            what = (
                "No Ray cluster could be joined or started here"
                if address == "auto"
                else f"No Ray cluster answers at {address}"
            )
            raise ClusterError(f"{what}: {(str(error) or type(error).__name__).splitlines()[0]}") from error
    try:
        yield ray
    finally:
        if joined:
            ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise OSError at once for a HOST:PORT at which nothing listens: ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and "://" not in address:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_S).close()
