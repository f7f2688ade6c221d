"""An event loop in a thread of its own: tests are plain code, the servers are not."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

STOP_S = 10.0

Result = TypeVar("Result")


class Started(ABC):
    """What runs from the beginning of a `with` block to its end."""

    @abstractmethod
    def start(self) -> Self: ...

    @abstractmethod
    def stop(self) -> None: ...

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class LoopThread:
    """`start()`, then `call(work(), timeout_s)` from any other thread; `stop()` ends what is left."""

    def __init__(self, name: str) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def running(self) -> bool:
        return self._loop is not None

    def start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, Result], timeout_s: float) -> Result:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def stop(self) -> None:
        """End every task and the thread; what was opened in the loop is to be closed before."""
        assert self._loop is not None
        self.call(_end_the_rest(), STOP_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_S)
        self._loop.close()
        self._loop = None

    def _run(self) -> None:
        assert self._loop is not None
        self._loop.run_forever()


async def _end_the_rest() -> None:
    """End what still converses: left to the closed loop, it would complain as the process ends."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    # What was closed just now is told so in the loop's next turn.
    await asyncio.sleep(0)
