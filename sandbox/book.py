"""A book of what shall go wrong: numbered entries that strike so many times, from any thread."""

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Limited(Protocol):
    @property
    def times(self) -> int | None: ...


AnyFault = TypeVar("AnyFault", bound=Limited)


@dataclass
class _Entry(Generic[AnyFault]):
    fault: AnyFault
    left: int | None
    taken: int = 0


class Book(Generic[AnyFault]):
    """Entries are struck off by number, or end by themselves after `times` strikes."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry[AnyFault]] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def remove(self, number: int) -> None:
        with self._lock:
            self._entries.pop(number, None)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def taken(self, number: int) -> int:
        """Return how often this fault has struck."""
        with self._lock:
            return self._entries[number].taken

    def all(self) -> list[tuple[int, AnyFault, int]]:
        """Return (number, fault, how often it struck)."""
        with self._lock:
            return [(number, e.fault, e.taken) for number, e in self._entries.items()]

    def _put(self, fault: AnyFault) -> int:
        with self._lock:
            number = next(self._ids)
            self._entries[number] = _Entry(fault, fault.times)
        return number

    def _strike(self, strikes: Callable[[AnyFault], bool]) -> list[AnyFault]:
        """Count and return the faults that strike, asked in the order in which they were set."""
        struck = []
        with self._lock:
            for entry in self._entries.values():
                if entry.left != 0 and strikes(entry.fault):
                    entry.taken += 1
                    entry.left = None if entry.left is None else entry.left - 1
                    struck.append(entry.fault)
        return struck
