"""What this process has counted since it started; the database's own figures are read per scrape."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.01, 0.05, 0.2, 1, 5, 20, 60, 300)


class Tally:
    """Counters in a registry of their own, so that two daemons in one process never share."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.asks = Counter(
            "hopsmeter_cluster_asks",
            "Hours asked of a cluster, by what came of it.",
            ("cluster", "outcome"),
            registry=self.registry,
        )
        self.commands = Counter(
            "hopsmeter_commands",
            "Commands that ended, by how.",
            ("outcome",),
            registry=self.registry,
        )
        self.runs = Counter(
            "hopsmeter_job_runs",
            "Runs of a job, by how they ended: ok, failed, late.",
            ("job", "outcome"),
            registry=self.registry,
        )
        self.run_seconds = Histogram(
            "hopsmeter_job_seconds",
            "How long a run of a job took.",
            ("job",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.deliveries = Counter(
            "hopsmeter_webhook_deliveries",
            "Deliveries of events from outside, by what was answered: stored, refused, away.",
            ("source", "answer"),
            registry=self.registry,
        )
        self.handled = Counter(
            "hopsmeter_webhook_tries",
            "Tries to handle an event from outside, by how they ended.",
            ("source", "end"),
            registry=self.registry,
        )
        self.books = Gauge(
            "hopsmeter_books_ok",
            "1 where the books' check held when last made, 0 where it did not.",
            ("check",),
            registry=self.registry,
        )
