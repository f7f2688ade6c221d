"""The tables of clusters, their namespaces, and the keys that seal their secrets."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Index, Text, UniqueConstraint, text
from sqlmodel import Field

from core.db.table import Bytes, Said, Table, WordList, Words, column_of, numbered, stamped


class SecretKey(Table, table=True):
    __tablename__ = "secret_keys"
    __table_args__ = (
        Index(
            "secret_keys_primary", "is_primary", unique=True, postgresql_where=text("is_primary")
        ),
    )

    key_id: str = Field(primary_key=True, sa_type=Text)
    canary: bytes
    public_key: Words
    is_primary: bool
    created_at: datetime | None = stamped()


class HopsworksCluster(Table, table=True):
    """One registered cluster; the defaults of its settings stand in ClusterSettings."""

    __tablename__ = "hopsworks_clusters"
    __table_args__ = (
        Index(
            "clusters_one_source",
            "server_url",
            "opencost_namespace",
            "opencost_selector",
            "opencost_port",
            unique=True,
            postgresql_where=text("status <> 'removed'"),
        ),
    )

    id: int | None = numbered()
    uid: UUID | None = stamped("gen_random_uuid()", unique=True)
    name: str = Field(sa_type=Text, unique=True)
    api_url: Words
    api_key_sealed: Bytes = None
    kubeconfig_sealed: bytes
    server_url: Words
    ca_pem: Words = ""
    credentials_expire_at: datetime | None = None
    opencost_namespace: Words
    opencost_selector: Words
    opencost_container: Words
    opencost_service: Words
    opencost_port: int
    opencost_cluster_id: Said = None
    transport: Words
    currency: Words
    max_users: int | None = None
    system_namespaces: WordList
    sentinel_namespace: Words
    cost_max_nano: int = Field(sa_type=BigInteger)
    cores_max: int
    gpus_max: int
    ram_max_bytes: int = Field(sa_type=BigInteger)
    status: Words = "active"
    status_why: Words = ""
    paused_since: datetime | None = None
    metering_since: datetime
    last_asked_at: datetime | None = None
    last_answered_at: datetime | None = None
    last_outcome: Words = "never asked"
    failures: int = 0
    next_visit_at: datetime | None = None
    created_at: datetime | None = stamped()


class Namespace(Table, table=True):
    """The compact number of (cluster, name), for facts; written by the store, in sets."""

    __tablename__ = "namespaces"
    __table_args__ = (UniqueConstraint("cluster_id", "name"),)

    id: int | None = numbered()
    cluster_id: int = Field(foreign_key=column_of(HopsworksCluster, "id"))
    name: Words
    first_seen: datetime
    last_seen: datetime
