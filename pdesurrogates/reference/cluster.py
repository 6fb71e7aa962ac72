"""Chunks on several processes and machines, through Dask."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pdesurrogates.reference.chunk import (
    ChunkFailure,
    ChunkResult,
    package_versions,
    solve_chunk,
)
from pdesurrogates.reference.recipe import Recipe
from pdesurrogates.reference.worker import solve_on_worker

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["Chunk", "here", "local_cluster", "on_cluster", "scheduler_at"]

_WAIT_SECONDS = 60
_CHUNKS_PER_WORKER = 2


@dataclass(frozen=True)
class Chunk:
    """A piece of work.

    Args:
        owner: Whatever the caller wants to find again.
        source: A recipe, or its YAML text.
        start: First trajectory.
        stop: Last trajectory and one.
    """

    owner: Any
    source: Recipe | str
    start: int
    stop: int


Outcome = tuple[Chunk, ChunkResult | ChunkFailure]


def here(chunks: Iterable[Chunk]) -> Iterator[Outcome]:
    """Solve in this process, one after the other."""
    versions = package_versions()
    for chunk in chunks:
        yield chunk, solve_chunk(chunk.source, chunk.start, chunk.stop, versions)


@contextmanager
def local_cluster(workers: int) -> Iterator[Client]:
    """Dask with worker processes on this machine, reachable from this machine only.

    A worker that dies is started again. Processes are spawned, so a script that calls this needs
    `if __name__ == "__main__":`, as every Python script that starts processes does.
    """
    from dask.config import set as configured
    from distributed import Client, LocalCluster

    with (
        # A sampling profiler in every worker, which nobody here would read.
        configured({"distributed.worker.profile.enabled": False}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            memory_limit=0,
            preload=["pdesurrogates.reference.worker"],
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def scheduler_at(address: str) -> Iterator[Client]:
    """A Dask scheduler that runs already; its workers should have one thread each.

    Raises:
        ValueError: If nobody answers, or no worker joins.
    """
    from distributed import Client

    try:
        client = Client(address, set_as_default=False, timeout="10s")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"generate: no Dask scheduler answers at {address} ({error}); start one with "
            "`dask scheduler` and give the address it prints, e.g. tcp://10.0.0.1:8786."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_WAIT_SECONDS)
        except TimeoutError as error:
            raise ValueError(
                f"generate: no worker has joined the scheduler at {address} within "
                f"{_WAIT_SECONDS} s; start some with `dask worker {address} --nthreads 1`."
            ) from error
        yield client


def on_cluster(client: Client, chunks: Iterable[Chunk]) -> Iterator[Outcome]:
    """Solve on a cluster; outcomes come in the order in which they are ready.

    Two chunks per worker are in flight, so that none waits for the disk and memory stays bounded.
    A chunk whose worker dies is solved again by another.
    """
    from distributed import as_completed

    waiting = iter(chunks)
    versions = package_versions()
    running: dict[str, tuple[Chunk, Future]] = {}
    ready = as_completed(loop=client.loop)

    def fill() -> None:
        """As many as the cluster has workers for; workers may come and go."""
        present: Any = client.nthreads()
        room = _CHUNKS_PER_WORKER * max(1, len(present)) - len(running)
        for _ in range(room):
            chunk = next(waiting, None)
            if chunk is None:
                return
            key = f"pdesurrogates-chunk-{uuid4()}"
            future = client.submit(
                solve_on_worker,
                chunk.source,
                chunk.start,
                chunk.stop,
                versions,
                key=key,
                pure=False,
            )
            running[key] = chunk, future
            ready.add(future)

    fill()
    for future in ready:
        chunk, _ = running.pop(future.key)
        outcome = _outcome(future)
        future.release()
        fill()
        yield chunk, outcome


def _outcome(future: Future) -> ChunkResult | ChunkFailure:
    from distributed import CancelledError, KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        return ChunkFailure(
            f"the worker process died again and again while solving it ({error}); it may need "
            "more memory than there is: use a smaller `chunk` in the recipe or fewer workers.",
            is_local=True,
        )
    except CancelledError as error:
        raise ConnectionError(
            "generate: the connection to the Dask scheduler is lost; finished chunks are on disk, "
            "the same call continues."
        ) from error
