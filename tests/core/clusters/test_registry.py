"""The registry of clusters: what is taken, what is sealed, what is told."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from core.clock import HOUR, floor_hour, hour_text
from core.clusters.cluster import (
    SYSTEM_NAMESPACES,
    ClusterSettings,
    every_cluster,
    find_cluster,
)
from core.clusters.opening import access_of
from core.clusters.registry import (
    ClusterChange,
    Vault,
    add_cluster,
    edit_cluster,
    pause_cluster,
    remove_cluster,
    resume_cluster,
)
from core.clusters.vault import Keyring, Secret, open_sealed
from core.errors import Conflict, Forbidden, InputFault, KubeconfigRefused, SecretFault, Unknown
from core.identity.principal import Principal
from tests.core.clusters.kubeconfigs import b64, by_certificate, issue, kubeconfig
from tests.database import Connection, Database
from tests.factories import NOW

ADMIN = Principal("admin", "auth0|boss", "boss", 7)
SETTINGS = ClusterSettings("https://hops.example.test/")
VAULT = Vault(Keyring.generate())


def config(server: str = "https://api.eu-1.example.com:6443", **top: Any) -> Secret:
    """A kubeconfig of a cluster with an authority of its own."""
    return of_authority(server, server, **top)


def of_authority(server: str, *authorities: str, **top: Any) -> Secret:
    bundle = b"".join(issue(authority).certificate for authority in authorities)
    cluster = {"server": server, "certificate-authority-data": b64(bundle)}
    return Secret(json.dumps(kubeconfig(cluster=cluster, **top)))


def added(connection: Connection, name: str = "eu-1", **changes: Any) -> ClusterChange:
    given: dict[str, Any] = {
        "settings": SETTINGS,
        "kubeconfig": config(),
        "vault": VAULT,
        "why": "new",
        "now": NOW,
        **changes,
    }
    return add_cluster(
        connection, given.pop("principal", ADMIN), name, given.pop("settings"), **given
    )


def edited(connection: Connection, changes: dict[str, Any], **more: Any) -> ClusterChange:
    given: dict[str, Any] = {"vault": VAULT, "why": "", "now": NOW, **more}
    return edit_cluster(connection, ADMIN, "eu-1", changes, **given)


def dump(connection: Connection) -> str:
    rows = connection.execute(
        "SELECT row_to_json(c)::text FROM hopsworks_clusters c"
        " UNION ALL SELECT row_to_json(a)::text FROM audit_log a"
    ).fetchall()
    return "\n".join(row[0] for row in rows)


def test_a_cluster_is_metered_from_its_last_closed_hour(database: Database) -> None:
    cluster = added(database.connect()).cluster
    assert cluster.metering_since == floor_hour(NOW) - HOUR
    assert cluster.api_url == "https://hops.example.test"
    assert cluster.system_namespaces == SYSTEM_NAMESPACES
    assert (cluster.currency, cluster.opencost_port, cluster.status) == ("USD", 9003, "active")


def test_a_dump_of_the_database_gives_no_secret_away(database: Database) -> None:
    connection = database.connect()
    added(
        connection, kubeconfig=config(users=_user("TOKEN-0123456789")), api_key=Secret("API-KEY\n")
    )
    edited(connection, {}, kubeconfig=config(users=_user("TOKEN-9876543210")))
    text = dump(connection)
    assert "sealed anew" in text
    for secret in ("TOKEN-0123456789", "TOKEN-9876543210", "API-KEY"):
        for form in (secret, secret.encode().hex()):
            assert form not in text


def test_the_way_in_is_what_was_registered(database: Database) -> None:
    connection = database.connect()
    settings = replace(SETTINGS, transport="proxy", opencost_service="costs", opencost_container="")
    cluster = added(connection, settings=settings).cluster
    access = access_of(connection, VAULT.keyring, "eu-1")
    assert access == access_of(connection, VAULT.keyring, cluster.id)
    assert (access.transport, access.service, access.container) == ("proxy", "costs", None)
    assert b"https://api.eu-1.example.com:6443" in access.kubeconfig.reveal()


def test_the_api_key_loses_its_newline_and_is_bound_to_its_url(database: Database) -> None:
    connection = database.connect()
    cluster = added(connection, api_key=Secret(" hunter2\n")).cluster
    row = connection.execute("SELECT api_key_sealed FROM hopsworks_clusters").fetchone()
    assert row
    place = {"table": "hopsworks_clusters", "column": "api_key_sealed", "row": str(cluster.uid)}
    url = ("https://hops.example.test",)
    opened = open_sealed(VAULT.keyring, row[0], **place, bound_to=url)
    assert opened.reveal() == b"hunter2"
    with pytest.raises(SecretFault):
        open_sealed(VAULT.keyring, row[0], **place, bound_to=("https://evil.example.test",))


def test_a_sealed_kubeconfig_opens_in_no_other_row(database: Database) -> None:
    connection = database.connect()
    added(connection)
    added(connection, "eu-2", kubeconfig=config("https://api.eu-2.example.com:6443"))
    connection.execute(
        "UPDATE hopsworks_clusters SET kubeconfig_sealed ="
        " (SELECT kubeconfig_sealed FROM hopsworks_clusters WHERE name = 'eu-1')"
    )
    access_of(connection, VAULT.keyring, "eu-1")
    with pytest.raises(SecretFault, match="does not open"):
        access_of(connection, VAULT.keyring, "eu-2")


def test_a_changed_api_url_demands_the_key_anew(database: Database) -> None:
    connection = database.connect()
    added(connection, api_key=Secret("hunter2"))
    elsewhere = {"api_url": "https://evil.example.test"}
    with pytest.raises(InputFault, match="needs the API key anew"):
        edited(connection, elsewhere)
    change = edited(connection, elsewhere, api_key=Secret("hunter3"))
    assert change.difference == {
        "api_url": ["https://hops.example.test", "https://evil.example.test"],
        "api_key": ["as it was", "sealed anew"],
    }


def test_an_edit_says_what_differs_and_the_trail_keeps_it(database: Database) -> None:
    connection = database.connect()
    added(connection)
    change = edited(connection, {"max_users": 40, "currency": "USD"}, why="grown")
    assert change.difference == {"max_users": [None, 40]}
    row = connection.execute(
        "SELECT before, after, why, actor FROM audit_log WHERE action = 'cluster.edit'"
    ).fetchone()
    assert row == ({"max_users": None}, {"max_users": 40}, "grown", "auth0|boss")
    with pytest.raises(InputFault, match="Nothing would change"):
        edited(connection, {"max_users": 40})


def test_a_cluster_is_edited_whatever_opencost_calls_it(database: Database) -> None:
    """Its id is learned from its answers, and CLUSTER_ID may be any words."""
    connection = database.connect()
    added(connection)
    connection.execute("UPDATE hopsworks_clusters SET opencost_cluster_id = 'München, the big one'")
    assert edited(connection, {"max_users": 40}).difference == {"max_users": [None, 40]}
    renamed = edited(connection, {"opencost_cluster_id": "the small one"})
    assert renamed.cluster.opencost_cluster_id == "the small one"


def test_one_kubernetes_is_registered_once_whatever_its_opencost(database: Database) -> None:
    connection = database.connect()
    by_name = replace(SETTINGS, opencost_selector="app.kubernetes.io/name=opencost")
    added(connection, settings=by_name)
    for changes in (
        {"opencost_selector": "app.kubernetes.io/instance=opencost"},
        {"opencost_port": 9004},
        {"opencost_namespace": "costs"},
        {"transport": "proxy", "opencost_service": "costs"},
    ):
        for affirmed in (False, True):
            with pytest.raises(Conflict, match=r"eu-1 is on the same server .* counted twice"):
                added(
                    connection,
                    "eu-2",
                    settings=replace(SETTINGS, **changes),
                    kubeconfig=config("https://API.eu-1.example.com:6443/"),
                    other_cluster=affirmed,
                )


@pytest.mark.parametrize(
    "server",
    ["https://api.eu-1.example.com", "https://api.eu-1.example.com:6443/k8s/clusters/c-1"],
)
def test_another_port_or_path_of_a_host_is_another_server(database: Database, server: str) -> None:
    connection = database.connect()
    added(connection)
    assert added(connection, "eu-2", kubeconfig=config(server)).cluster.server_url == server


def test_an_edit_cannot_make_two_clusters_one(database: Database) -> None:
    connection = database.connect()
    added(connection)
    added(connection, "eu-2", kubeconfig=config("https://api.eu-2.example.com:6443"))
    with pytest.raises(Conflict, match="eu-2 is on the same server"):
        edited(connection, {}, kubeconfig=config("https://api.eu-2.example.com:6443"))


@pytest.mark.parametrize(
    ("server", "authority", "changes", "refused"),
    [
        ("https://10.0.0.7:6443", "ca-1", {}, True),
        ("https://10.0.0.7:6443", "ca-1", {"opencost_selector": "app=other"}, True),
        ("https://10.0.0.7:6443", "ca-1", {"opencost_namespace": "costs"}, True),
        ("https://10.0.0.7:6443", "ca-1", {"opencost_port": 9004}, True),
        ("https://10.0.0.7:6443", "ca-2", {}, False),
        ("https://one.example.com:6443/k8s/clusters/c-2", "ca-1", {}, False),
    ],
)
def test_the_same_kubernetes_by_another_address_is_refused(
    database: Database, server: str, authority: str, changes: dict[str, Any], refused: bool
) -> None:
    connection = database.connect()
    added(connection, kubeconfig=of_authority("https://one.example.com:6443", "ca-1"))
    kubeconfig, settings = of_authority(server, authority), replace(SETTINGS, **changes)
    if not refused:
        added(connection, "eu-2", kubeconfig=kubeconfig, settings=settings)
        return
    with pytest.raises(Conflict, match=r"eu-1 .* by another address.*--other-cluster"):
        added(connection, "eu-2", kubeconfig=kubeconfig, settings=settings)
    remove_cluster(connection, ADMIN, "eu-1", why="moved")
    added(connection, "eu-2", kubeconfig=kubeconfig, settings=settings)


def test_an_authority_beside_others_tells_the_same_kubernetes_too(database: Database) -> None:
    """While an authority is exchanged, kubeconfigs hold the old one and the new one."""
    connection = database.connect()
    added(connection, kubeconfig=of_authority("https://one.example.com:6443", "ca-1", "ca-2"))
    for authorities in (["ca-1"], ["ca-2"], ["ca-2", "ca-3"], ["ca-2", "ca-1"]):
        again = of_authority("https://10.0.0.7:6443", *authorities)
        with pytest.raises(Conflict, match=r"eu-1 .* by another address.*--other-cluster"):
            added(connection, "eu-2", kubeconfig=again)
    added(connection, "eu-2", kubeconfig=of_authority("https://10.0.0.7:6443", "ca-3"))


def test_another_cluster_of_the_same_authority_is_affirmed_and_the_trail_keeps_it(
    database: Database,
) -> None:
    connection = database.connect()
    added(connection, kubeconfig=of_authority("https://one.example.com:6443", "ca-1"))
    other = of_authority("https://10.0.0.7:6443", "ca-1")
    change = added(connection, "eu-2", kubeconfig=other, other_cluster=True)
    assert change.difference["other_cluster"] == [None, ["eu-1"]]
    moved = {"opencost_selector": "app=other"}
    with pytest.raises(Conflict, match=r"eu-2 .* by another address"):
        edited(connection, moved)
    edited(connection, {"max_users": 3})
    assert edited(connection, moved, other_cluster=True).difference["other_cluster"]
    again = of_authority("https://two.example.com:6443", "ca-1")
    with pytest.raises(Conflict, match=r"eu-2 .* by another address"):
        edited(connection, {}, kubeconfig=again)
    edited(connection, {}, kubeconfig=again, other_cluster=True)
    rows = connection.execute(
        "SELECT action, after -> 'other_cluster' FROM audit_log"
        " WHERE after ? 'other_cluster' ORDER BY id"
    ).fetchall()
    assert rows == [
        ("cluster.add", ["eu-1"]),
        ("cluster.edit", ["eu-2"]),
        ("cluster.edit", ["eu-2"]),
    ]


def test_a_cluster_that_was_edited_or_resumed_is_asked_at_once(database: Database) -> None:
    connection = database.connect()
    added(connection)
    left = "UPDATE hopsworks_clusters SET failures = 6, next_visit_at = now() + interval '30 min'"
    asked = "SELECT failures, next_visit_at FROM hopsworks_clusters"
    connection.execute(left)
    edited(connection, {}, kubeconfig=config("https://api.eu-2.example.com:6443"))
    assert connection.execute(asked).fetchone() == (0, None)
    pause_cluster(connection, ADMIN, "eu-1", why="moved", now=NOW)
    connection.execute(left)
    resume_cluster(connection, ADMIN, "eu-1", why="")
    assert connection.execute(asked).fetchone() == (0, None)


@pytest.mark.parametrize("sign", ["server", "authority"])
def test_hours_that_a_removed_registration_has_are_not_metered_again(
    database: Database, sign: str
) -> None:
    connection = database.connect()
    last = floor_hour(NOW) - 5 * HOUR
    first = of_authority("https://one.example.com:6443", "ca-1")
    again = first if sign == "server" else of_authority("https://10.0.0.7:6443", "ca-1")
    gone = added(connection, kubeconfig=first, metering_since=last - 9 * HOUR).cluster
    for hour, revision in ((last, 2), (last + HOUR, 0)):
        connection.execute(
            "INSERT INTO collection_windows (cluster_id, hour, state, revision)"
            " VALUES (%s, %s, 'due', %s)",
            [gone.id, hour, revision],
        )
    remove_cluster(connection, ADMIN, "eu-1", why="by mistake")
    since = f"--metering-since {hour_text(last + HOUR)}"
    for wished in (last, last - 20 * HOUR):
        with pytest.raises(Conflict, match=since):
            added(connection, "eu-2", kubeconfig=again, metering_since=wished)
    if sign == "server":
        with pytest.raises(Conflict, match=since):
            added(connection, "eu-2", kubeconfig=again, metering_since=last, other_cluster=True)
    else:
        change = added(
            connection, "eu-3", kubeconfig=again, metering_since=last, other_cluster=True
        )
        assert change.difference["other_cluster"] == [None, ["eu-1"]]
        remove_cluster(connection, ADMIN, "eu-3", why="the same after all")
    added(connection, "eu-2", kubeconfig=again, metering_since=last + HOUR)


def test_an_edit_cannot_lead_to_hours_that_a_removed_registration_has(database: Database) -> None:
    connection = database.connect()
    since = floor_hour(NOW) - 5 * HOUR
    gone = added(connection, "old", kubeconfig=config("https://old.example.com")).cluster
    connection.execute(
        "INSERT INTO collection_windows (cluster_id, hour, state, revision)"
        " VALUES (%s, %s, 'collected', 1)",
        [gone.id, since],
    )
    remove_cluster(connection, ADMIN, "old", why="sold")
    added(connection, metering_since=since)
    with pytest.raises(Conflict, match=r"removed cluster old.*cluster add"):
        edited(connection, {}, kubeconfig=config("https://old.example.com"))


def test_all_that_is_wrong_is_told_together(database: Database) -> None:
    settings = replace(
        SETTINGS, api_url="http://hops.example.test", currency="usd", opencost_port=0, max_users=-1
    )
    with pytest.raises(InputFault) as fault:
        added(database.connect(), settings=settings)
    for part in ("https://", "'usd' is no currency", "0 is no port", "-1 is no number of seats"):
        assert part in str(fault.value)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"api_url": "https://u:p@hops.example.test"}, "an address alone"),
        ({"api_url": "https://hops.example.test/?x=1"}, "an address alone"),
        ({"api_url": "hops"}, "no address|begin with https"),
        ({"api_url": "https://[::1"}, "no address"),
        ({"opencost_selector": "app=a\nb"}, "no label selector"),
        ({"opencost_selector": "!!"}, "'!!' is neither KEY=VALUE"),
        ({"opencost_namespace": "Open Cost"}, "no Kubernetes name"),
        ({"system_namespaces": ("kube-system", "a b")}, "no Kubernetes name"),
        ({"cost_max_nano": 0}, "largest plausible cost"),
        ({"opencost_cluster_id": "a\nb"}, "cluster id"),
        ({"opencost_cluster_id": "a" * 254}, "cluster id"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(
    database: Database, changes: dict[str, Any], match: str
) -> None:
    with pytest.raises(InputFault, match=match):
        added(database.connect(), settings=replace(SETTINGS, **changes))


@pytest.mark.parametrize("name", ["", "EU", "eu_1", "-eu", "a" * 64, "eu 1"])
def test_a_name_is_a_short_plain_word(database: Database, name: str) -> None:
    with pytest.raises(InputFault, match="no name for a cluster"):
        added(database.connect(), name)


@pytest.mark.parametrize("name", ["accept", "gap", "keep", "map"])
def test_a_name_is_none_of_the_words_behind_hours(database: Database, name: str) -> None:
    with pytest.raises(InputFault, match=f"`hopsmeter hours {name}` is a command"):
        added(database.connect(), name)


def test_metering_begins_neither_tomorrow_nor_two_years_ago(database: Database) -> None:
    connection = database.connect()
    for since in (floor_hour(NOW) + HOUR, floor_hour(NOW) - timedelta(days=800)):
        with pytest.raises(InputFault, match=r"has not begun|days ago"):
            added(connection, metering_since=since)
    since = floor_hour(NOW) - 48 * HOUR
    assert added(connection, metering_since=since).cluster.metering_since == since


def test_an_api_key_with_blanks_inside_is_refused(database: Database) -> None:
    for key in ("", "two words", "ümlaut"):
        with pytest.raises(InputFault, match="API key"):
            added(database.connect(), api_key=Secret(key))


def test_a_refused_kubeconfig_registers_nothing(database: Database) -> None:
    connection = database.connect()
    bad = config(users=[{"name": "hopsmeter", "user": {"exec": {"command": "sh"}}}])
    with pytest.raises(KubeconfigRefused):
        added(connection, kubeconfig=bad)
    assert every_cluster(connection) == []


def test_the_expiry_of_a_certificate_is_kept(database: Database) -> None:
    users = [{"name": "hopsmeter", "user": by_certificate()}]
    cluster = added(database.connect(), kubeconfig=config(users=users)).cluster
    assert cluster.credentials_expire_at is not None


def test_a_currency_stays_once_hours_are_stored(database: Database) -> None:
    connection = database.connect()
    cluster = added(connection).cluster
    edited(connection, {"currency": "EUR"})
    connection.execute(
        "INSERT INTO collection_windows (cluster_id, hour, state, revision)"
        " VALUES (%s, %s, 'collected', 1)",
        [cluster.id, floor_hour(NOW)],
    )
    with pytest.raises(Conflict, match="stored in EUR already"):
        edited(connection, {"currency": "USD"})


def test_a_pause_begins_with_the_hour_that_runs_and_ends(database: Database) -> None:
    connection = database.connect()
    added(connection)
    paused = pause_cluster(connection, ADMIN, "eu-1", why="upgrade", now=NOW).cluster
    assert (paused.status, paused.status_why) == ("paused", "upgrade")
    assert paused.paused_since == floor_hour(NOW)
    with pytest.raises(Conflict, match="paused already"):
        pause_cluster(connection, ADMIN, "eu-1", why="again", now=NOW)
    resumed = resume_cluster(connection, ADMIN, "eu-1", why="").cluster
    assert (resumed.status, resumed.paused_since) == ("active", None)
    with pytest.raises(Conflict, match="not paused"):
        resume_cluster(connection, ADMIN, "eu-1", why="")


def test_a_removed_cluster_keeps_no_secret_and_its_name(database: Database) -> None:
    connection = database.connect()
    added(connection, api_key=Secret("hunter2"))
    remove_cluster(connection, ADMIN, "eu-1", why="sold")
    row = connection.execute(
        "SELECT kubeconfig_sealed, api_key_sealed, status_why FROM hopsworks_clusters"
    ).fetchone()
    assert row == (b"", None, "sold")
    assert every_cluster(connection) == []
    assert [each.name for each in every_cluster(connection, removed=True)] == ["eu-1"]
    for ask in (
        lambda: find_cluster(connection, "eu-1"),
        lambda: access_of(connection, VAULT.keyring, "eu-1"),
    ):
        with pytest.raises(Unknown):
            ask()
    with pytest.raises(Conflict, match="keep the name"):
        added(connection)
    added(connection, "eu-2")


def test_core_itself_refuses_who_is_no_admin(database: Database) -> None:
    connection = database.connect()
    added(connection)
    owner = Principal("owner", "auth0|anna")
    with pytest.raises(Forbidden):
        added(connection, "eu-2", principal=owner)
    with pytest.raises(Forbidden):
        edit_cluster(connection, owner, "eu-1", {}, vault=VAULT, why="", now=NOW)
    with pytest.raises(Forbidden):
        pause_cluster(connection, owner, "eu-1", why="", now=NOW)
    with pytest.raises(Forbidden):
        resume_cluster(connection, owner, "eu-1", why="")
    with pytest.raises(Forbidden):
        remove_cluster(connection, owner, "eu-1", why="")


def _user(token: str) -> list[dict[str, Any]]:
    return [{"name": "hopsmeter", "user": {"token": token}}]
