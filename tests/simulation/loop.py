"""A deterministic event loop in virtual time, and processes on it that can be killed and stopped like real ones.

Every callback carries the context in which it was made, and so the process that it belongs to: what belongs to a dead process never
runs, what belongs to a stopped one waits until it goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import warnings
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

START_MS = 1_700_000_000_000


class Process:
    """An operating system's process. `wall_step_ms` is by how much its wall clock is wrong."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stopped = False
        self.wall_step_ms = 0
        self.waiting: list[asyncio.Handle] = []


CURRENT: ContextVar[Process | None] = ContextVar("process", default=None)


class VirtualLoop(asyncio.AbstractEventLoop):
    """Callbacks in order; when none is ready, time jumps to the next timer."""

    def __init__(self) -> None:
        self._now = 1_000.0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.Handle]] = []
        self._count = 0
        self._keep: list[
            asyncio.Task[Any]
        ] = []  # a killed process's coroutines must not be finalised in the middle of the run
        self.errors: list[str] = []
        self.outside: Context = copy_context()  # of what belongs to no process: network, servers, venue

    # -- what asyncio asks of a loop -----------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers fall out of the heap when they are due."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._keep.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    # -- driving -------------------------------------------------------------------------------------------------------

    def start(self, process: Process | None, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as part of a process (None: outside of all of them)."""
        context = self.outside.copy()
        if process is not None:
            context.run(CURRENT.set, process)
        return self.create_task(work, context=context)

    def later(self, delay: float, callback: Callable[..., Any], *args: Any) -> None:
        """Call back from outside of all processes."""
        self.call_at(self._now + delay, callback, *args, context=self.outside)

    def go_on(self, process: Process) -> None:
        """A stopped process is continued: everything that waited runs."""
        process.stopped = False
        self._ready.extend(process.waiting)
        process.waiting.clear()

    def run_until(self, end: float) -> None:
        """Run everything that is due up to a moment of virtual time."""
        asyncio._set_running_loop(self)
        try:
            while self._step(end):
                pass
        finally:
            asyncio._set_running_loop(None)

    def _step(self, end: float) -> bool:
        timers, ready = self._timers, self._ready
        if not ready:
            if not timers or timers[0][0] > end:
                self._now = max(self._now, end)
                return False
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(CURRENT)
            if process is None:
                handle._run()
            elif process.alive:
                if process.stopped:
                    process.waiting.append(handle)
                else:
                    handle._run()
        return True

    def abandon(self) -> None:
        """Drop everything: the history is over."""
        self._ready.clear()
        self._timers.clear()
        asyncio._set_running_loop(self)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # of what was never started
                for task in self._keep:
                    self._close(task)
        finally:
            asyncio._set_running_loop(None)
            self._keep.clear()
            self._ready.clear()

    @staticmethod
    def _close(task: asyncio.Task[Any]) -> None:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio's own switch for tasks left on purpose
        coroutine = task.get_coro()
        if not task.done() and coroutine is not None:
            with contextlib.suppress(
                RuntimeError
            ):  # one that awaits in its `finally` cannot be closed; its world is gone anyway
                coroutine.close()  # type: ignore[union-attr]  # our tasks are all made of coroutines


class ProcessClock:
    """`Clock` of one process."""

    def __init__(self, loop: VirtualLoop, process: Process) -> None:
        self._loop = loop
        self._process = process

    def now_ms(self) -> int:
        return true_ms(self._loop) + self._process.wall_step_ms

    def monotonic(self) -> float:
        return self._loop.time()

    def worked(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def true_ms(loop: VirtualLoop) -> int:
    return START_MS + int((loop.time() - 1_000.0) * 1_000)
