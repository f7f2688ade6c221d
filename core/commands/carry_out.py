"""The daemon's side: claim a command, check who asks, do it in one transaction, say how it ended."""

import base64
import binascii
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import psycopg
from psycopg.errors import ExclusionViolation, UniqueViolation

from core.audit import trail
from core.clock import monotonic_s
from core.clusters.vault.terminal import open_from_terminal
from core.commands.arguments import SEALED, Arguments, read_arguments
from core.commands.claim import LEASE_S, TRIES_MAX, Claim, claim_next, finish, put_back
from core.commands.kinds import Kind, Lane, Result, Task, Works
from core.commands.registry import KINDS
from core.commands.submit import submitter
from core.errors import (
    DatabaseFault,
    HopsmeterError,
    InputFault,
    LeaseLost,
    SecretFault,
    SettingsFault,
    place_of,
)
from core.identity.principal import principal_of_role
from core.secret import Secret

COMMANDS_MAX = 200
"""In one round, so that a stop is heard between rounds."""

End = Literal["done", "refused", "failed", "put back", "lost"]
Connection = psycopg.Connection[Any]

_OURS = (DatabaseFault, LeaseLost, SettingsFault)
"""Foreseen, but not the asker's fault: these are no refusals."""


@dataclass(frozen=True)
class Carried:
    """How one command ended. `bug` is where it broke: files, lines and types, never a value."""

    command_id: int
    name: str
    asker: str
    dry_run: bool
    end: End
    said: str
    took_s: float
    bug: str = ""


def carry_out(
    connection: Connection,
    works: Works,
    *,
    lane: Lane = "quick",
    lease_s: float = LEASE_S,
    commands_max: int = COMMANDS_MAX,
) -> list[Carried]:
    """Carry out the commands of a lane that wait, oldest first, and say how each ended.

    The connection is in autocommit and nobody else's. One that is put back (a deadlock, a lock
    that was not to be had) is left to the next round. psycopg.OperationalError where the
    connection is gone: the lease brings its command back.
    """
    assert connection.autocommit
    slow = [name for name, kind in KINDS.items() if kind.lane == "slow"]
    carried: list[Carried] = []
    while len(carried) < commands_max:
        claim = claim_next(
            connection,
            after=carried[-1].command_id if carried else 0,
            only=slow if lane == "slow" else None,
            but=() if lane == "slow" else slow,
            lease_s=lease_s,
        )
        if claim is None:
            break
        started_s = monotonic_s()
        ended = _work(connection, works, claim)
        carried.append(replace(ended, took_s=monotonic_s() - started_s))
    return carried


def _work(connection: Connection, works: Works, claim: Claim) -> Carried:
    try:
        if claim.tries > TRIES_MAX:
            return _ended(connection, claim, "failed", _GIVEN_UP)
        return _attempt(connection, works, claim)
    except LeaseLost as lost:
        return _said(claim, "lost", str(lost))


def _attempt(connection: Connection, works: Works, claim: Claim) -> Carried:
    try:
        return _said(claim, "done", _do(connection, works, claim).summary)
    except LeaseLost:
        raise
    except (psycopg.OperationalError, UniqueViolation, ExclusionViolation) as fault:
        if connection.closed:
            raise
        # Somebody else was faster; the next try sees what they did, and says it in a sentence. Or the
        # server has no room: that is nothing of the command's, which waits until there is some.
        no_room = (fault.sqlstate or "").startswith(_NO_ROOM)
        why = _HAS_NO_ROOM.format(_line(fault)) if no_room else _OTHERS_AT_WORK
        put_back(connection, claim, why, counts=not no_room)
        return _said(claim, "put back", _line(fault) if no_room else type(fault).__name__)
    except HopsmeterError as fault:
        if not isinstance(fault, _OURS):
            return _ended(connection, claim, "refused", str(fault))
        # A setting that is wrong is mended in the settings; its place in the code helps nobody.
        bug = "" if isinstance(fault, SettingsFault) else place_of(fault)
        return _ended(connection, claim, "failed", str(fault), bug=bug)
    except Exception as bug:  # noqa: BLE001 - whatever it is, the one who waits is told
        sentence = (
            f"hopsmeter failed at this ({type(bug).__name__}), and nothing was changed. It is a"
            f" bug: the daemon's log has its place under command {claim.id}."
        )
        return _ended(connection, claim, "failed", sentence, bug=place_of(bug))


def _line(fault: psycopg.Error) -> str:
    return (fault.diag.message_primary or type(fault).__name__).strip()


_NO_ROOM = ("53", "58")
"""SQLSTATE classes: a full disk, no memory, no more connections; a fault of the machine below."""
_HAS_NO_ROOM = "the database's server could not do it ({}); it is tried again until it can"
_OTHERS_AT_WORK = "somebody else was at work on the same; it is tried again"
_GIVEN_UP = (
    f"It was begun {TRIES_MAX} times and never finished, so it is given up and nothing was changed;"
    " see the daemon's log for what happened then."
)


def _do(connection: Connection, works: Works, claim: Claim) -> Result:
    """Do it in one transaction with its end state, or for a dry run roll all of it back."""
    arguments = read_arguments(claim.name, claim.arguments)
    kind = cast("Kind[Arguments]", KINDS[claim.name])
    task = Task(
        connection=connection,
        principal=_permitted(connection, claim, kind),
        arguments=arguments,
        secrets=_open(claim, works),
        works=works,
        why=_why(claim, kind),
        now=works.clock(),
        dry_run=claim.dry_run,
    )
    if kind.gather:
        task = replace(task, gathered=kind.gather(task))
    with connection.transaction(force_rollback=claim.dry_run):
        # Asked again: who was an admin before a cluster was visited may be none now.
        task = replace(task, principal=_permitted(connection, claim, kind))
        result = kind.effect(task)
        if not claim.dry_run:
            _leave_trail(task, claim, result)
            finish(connection, claim, "done", result=result.plain())
    if claim.dry_run:
        finish(connection, claim, "done", result=result.plain())
    return result


def _permitted(connection: Connection, claim: Claim, kind: Kind[Any]) -> Any:
    principal = principal_of_role(connection, claim.role, claim.person, claim.id)
    principal.require_admin(kind.may)
    return principal


def _why(claim: Claim, kind: Kind[Any]) -> str:
    why = claim.why.strip()
    if kind.why_needed and not why:
        raise InputFault("Say why (--reason); the audit trail keeps it. Nothing was changed.")
    return why


def _open(claim: Claim, works: Works) -> dict[str, Secret]:
    given = claim.sealed or {}
    if not isinstance(given, dict):
        raise InputFault(f"What {claim.name} brings sealed is no set of fields.")
    unknown = set(given) - SEALED.get(claim.name, frozenset())
    if unknown:
        raise InputFault(f"{claim.name} takes no sealed {', '.join(sorted(unknown))}.")
    return {
        field: open_from_terminal(
            works.keyring,
            _blob(field, text),
            command_id=str(claim.key),
            cluster=str(claim.arguments.get("cluster")),
            field=field,
            submitter=submitter(claim.role, claim.person),
        )
        for field, text in given.items()
    }


def _blob(field: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise SecretFault(f"The sealed {field} is damaged; submit it again.") from None


def _leave_trail(task: Task[Any], claim: Claim, result: Result) -> None:
    """See to it that no command ends without its row, where the effect did not write it."""
    written = task.connection.execute(
        "SELECT FROM hopsmeter.audit_log WHERE command_id = %s LIMIT 1", [claim.id]
    ).fetchone()
    if written is None:
        trail.record(
            task.connection,
            task.principal,
            claim.name,
            " ".join(str(value) for value in claim.arguments.values()),
            after=result.plain(),
            why=task.why,
        )


def _ended(
    connection: Connection,
    claim: Claim,
    state: Literal["refused", "failed"],
    said: str,
    bug: str = "",
) -> Carried:
    finish(connection, claim, state, error=said)
    return _said(claim, state, said, bug)


def _said(claim: Claim, end: End, said: str, bug: str = "") -> Carried:
    asker = submitter(claim.role, claim.person)
    return Carried(claim.id, claim.name, asker, claim.dry_run, end, said, 0.0, bug)
