"""One table: each job, how often, and how long a run may take. The clock says when to look.

What is due stands in the database: a clock that missed a beat loses nothing, and any number of
daemons may tick.
"""

from collections.abc import Callable
from dataclasses import dataclass

import schedule

from daemon.deps import Deps, Report
from daemon.jobs import (
    books,
    commands,
    events,
    expiry,
    heartbeat,
    hours,
    post,
    retention,
    stripe,
    stripe_state,
    webhooks,
)

CLOCK_SLACK_S = 1.0


@dataclass(frozen=True)
class Job:
    """`run` opens what it needs, calls core and reports; it runs in a thread of its own."""

    name: str
    every_s: int
    limit_s: float
    run: Callable[[Deps], Report]
    says: str
    quiet: bool = False
    """Whether a lost database is told of elsewhere."""
    patient: bool = False
    """Whether it waits for its time even at the start."""


HEARTBEAT = Job(
    "heartbeat", 5, 15, heartbeat.run, "Tell the database that this daemon lives.", quiet=True
)

POST = Job("post", 60, 600, post.run, "Bring daily rows to what their hours say.")
HOURS = Job("hours", 5, 60, hours.run, "Open what is due, and begin visits to clusters.")
WEBHOOKS = Job("webhooks", 10, 300, webhooks.run, "Handle the events that came from outside.")
AGENDA = (
    HOURS,
    POST,
    Job("expiry", 3600, 600, expiry.run, "Post the expiry of credits past their date."),
    Job("events", 10, 120, events.run, "Tell of accounts, and deliver to the webhook."),
    WEBHOOKS,
    Job("missed", 3600, 600, webhooks.fetch_missed, "Fetch the events that never came."),
    Job("stripe-state", 3600, 1800, stripe_state.accounts, "Fetch how accounts stand at Stripe."),
    Job(
        "stripe-purchases",
        3600,
        1800,
        stripe_state.purchases,
        "Ask about purchases that may change.",
    ),
    Job("stripe", 3600, 1800, stripe.run, "Tell Stripe what is owed."),
    Job(
        "stripe-compare",
        3600,
        1800,
        stripe.compare,
        "Fetch once a day what Stripe says it has, and tell what differs.",
    ),
    Job("books", 6 * 3600, 1800, books.run, "Prove the books of this month.", patient=True),
    Job("retention", 6 * 3600, 600, retention.run, "Drop raw answers past their time."),
)

COMMANDS = Job("commands", 60, 300, commands.run, "Carry out the commands that wait.")
"""For `tick`; the running daemon has the inbox, which is told of each."""

HOURS_THROUGH = Job("hours", 5, 24 * 3600, hours.run_through, "Collect all that is due now.")

TICKS = {job.name: job for job in (*AGENDA, HEARTBEAT, COMMANDS, HOURS_THROUGH)}
"""What `hopsmeterd tick` may run; there `hours` waits for its visits."""


class Alarm:
    """The clock of the agenda: `ring` begins what is due."""

    def __init__(self, jobs: tuple[Job, ...], start: Callable[[Job], object]) -> None:
        self._clocks: list[tuple[Job, schedule.Scheduler]] = []
        for job in jobs:
            clock = schedule.Scheduler()
            clock.every(job.every_s).seconds.do(start, job)
            self._clocks.append((job, clock))

    def ring(self) -> None:
        """Begin what is due, and what a wall clock that was set back would hold up.

        The library keeps naive local times: set back by an hour, in autumn or by hand, it would
        let every job sleep for that hour.
        """
        for job, clock in self._clocks:
            idle_s = clock.idle_seconds
            if idle_s is not None and idle_s > job.every_s + CLOCK_SLACK_S:
                clock.run_all()
            clock.run_pending()

    def ring_all(self) -> None:
        """Begin every job but the patient ones now: at the start, and when the database is back."""
        for job, clock in self._clocks:
            if not job.patient:
                clock.run_all()
