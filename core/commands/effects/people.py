"""People and what is theirs: users, logins, namespaces."""

from core.clock import hour_text, parse_hour
from core.commands.arguments import LoginRemove, NamespaceMap, NamespaceUnmap, UserAdd
from core.commands.kinds import Result, Task
from core.db.roles import revocation
from core.errors import InputFault
from core.identity.enrol import add_user, map_login, remove_login
from core.metering.ownership import OwnershipChange, map_namespace, unmap_namespace
from core.money import text_from_nano


def add(task: Task[UserAdd]) -> Result:
    given = task.arguments
    if given.may_assert and given.role is None:
        raise InputFault("Only a login may speak for others; name its role (--role).")
    user = add_user(
        task.connection,
        task.principal,
        given.user,
        given.email,
        name=given.name,
        owner=given.owner,
        is_admin=given.admin,
        why=task.why,
    )
    difference = {"user": [None, user.id], "email": [None, user.email]}
    said = f"User {user.label} added"
    if user.is_admin:
        said += " as an admin"
    if user.account_owner_id:
        said += f"; {user.account_owner_id} pays"
        difference["account_owner_id"] = [None, user.account_owner_id]
    if given.role:
        map_login(
            task.connection,
            task.principal,
            given.role,
            user.id,
            may_assert=given.may_assert,
            why=task.why,
        )
        said += f"; the database role {given.role} is theirs"
        difference["role"] = [None, given.role]
    return Result(f"{said}.", difference)


def logout(task: Task[LoginRemove]) -> Result:
    """Take a login away; what the database itself grants its role is its owner's to revoke."""
    gone = remove_login(task.connection, task.principal, task.arguments.role, why=task.why)
    return Result(
        f"The database role {gone.role} is {gone.user_id}'s login no more: it may ask for nothing."
        " What it may read, the owner of the database takes away:"
        f" {revocation(gone.role)}",
        {"user": [gone.user_id, None]},
    )


def map_(task: Task[NamespaceMap]) -> Result:
    given = task.arguments
    change = map_namespace(
        task.connection,
        task.principal,
        cluster=given.cluster,
        namespace=given.namespace,
        user=given.user,
        project=given.project,
        from_hour=parse_hour(given.from_hour) if given.from_hour else None,
        why=task.why,
        now=task.now,
    )
    seen = task.connection.execute(
        "SELECT FROM hopsmeter.namespaces n JOIN hopsmeter.hopsworks_clusters c"
        " ON c.id = n.cluster_id WHERE c.name = %s AND n.name = %s",
        [given.cluster, given.namespace],
    ).fetchone()
    end = f" until {hour_text(change.until_hour)}" if change.until_hour else ""
    said = (
        f"{change.cluster}/{change.namespace} is {change.user}'s from"
        f" {hour_text(change.from_hour)} on{end}: {_moved(change)}."
    )
    if seen is None:
        said += " No namespace of that name has ever cost anything there; is it the right name?"
    return _result(change, said)


def unmap(task: Task[NamespaceUnmap]) -> Result:
    given = task.arguments
    change = unmap_namespace(
        task.connection,
        task.principal,
        cluster=given.cluster,
        namespace=given.namespace,
        from_hour=parse_hour(given.from_hour) if given.from_hour else None,
        why=task.why,
        now=task.now,
    )
    said = (
        f"{change.cluster}/{change.namespace} is nobody's from {hour_text(change.from_hour)} on:"
        f" {_moved(change)}."
    )
    return _result(change, said)


def _moved(change: OwnershipChange) -> str:
    if not change.hours:
        return "no stored hour changes hands"
    word = "hour changes" if change.hours == 1 else "hours change"
    return (
        f"{change.hours} stored {word} hands, {text_from_nano(change.cost_nano)} {change.currency}"
    )


def _result(change: OwnershipChange, said: str) -> Result:
    before = ", ".join(change.replaced) or None
    return Result(
        said,
        {"owner": [before, change.user]},
        {
            "from_hour": hour_text(change.from_hour),
            "until_hour": hour_text(change.until_hour) if change.until_hour else None,
            "hours": change.hours,
            "cost_nano": change.cost_nano,
            "currency": change.currency,
        },
    )
