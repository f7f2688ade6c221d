"""Work in a thread that the end of the process waits for no longer than its caller does."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_thread(work: Callable[[], T], name: str) -> "asyncio.Future[T]":
    """Begin `work` in a daemon thread; the future has its result. Cancelling does not end it.

    The pool of asyncio and of concurrent.futures is joined at exit: one hanging call would hang us.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, fault: Exception | None) -> None:
        if ended.done():
            return
        if fault is not None:
            ended.set_exception(fault)
        else:
            ended.set_result(result)  # type: ignore[arg-type]  # None only where T has it

    def body() -> None:
        result, fault = None, None
        try:
            result = work()
        except Exception as caught:  # noqa: BLE001 - handed to whoever waits
            fault = caught
        try:
            loop.call_soon_threadsafe(settle, result, fault)
        except RuntimeError:
            return  # the loop is closed: nobody waits any longer

    threading.Thread(target=body, name=name, daemon=True).start()
    return ended
