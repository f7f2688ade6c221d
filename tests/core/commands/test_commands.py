"""Commands from both ends: a terminal that submits, a real carrier beside it."""

import json
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from core.clock import HOUR, floor_hour, hour_text, monotonic_s
from core.clusters.connection.access import CheckStep, ClusterAccess
from core.clusters.vault import Keyring, Secret
from core.commands import claim as leases
from core.commands.arguments import ClusterAdd, Collect, UserAdd, read_arguments
from core.commands.carry_out import carry_out
from core.commands.claim import TRIES_MAX, claim_next
from core.commands.kinds import Result
from core.commands.registry import KINDS, Late
from core.commands.submit import (
    ARGUMENTS_BYTES_MAX,
    SEALED_BYTES_MAX,
    outcome,
    submit,
    wait,
)
from core.db.connect import connect
from core.errors import Conflict, InputFault, LeaseLost
from core.identity.enrol import add_login
from core.metering.checkup import Patient
from core.metering.policy import Policy
from core.metering.windows import open_windows
from tests.core.commands.carrier import (
    JOIN_S,
    STEPS,
    ask,
    asked,
    carrying,
    config,
    publish,
    set_up_roles,
    with_admin,
    works,
)
from tests.database import Connection, Database
from tests.factories import (
    NOW,
    Cluster,
    add_allocation,
    add_cluster,
    add_daemon,
    add_user,
    add_window,
)

USER: dict[str, Any] = {"user": "auth0|anna", "email": "anna@example.test"}


def one(connection: Connection, query: str, *values: object) -> object:
    row = connection.execute(query, values).fetchone()
    assert row is not None
    return row[0]


def await_gone(connection: Connection, pid: int) -> None:
    deadline_s = monotonic_s() + JOIN_S
    while one(connection, "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pid):
        assert monotonic_s() < deadline_s


def carry(database: Database, keyring: Keyring) -> list[tuple[str, str]]:
    with connect(database.url, name="carrier") as connection:
        return [(each.end, each.said) for each in carry_out(connection, works(keyring))]


def test_each_command_finds_what_it_does() -> None:
    acts = [each for kind in KINDS.values() for each in (kind.effect, kind.gather)]
    found = [each.load() for each in acts if isinstance(each, Late)]
    assert len(found) == sum(each is not None for each in acts)
    assert all(callable(each) for each in found)


def test_a_command_is_taken_up_and_done_at_once(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    with carrying(database, keyring):
        done = asked(person, "user.add", **USER, why="hired")
    assert (done.state, done.summary) == ("done", "User auth0|anna (anna@example.test) added.")
    trail = person.execute(
        "SELECT actor, via, command_id, action, subject, why FROM audit_log"
    ).fetchall()
    assert trail == [("auth0|boss", "command", done.command_id, "user.add", "auth0|anna", "hired")]


def test_a_dry_run_tells_the_difference_and_leaves_nothing(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    ask(person, "user.add", **USER, dry_run=True)
    assert carry(database, keyring) == [("done", "User auth0|anna (anna@example.test) added.")]
    assert one(person, "SELECT count(*) FROM users") == 1
    assert one(person, "SELECT count(*) FROM audit_log") == 0
    assert one(person, "SELECT result -> 'difference' -> 'email' FROM commands") == [
        None,
        "anna@example.test",
    ]


def test_a_dry_run_shows_the_money_that_a_mapping_would_move(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    cluster, hour = add_cluster(person), NOW.replace(minute=0, second=0) - timedelta(hours=2)
    add_user(person)
    add_window(person, cluster, hour)
    add_allocation(person, cluster, hour, cost_nano=2_500_000_000)
    given: dict[str, Any] = {
        "cluster": "eu-1",
        "namespace": "ml-train",
        "user": "anna@example.test",
    }
    for dry_run in (True, False):
        ask(person, "namespace.map", **given, dry_run=dry_run)
    tried, done = carry(database, keyring)
    assert tried == done
    assert "1 stored hour changes hands, 2.50 USD" in done[1]
    assert one(person, "SELECT count(*) FROM user_projects") == 1


def test_the_same_key_twice_is_the_same_command(database: Database) -> None:
    person, key = with_admin(database), uuid4()
    first = ask(person, "user.add", **USER, key=key)
    assert ask(person, "user.add", **USER, key=key) == first
    with pytest.raises(Conflict, match="another command"):
        ask(person, "collect", key=key)
    assert one(person, "SELECT count(*) FROM commands") == 1


def test_a_command_without_a_daemon_waits_and_says_so(database: Database) -> None:
    person = with_admin(database)
    add_daemon(person, stopped_at=NOW)
    waits = wait(person, ask(person, "collect"), timeout_s=0.2)
    assert not waits.ended
    assert waits.waits.endswith("is submitted: it waits; start hopsmeterd.")


def test_a_command_that_takes_long_goes_on_beyond_the_wait(database: Database) -> None:
    person = with_admin(database)
    command_id = ask(person, "collect")
    assert claim_next(person, after=0)
    assert wait(person, command_id, timeout_s=0.1).waits.endswith(
        "is working: it is not finished after 0.1 s; it goes on."
    )


def test_what_is_too_large_is_not_sent(database: Database) -> None:
    person = with_admin(database)
    publish(database)
    huge = UserAdd("auth0|anna", "a" * ARGUMENTS_BYTES_MAX)
    file = {"kubeconfig": Secret(b"k" * SEALED_BYTES_MAX)}
    added = ClusterAdd("eu-1", "https://a.test")
    with pytest.raises(InputFault, match="What was given has"):
        submit(person, "user.add", huge)
    with pytest.raises(InputFault, match="The reason has 1001 characters"):
        submit(person, "collect", Collect(), why="w" * 1001)
    with pytest.raises(InputFault, match="The user's id has 256"):
        submit(person, "collect", Collect(), person="p" * 256)
    with pytest.raises(InputFault, match="What is sealed has"):
        submit(person, "cluster.add", added, sealed=file)
    assert one(person, "SELECT count(*) FROM commands") == 0


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("arguments", Jsonb({"a": "x" * ARGUMENTS_BYTES_MAX})),
        ("sealed", Jsonb({"a": "x" * SEALED_BYTES_MAX})),
        ("why", "x" * 1001),
        ("person", "x" * 256),
        ("name", "x" * 101),
    ],
)
def test_the_database_takes_no_huge_command_from_anybody(
    database: Database, column: str, value: object
) -> None:
    given = {"key": uuid4(), "name": "collect", column: value}
    insert = sql.SQL("INSERT INTO commands ({}) VALUES ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, given)),
        sql.SQL(", ").join(map(sql.Placeholder, given)),
    )
    with pytest.raises(psycopg.errors.CheckViolation, match=f"commands_{column}_size"):
        database.connect().execute(insert, given)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("cluster.frob", {}, "There is no command 'cluster.frob'. Nothing was changed."),
        ("user.add", {"user": 7, "email": "a@b"}, "user.add: user: expected str, got int."),
        ("user.add", {"email": "a@b"}, "user.add: object missing required field user."),
        ("user.add", USER | {"colour": "red"}, "user.add: object contains unknown field colour."),
        ("user.add", ["user"], "user.add: expected object, got array."),
        ("collect", {"hour": "yesterday"}, "'yesterday' is no hour"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_sentence(
    database: Database, name: str, given: object, said: str
) -> None:
    person, keyring = with_admin(database), publish(database)
    person.execute(
        "INSERT INTO commands (key, name, arguments) VALUES (%s, %s, %s)",
        [uuid4(), name, json.dumps(given)],
    )
    ((end, sentence),) = carry(database, keyring)
    assert end == "refused"
    assert said.lower() in sentence.lower()


def test_who_is_no_admin_is_refused(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    person.execute("UPDATE users SET is_admin = false")
    ask(person, "user.add", **USER)
    assert carry(database, keyring) == [
        ("refused", "Only an admin may add users. Nothing was changed.")
    ]


def test_a_role_without_a_user_is_refused(database: Database) -> None:
    person, keyring = database.connect(), publish(database)
    ask(person, "collect")
    ((end, said),) = carry(database, keyring)
    assert end == "refused"
    assert "belongs to no user" in said


def test_speaking_for_another_needs_the_right_to_assert(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    add_user(person, "root@example.test", is_admin=True)
    arguments = read_arguments("user.add", USER)
    submit(person, "user.add", arguments, person="auth0|root")
    assert carry(database, keyring)[0][0] == "refused"
    person.execute("UPDATE logins SET may_assert = true")
    submit(person, "user.add", arguments, person="auth0|root")
    assert carry(database, keyring)[0][0] == "done"
    assert one(person, "SELECT actor FROM audit_log") == "auth0|root"


def test_a_bug_fails_the_command_and_shows_no_value(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, keyring = with_admin(database), publish(database)

    def broken(_task: object) -> Result:
        raise ValueError("hunter2")

    monkeypatch.setitem(KINDS, "collect", replace(KINDS["collect"], effect=broken))
    ask(person, "collect")
    with connect(database.url, name="carrier") as connection:
        (carried,) = carry_out(connection, works(keyring))
    assert carried.end == "failed"
    assert "ValueError at broken" in carried.bug
    assert "hunter2" not in carried.bug + carried.said
    assert one(person, "SELECT error FROM commands") == carried.said


def test_a_login_that_was_taken_away_asks_for_nothing(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    user = add_user(person, "root@example.test", is_admin=True)
    role = f"{database.name}_root"
    set_up_roles(database)
    add_login(person, role, user.id)
    with connect(database.url_for(role), name="root") as root, carrying(database, keyring):
        assert asked(root, "collect").state == "done"
        gone = asked(person, "login.remove", role=role, why="left")
        assert f'REVOKE hopsmeter_person FROM "{role}";' in gone.summary
        refused = asked(root, "collect")
        again = asked(person, "login.remove", role=role)
        last = asked(person, "login.remove", role="hopsmeter")
    assert (refused.state, last.state) == ("refused", "refused")
    assert "belongs to no user" in refused.error
    assert "No login has the role" in again.error
    assert "last login of an admin" in last.error
    trail = "SELECT before, why FROM audit_log WHERE action = 'login.remove'"
    assert person.execute(trail).fetchall() == [
        ({"user": "auth0|root", "may_assert": False}, "left")
    ]
    person.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_a_reason_is_demanded_where_the_trail_needs_one(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    add_cluster(person)
    ask(person, "cluster.pause", cluster="eu-1", why="  ")
    assert carry(database, keyring) == [
        ("refused", "Say why (--reason); the audit trail keeps it. Nothing was changed.")
    ]


@pytest.mark.parametrize("end", ["done", "refused", "failed"])
def test_what_was_sealed_is_erased_however_the_command_ends(
    database: Database, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    person, keyring = with_admin(database), publish(database)
    if end == "failed":
        broken = replace(KINDS["cluster.add"], effect=lambda _task: Result(str(1 // 0)))
        monkeypatch.setitem(KINDS, "cluster.add", broken)
    url = "https://hops.example.test" if end != "refused" else "hops"
    sealed = {"kubeconfig": config(), "api_key": Secret("hunter2\n")}
    ask(person, "cluster.add", cluster="eu-1", api_url=url, sealed=sealed)
    assert one(person, "SELECT sealed IS NOT NULL FROM commands")
    assert [each for each, _ in carry(database, keyring)] == [end]
    assert one(person, "SELECT sealed IS NULL AND state = %s FROM commands", end)


def test_a_sealed_secret_opens_for_its_own_command_only(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    ask(
        person,
        "cluster.add",
        cluster="eu-1",
        api_url="https://a.test",
        sealed={"kubeconfig": config()},
    )
    person.execute(
        "INSERT INTO commands (key, name, arguments, sealed)"
        " SELECT gen_random_uuid(), name, arguments, sealed FROM commands"
    )
    first, copied = carry(database, keyring)
    assert first[0] == "done"
    assert copied[0] == "refused"
    assert "does not open" in copied[1]


def test_a_check_is_a_slow_command_with_its_steps(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    with carrying(database, keyring):
        sealed = {"kubeconfig": config()}
        asked(person, "cluster.add", cluster="eu-1", api_url="https://a.test", sealed=sealed)
        done = asked(person, "cluster.check", cluster="eu-1")
    assert done.summary == "Cluster eu-1 fails at permission."
    assert done.result is not None
    assert [step["name"] for step in done.result["steps"]] == [step.name for step in STEPS]
    assert one(person, "SELECT count(*) FROM audit_log WHERE action = 'cluster.check'") == 1


def test_a_frozen_check_holds_up_no_quick_command(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    add_cluster(person)
    begun, go_on = threading.Event(), threading.Event()

    def frozen(_access: ClusterAccess, _of: Patient) -> list[CheckStep]:
        begun.set()
        go_on.wait(JOIN_S)
        return STEPS

    def slow() -> None:
        with connect(database.url, name="slow") as connection:
            carry_out(connection, replace(works(keyring), check_cluster=frozen), lane="slow")

    with carrying(database, keyring):
        sealed = {"kubeconfig": config()}
        asked(person, "cluster.add", cluster="eu-2", api_url="https://a.test", sealed=sealed)
    ask(person, "cluster.check", cluster="eu-2")
    thread = threading.Thread(target=slow)
    thread.start()
    assert begun.wait(JOIN_S)
    ask(person, "user.add", **USER)
    assert [end for end, _ in carry(database, keyring)] == ["done"]
    go_on.set()
    thread.join(JOIN_S)


def test_two_daemons_share_commands_and_do_each_once(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    with carrying(database, keyring) as first, carrying(database, keyring) as second:
        ids = [
            ask(person, "user.add", user=f"auth0|{number}", email=f"{number}@example.test")
            for number in range(30)
        ]
        ends = [wait(person, command_id, JOIN_S).state for command_id in ids]
    assert ends == ["done"] * 30
    assert len(first) + len(second) == 30
    assert one(person, "SELECT count(*) FROM audit_log") == 30


def test_a_dead_daemons_command_is_taken_over_at_once(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    ask(person, "user.add", **USER)
    with connect(database.url, name="dead") as dead:
        assert claim_next(dead, after=0)
        assert carry(database, keyring) == []
        pid = dead.info.backend_pid
    await_gone(person, pid)
    assert [end for end, _ in carry(database, keyring)] == ["done"]


def test_a_living_daemons_command_is_taken_over_when_its_lease_ends(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    ask(person, "user.add", **USER)
    with connect(database.url, name="slow") as slow:
        assert claim_next(slow, after=0)
        person.execute("UPDATE commands SET lease_until = now() - interval '1 second'")
        assert [end for end, _ in carry(database, keyring)] == ["done"]


def test_a_frozen_daemon_is_ended_and_cannot_commit(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    command_id = ask(person, "user.add", **USER)
    frozen = connect(database.url, name="frozen")
    old = claim_next(frozen, after=0, lease_s=0.0)
    assert old
    frozen.execute("BEGIN")
    frozen.execute("SELECT FROM hopsmeter.commands WHERE id = %s FOR UPDATE", [command_id])
    with connect(database.url, name="carrier") as connection:
        (carried,) = carry_out(connection, works(keyring), lease_s=0.0)
    assert carried.end == "done"
    with pytest.raises(psycopg.OperationalError):
        frozen.execute("SELECT 1")
    with pytest.raises(LeaseLost):
        leases.finish(person, old, "done")


def test_a_backend_younger_than_the_lease_is_left_alone(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    ask(person, "user.add", **USER)
    bystander = connect(database.url, name="bystander")
    person.execute(
        "UPDATE commands SET state = 'working', lease_token = gen_random_uuid(), lease_pid = %s,"
        " lease_until = now() - interval '1 hour'",
        [bystander.info.backend_pid],
    )
    assert [end for end, _ in carry(database, keyring)] == ["done"]
    assert one(bystander, "SELECT 1") == 1
    bystander.close()


def test_a_lock_that_is_not_to_be_had_puts_the_command_back(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    ask(person, "user.add", **USER)
    with connect(database.url, name="carrier") as connection, database.connect() as other:
        connection.execute("SET lock_timeout = '50ms'")
        with other.transaction():
            other.execute("LOCK TABLE users IN EXCLUSIVE MODE")
            (put_back,) = carry_out(connection, works(keyring))
        (done,) = carry_out(connection, works(keyring))
    assert (put_back.end, put_back.said) == ("put back", "LockNotAvailable")
    assert done.end == "done"


def test_a_server_without_room_costs_a_command_no_try_and_says_so(database: Database) -> None:
    """A full disk lasts for minutes; five tries are over in ten seconds."""
    person, keyring = with_admin(database), publish(database)
    key = ask(person, "user.add", **USER)
    person.execute(
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"
    )
    person.execute(
        "CREATE TRIGGER no_room BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION no_room()"
    )
    for _ in range(TRIES_MAX + 2):
        assert carry(database, keyring) == [("put back", "could not extend file")]
    told = outcome(person, key)
    assert told.state == "submitted"
    assert "could not do it (could not extend file); it is tried again" in told.error
    assert told.error in wait(person, key, 0.01).waits
    person.execute("DROP TRIGGER no_room ON users")
    assert [end for end, _ in carry(database, keyring)] == ["done"]
    assert outcome(person, key).error == ""


def test_a_command_that_never_ends_is_given_up(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    ask(person, "user.add", **USER)
    person.execute("UPDATE commands SET tries = %s", [TRIES_MAX])
    ((end, said),) = carry(database, keyring)
    assert end == "failed"
    assert f"begun {TRIES_MAX} times" in said


def test_nobody_waits_for_a_reason_of_a_megabyte(database: Database) -> None:
    person = with_admin(database)
    with pytest.raises(InputFault, match="characters"):
        submit(person, "collect", Collect(), why="x" * 5000)


def test_a_login_comes_with_its_user_only_for_a_persons_role(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    ask(person, "user.add", **USER, role="postgres")
    ((end, said),) = carry(database, keyring)
    assert end == "refused"
    assert "no database role 'postgres' in the group hopsmeter_person" in said
    assert one(person, "SELECT count(*) FROM users") == 1
    assert UserAdd(**USER) == read_arguments("user.add", USER)


def test_the_roles_suffice_for_a_whole_story(database: Database) -> None:
    owner = with_admin(database)
    daemon_role, keyring = set_up_roles(database), publish(database)
    role = f"{database.name}_boss"
    add_login(owner, role, "auth0|boss")
    hour = floor_hour(NOW) - 2 * HOUR
    with (
        carrying(database, keyring, daemon_role),
        connect(database.url_for(role), name="person") as person,
    ):
        sealed = {"kubeconfig": config(), "api_key": Secret("hunter2")}
        asked(person, "cluster.add", cluster="eu-1", api_url="https://a.test", sealed=sealed)
        row = owner.execute("SELECT id, name FROM hopsworks_clusters").fetchone()
        assert row
        cluster = Cluster(*row)
        add_window(owner, cluster, hour)
        add_allocation(owner, cluster, hour)
        asked(person, "user.add", **USER)
        mapping = {"cluster": "eu-1", "namespace": "ml-train"}
        hops: list[tuple[str, dict[str, Any]]] = [
            ("namespace.map", mapping | {"user": "auth0|anna"}),
            ("rates.new", {"plan": "team", "factor": "1.5"}),
            ("rates.assign", {"account": "auth0|anna", "plan": "team", "from_hour": "2026-03-01"}),
            ("rates.unassign", {"account": "auth0|anna", "from_hour": "2026-03-01"}),
            ("namespace.unmap", mapping),
            ("cluster.edit", {"cluster": "eu-1", "system_namespaces": ["ml-train"]}),
            ("cluster.pause", {"cluster": "eu-1"}),
            ("cluster.resume", {"cluster": "eu-1"}),
            ("collect", {"cluster": "eu-1"}),
            ("cluster.check", {"cluster": "eu-1"}),
            ("hours.gap", {"cluster": "eu-1", "hour": hour_text(hour + HOUR)}),
            ("login.remove", {"role": "hopsmeter"}),
            ("cluster.remove", {"cluster": "eu-1"}),
        ]
        ends = {name: asked(person, name, why="so", **given) for name, given in hops}
    assert {name: (end.state, end.error) for name, end in ends.items()} == {
        name: ("done", "") for name, _ in hops
    }
    owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_hours_of_a_pause_are_waived_and_those_around_it_are_not(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    hours = [floor_hour(NOW) + offset * HOUR for offset in range(-2, 4)]

    def at(now: datetime, name: str) -> None:
        ask(person, name, cluster="eu-1", why="upgrade")
        with connect(database.url, name="carrier") as connection:
            (carried,) = carry_out(connection, works(keyring, lambda: now))
        assert carried.end == "done", carried.said

    cluster = add_cluster(person, metering_since=hours[0])
    at(NOW, "cluster.pause")
    at(NOW + 2 * HOUR, "cluster.resume")
    open_windows(person, NOW + 4 * HOUR, Policy())
    states = person.execute(
        "SELECT state, why FROM collection_windows WHERE cluster_id = %s ORDER BY hour",
        [cluster.id],
    ).fetchall()
    assert states == [("due", "")] * 2 + [("waived", "upgrade")] * 2 + [("due", "")] * 2


def test_the_outcome_is_there_to_be_read_again(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    command_id = ask(person, "collect")
    carry(database, keyring)
    again = outcome(person, command_id)
    assert again.summary == "No hour is missing (all clusters): nothing to ask for."
