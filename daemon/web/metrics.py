"""The page for Prometheus: this process's counters, and what the database says at the scrape."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import psycopg
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core.clock import monotonic_s
from core.errors import DatabaseFault
from core.reports.clusters import clusters
from core.reports.webhooks import Waiting, waiting
from daemon.deps import Deps

AGE_MAX_S = 10.0
"""Figures from the database are read at most this often, however many scrape."""
_QUEUES = """
SELECT (SELECT count(*) FROM hopsmeter.collection_windows WHERE stored_no <> posted_no),
       (SELECT count(*) FROM hopsmeter.commands WHERE state IN ('submitted', 'working')),
       (SELECT coalesce(extract(epoch FROM now() - min(submitted_at)), 0)::float8
        FROM hopsmeter.commands WHERE state IN ('submitted', 'working')),
       (SELECT count(*) FROM hopsmeter.outgoing_events WHERE state = 'due'),
       (SELECT count(*) FROM hopsmeter.outgoing_events WHERE state = 'given_up')
"""


class Metrics:
    """One per process; `page` is called by one thread at a time."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._read: list[Metric] = []
        self._read_at_s = float("-inf")

    def page(self, *, database: bool) -> bytes:
        """Return the page; without `database` only what this process knows by itself."""
        up = GaugeMetricFamily("hopsmeter_database_up", "1 while the database answers.")
        build = GaugeMetricFamily("hopsmeter_build_info", "The version.", labels=["version"])
        build.add_metric([self._deps.version], 1)
        if database and monotonic_s() - self._read_at_s > AGE_MAX_S:
            try:
                self._read = list(self._from_database())
                self._read_at_s = monotonic_s()
            except (DatabaseFault, psycopg.Error):
                database = False
        up.add_metric([], database)
        registry = CollectorRegistry()
        registry.register(_Ready([up, build, *(self._read if database else [])]))
        return generate_latest(self._deps.tally.registry) + generate_latest(registry)

    def _from_database(self) -> Iterator[Metric]:
        now = self._deps.clock()
        with self._deps.connect("metrics") as connection:
            lines = clusters(connection, now)
            queues = connection.execute(_QUEUES).fetchone()
            events = waiting(connection)
        assert queues is not None
        hours = GaugeMetricFamily(
            "hopsmeter_hours", "Hours of a cluster by state.", labels=["cluster", "state"]
        )
        age = GaugeMetricFamily(
            "hopsmeter_cluster_contact_age_seconds",
            "Since the cluster last answered.",
            labels=["cluster"],
        )
        failures = GaugeMetricFamily(
            "hopsmeter_cluster_failures", "Visits that failed in a row.", labels=["cluster"]
        )
        healthy = GaugeMetricFamily(
            "hopsmeter_cluster_health", "1 for the word that holds.", labels=["cluster", "health"]
        )
        for line in lines:
            for state, count in asdict(line.hours).items():
                hours.add_metric([line.name, state], count)
            if line.last_answered_at is not None:
                age.add_metric([line.name], (now - line.last_answered_at).total_seconds())
            failures.add_metric([line.name], line.failures)
            healthy.add_metric([line.name, line.health], 1)
        yield from (hours, age, failures, healthy)
        for (name, says), value in zip(_QUEUE_NAMES, queues, strict=True):
            gauge = GaugeMetricFamily(name, says)
            gauge.add_metric([], value)
            yield gauge
        yield from _events(events)


def _events(found: Sequence[Waiting]) -> Iterator[Metric]:
    counts = GaugeMetricFamily(
        "hopsmeter_webhook_events", "Events from outside that are not done.", labels=["state"]
    )
    oldest = GaugeMetricFamily(
        "hopsmeter_webhook_oldest_due_seconds", "Since the oldest event that is due came."
    )
    for each in found:
        counts.add_metric([each.state], each.count)
        if each.state == "due":
            oldest.add_metric([], each.oldest_s)
    yield from (counts, oldest)


_QUEUE_NAMES = (
    ("hopsmeter_unposted_hours", "Hours stored and not yet posted."),
    ("hopsmeter_commands_open", "Commands that wait or are in work."),
    ("hopsmeter_commands_oldest_seconds", "Age of the oldest of them."),
    ("hopsmeter_events_waiting", "Events of accounts to be delivered to the webhook."),
    ("hopsmeter_events_given_up", "Events that the webhook never took."),
)


class _Ready(Collector):
    """Hands out metrics that were made before."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics
