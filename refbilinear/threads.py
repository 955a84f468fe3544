"""Disjoint blocks of one result, computed by several threads.

The threads are made for one call and end with it, so that a fork never inherits any; the caller
waits, so that Ctrl-C is heard at once and stops them.
"""

import os
from array import array
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np

from refbilinear.spec.arrays import Array

Block = Callable[[int, int, Array, Any], None]

MEMORY = 15 * 2**20
"""Bytes of scratch memory that all threads of a call may take together."""


def usable_cores() -> int:
    """Return the number of cores that this process may use.

    Examples
    --------
    >>> usable_cores() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def work(block: Block, total: int, unit: int, grain: int, scratch: int, threads: int) -> None:
    """Call `block(first, last, memory, stop)` until [0, total) is covered.

    Parameters
    ----------
    block : callable
        Computes [first, last) in its own `scratch` bytes of memory, without the GIL, and returns
        early when the int that `stop` holds becomes 1.
    total : int
    unit : int
        The most that one block may cover.
    grain : int
        Blocks begin at multiples of it.
    scratch : int
    threads : int
        At most so many; 0 for the caller's own. Fewer where the memory of all would exceed MEMORY.
    """
    threads = min(threads, -(-total // grain), max(1, MEMORY // scratch))
    count = -(-total // unit)
    count = -(-count // max(1, threads)) * max(1, threads)  # every thread the same share
    grains = -(-total // grain)
    memories = [np.empty(scratch, np.uint8) for _ in range(max(1, threads))]
    stop, remaining = array("i", [0]), iter(range(count))
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def worker(memory: Array) -> None:
        try:
            for k in _until(stop, remaining):
                first, last = k * grains // count * grain, (k + 1) * grains // count * grain
                if first < last:
                    block(first, min(last, total), memory, stop)
        except BaseException as error:  # whatever it is, the caller raises it again
            stop[0] = 1
            ended.put(error)
        else:
            ended.put(None)

    started: list[Thread] = []
    try:
        if threads:
            _start([Thread(target=worker, args=(memory,)) for memory in memories], started)
        if not started:
            worker(memories[0])
        # not by Thread.join, which an interrupt makes believe that the thread has ended
        failures = [ended.get() for _ in started or memories[:1]]
    except BaseException:
        stop[0] = 1
        raise
    finally:
        for thread in started:
            thread.join()
    for failure in filter(None, failures):
        raise failure


def _start(threads: list[Thread], started: list[Thread]) -> None:
    """Start threads, or as many as the system gives: those that run share the work."""
    for thread in threads:
        try:
            thread.start()
        except RuntimeError:
            return
        started.append(thread)


def _until(stop: "array[int]", remaining: Iterator[int]) -> Iterator[int]:
    for k in remaining:
        if stop[0]:
            return
        yield k
