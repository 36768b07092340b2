"""One pure function over many tiles: Dask threads here, or a dask.distributed cluster.

The function is the same in both cases and knows nothing of Dask. It returns
nothing: what it made is in the scratch store.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from dask.base import compute
from dask.callbacks import Callback
from dask.delayed import delayed

from tiling.types import Tile

TileFunction = Callable[[Tile], None]
Made = TypeVar("Made")
ATTEMPTS = 3


class TileFailedError(Exception):
    """A tile failed for good; the message has its window and the cause."""


def run_tiles(
    function: TileFunction,
    tiles: Sequence[Tile],
    *,
    threads: int,
    scheduler: str | None = None,
    on_done: Callable[[], None],
) -> None:
    """Call `function` for each tile; `on_done` after each, from this thread.

    scheduler: address of a dask.distributed scheduler; None = `threads` threads of
    this process. An exception from `on_done` stops the run. A tile that fails
    three times stops it with `TileFailedError`.
    """
    if not tiles:
        return
    guarded = partial(_attempt, function)
    if scheduler is None:
        _run_on_threads(guarded, tiles, threads, on_done)
    else:
        _run_on_cluster(guarded, tiles, scheduler, on_done)


def ahead(function: Callable[[Tile], Made], tiles: Iterable[Tile], threads: int) -> Iterator[Made]:
    """`function` of each tile, in their order; threads work on the next few meanwhile."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Made]] = deque()
        for tile in tiles:
            waiting.append(pool.submit(function, tile))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _attempt(function: TileFunction, tile: Tile) -> None:
    """A read over a network may fail once; what fails three times has a reason."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return function(tile)
        except Exception as error:
            if attempt == ATTEMPTS:
                raise TileFailedError(f"{tile} failed {ATTEMPTS} times: {error}") from error
    return None


def _run_on_threads(
    function: TileFunction, tiles: Sequence[Tile], threads: int, on_done: Callable[[], None]
) -> None:
    # Dask takes tasks in the order of their names, the last one first. Random names, which are
    # its default, would part neighbours, which share blocks of the source.
    tasks = [
        delayed(function)(tile, dask_key_name=f"tile-{len(tiles) - number:07d}")
        for number, tile in enumerate(tiles)
    ]
    # posttask is called in this thread, after each task: the place to report and to stop.
    with Callback(posttask=lambda *_: on_done()):
        compute(*tasks, scheduler="threads", num_workers=threads, optimize_graph=False)


def _run_on_cluster(
    function: TileFunction, tiles: Sequence[Tile], scheduler: str, on_done: Callable[[], None]
) -> None:
    from distributed import Client, as_completed  # slow to import

    with Client(scheduler, set_as_default=False) as client, client.as_current():
        shared = client.scatter(function, broadcast=True, hash=False)
        futures = [client.submit(_call, shared, tile, pure=False) for tile in tiles]
        try:
            for future in as_completed(futures):
                future.result()
                on_done()
        finally:
            client.cancel(futures)


def _call(function: TileFunction, tile: Tile) -> None:
    function(tile)
