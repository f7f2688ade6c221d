"""Kubeconfigs, API keys and a database password lay in plain text in the database."""

import base64
import json
from collections.abc import Iterator

from core.clusters.cluster import ClusterSettings
from core.clusters.keys import prove_keyring
from core.clusters.opening import access_of
from core.clusters.registry import Vault, add_cluster, edit_cluster
from core.clusters.vault import Keyring
from core.commands.arguments import ClusterAdd
from core.commands.submit import submit
from core.secret import Secret
from tests.core.clusters.kubeconfigs import b64, by_certificate, issue, jwt, kubeconfig
from tests.core.metering.site import ADMIN, Site
from tests.database import Connection
from tests.factories import NOW

TOKEN = jwt(sub="system:serviceaccount:opencost:the-very-secret-token")
API_KEY = "hopsworks.api-key.that-nobody-may-read"
KEYRING = Keyring.generate()


def spellings(secret: bytes) -> Iterator[bytes]:
    """Every way a secret could lie in a dump: as it is, in hex, in base64 at each offset."""
    yield secret
    yield secret.hex().encode()
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + secret)
        inner = coded[4 if offset else 0 : -4]
        yield inner
        yield inner.hex().encode()


def dump(connection: Connection) -> bytes:
    """Everything that pg_dump would write of our tables, partitions included."""
    tables = connection.execute(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
        " WHERE schemaname = 'hopsmeter' ORDER BY 1"
    ).fetchall()
    assert len(tables) > 20
    parts: list[bytes] = []
    for (table,) in tables:
        with connection.cursor().copy(f"COPY (SELECT * FROM {table}) TO STDOUT") as copy:
            parts += [f"{table}\n".encode(), *map(bytes, copy)]
    return b"".join(parts)


def secrets() -> dict[str, bytes]:
    key = b"".join(issue().key.splitlines()[1:-1])
    return {
        "the token": TOKEN.encode(),
        "the token's payload": TOKEN.split(".")[1].encode(),
        "the API key": API_KEY.encode(),
        "the client key": key,
        "the client key's bytes": base64.b64decode(key),
        "the terminal key": KEYRING.terminal_key.reveal(),
        **{f"key {each.key_id}": each.material.reveal() for each in KEYRING.keys},
    }


def fill(connection: Connection) -> None:
    """Register one cluster by token and one by certificate, change one, and submit a third."""
    vault = Vault(KEYRING)
    prove_keyring(connection, KEYRING)
    for name, user in (("eu-1", {"token": TOKEN}), ("eu-2", by_certificate())):
        cluster = {
            "server": f"https://{name}.example.com:6443",
            "certificate-authority-data": b64(issue(f"{name}-ca").certificate),
        }
        document = kubeconfig(user=user, cluster=cluster)
        with connection.transaction():
            add_cluster(
                connection,
                ADMIN,
                name,
                ClusterSettings(f"https://{name}.example.test"),
                kubeconfig=Secret(json.dumps(document)),
                api_key=Secret(API_KEY),
                vault=vault,
                why="for the test",
                now=NOW,
            )
    with connection.transaction():
        edit_cluster(
            connection,
            ADMIN,
            "eu-1",
            {"max_users": 5},
            api_key=Secret(API_KEY),
            vault=vault,
            why="a new key",
            now=NOW,
        )
    other = kubeconfig(user={"token": TOKEN}, cluster={"server": "https://eu-3.example.com"})
    submit(
        connection,
        "cluster.add",
        ClusterAdd(cluster="eu-3", api_url="https://eu-3.example.test"),
        sealed={"kubeconfig": Secret(json.dumps(other)), "api_key": Secret(API_KEY)},
    )


def test_a_dump_of_the_database_gives_away_nothing(site: Site) -> None:
    fill(site.connection)
    dumped = dump(site.connection)
    assert b"eu-1.example.com" in dumped, "the dump holds what was registered"
    assert b"eu-3" in dumped
    found = [
        name
        for name, secret in secrets().items()
        if any(spelling in dumped for spelling in spellings(secret))
    ]
    assert found == []
    to = access_of(site.connection, KEYRING, "eu-1")
    assert TOKEN.encode() in to.kubeconfig.reveal(), "it is there for whoever has the key"


def test_what_would_lie_in_the_open_is_found_by_this_test(site: Site) -> None:
    fill(site.connection)
    for column, value in (
        ("status_why", API_KEY),
        ("status_why", base64.b64encode(b"{'k': '" + API_KEY.encode() + b"'}").decode()),
        ("api_key_sealed", API_KEY.encode()),
    ):
        site.connection.execute(f"UPDATE hopsworks_clusters SET {column} = %s", [value])
        dumped = dump(site.connection)
        assert any(spelling in dumped for spelling in spellings(API_KEY.encode()))
        site.connection.execute("UPDATE hopsworks_clusters SET status_why = ''")
