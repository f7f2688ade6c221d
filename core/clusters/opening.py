"""The way in for the collector: what is sealed of a cluster is opened for one visit."""

from typing import Any, Final

import psycopg

from core.clusters.connection.access import ClusterAccess
from core.clusters.vault.keyring import Keyring
from core.clusters.vault.records import open_sealed
from core.errors import Unknown

TABLE: Final = "hopsworks_clusters"
"""What is sealed is bound to it."""

Connection = psycopg.Connection[Any]


def access_of(connection: Connection, keyring: Keyring, cluster: str | int) -> ClusterAccess:
    """Open what one visit to a cluster (its name or id) needs; SecretFault where it cannot be."""
    row = connection.execute(
        "SELECT uid, kubeconfig_sealed, name, transport, opencost_namespace, opencost_selector,"
        " opencost_container, opencost_port, opencost_service FROM hopsmeter.hopsworks_clusters"
        f" WHERE {'id' if isinstance(cluster, int) else 'name'} = %s AND status <> 'removed'",
        [cluster],
    ).fetchone()
    if row is None:
        raise Unknown(f"There is no cluster {cluster!r}; `hopsmeter cluster list` shows all.")
    uid, sealed, name, transport, namespace, selector, container, port, service = row
    return ClusterAccess(
        cluster=name,
        kubeconfig=open_sealed(
            keyring, sealed, table=TABLE, column="kubeconfig_sealed", row=str(uid)
        ),
        transport=transport,
        opencost_namespace=namespace,
        selector=selector,
        container=container or None,
        port=port,
        service=service,
    )
