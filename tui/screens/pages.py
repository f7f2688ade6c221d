"""The way down: a cluster, a user, a namespace, one hour and its proof."""

from datetime import datetime

from textual.app import ComposeResult

from core.clock import hour_text
from tui.feeds import (
    Answer,
    ClusterAnswer,
    ClusterPage,
    HourAnswer,
    HourPage,
    NamespaceAnswer,
    NamespacePage,
    Question,
    UserAnswer,
    UserPage,
)
from tui.present import cluster, pages
from tui.screens.view import View
from tui.widgets.line import Line
from tui.widgets.listing import Listing
from tui.widgets.table import KeyedTable


class ClusterScreen(View):
    """One cluster: how it is and why, its namespaces, its hours."""

    question: ClusterPage

    @property
    def crumb(self) -> str:
        return self.question.cluster

    def compose_body(self) -> ComposeResult:
        yield Line("facts")
        yield Line("counts")
        yield Listing(pages.NAMESPACE_COLUMNS, ident="namespaces", sort=(3, True))
        yield Listing(cluster.HOUR_COLUMNS, ident="hours", sort=(0, True))

    def present(self, answer: Answer, now: datetime, /) -> None:
        assert isinstance(answer, ClusterAnswer)
        if answer.line is None:
            self.say(f"The cluster {self.question.cluster} was removed.", "warn")
        else:
            facts, counts = cluster.cluster_facts(answer.line, now, self.lost_at)
            self.query_one("#facts", Line).show(facts)
            self.query_one("#counts", Line).show(counts)
        namespaces = self.query_one("#namespaces", Listing)
        namespaces.say_empty(pages.NO_NAMESPACES)
        namespaces.take(pages.namespace_rows(answer.namespaces, with_cluster=False))
        hours = self.query_one("#hours", Listing)
        hours.say_empty(cluster.NO_HOURS)
        hours.take(cluster.hour_rows(answer.hours, now))

    def on_keyed_table_opened(self, event: KeyedTable.Opened) -> None:
        if event.table.id == "hours":
            self.action_look()
        elif (row := event.table.cursor_row) is not None:
            self.dashboard.visit(NamespacePage(self.question.cluster, row.name))


class UserScreen(View):
    """One user: what his namespaces cost, on every cluster."""

    question: UserPage

    @property
    def crumb(self) -> str:
        return self.question.email

    def compose_body(self) -> ComposeResult:
        yield Listing(pages.NAMESPACE_COLUMNS, ident="namespaces", sort=(3, True))

    def present(self, answer: Answer, _now: datetime, /) -> None:
        assert isinstance(answer, UserAnswer)
        self.main.say_empty(pages.NO_NAMESPACES)
        self.main.take(pages.namespace_rows(answer.namespaces, with_cluster=True))

    def on_keyed_table_opened(self, event: KeyedTable.Opened) -> None:
        cluster, namespace, *_owner = event.key
        self.dashboard.visit(NamespacePage(cluster, namespace))


class NamespaceScreen(View):
    """One namespace: its hours, newest first, each with its owner."""

    question: NamespacePage

    @property
    def crumb(self) -> str:
        return f"{self.question.cluster}/{self.question.namespace}"

    def compose_body(self) -> ComposeResult:
        yield Listing(pages.NAMESPACE_HOUR_COLUMNS, ident="hours", sort=(0, True))

    def present(self, answer: Answer, _now: datetime, /) -> None:
        assert isinstance(answer, NamespaceAnswer)
        self.main.say_empty(pages.NO_NAMESPACE_HOURS)
        self.main.take(pages.namespace_hour_rows(answer.hours))

    def on_keyed_table_opened(self, event: KeyedTable.Opened) -> None:
        assert isinstance(event.key, datetime)
        self.dashboard.visit(HourPage(self.question.cluster, self.question.namespace, event.key))


class HourScreen(View):
    """One namespace in one hour: the kinds of its cost, and the proof."""

    question: HourPage

    @property
    def crumb(self) -> str:
        return hour_text(self.question.hour)

    def compose_body(self) -> ComposeResult:
        yield Listing(pages.COST_COLUMNS, ident="costs")
        yield Listing(pages.PROOF_COLUMNS, ident="proof")

    def present(self, answer: Answer, _now: datetime, /) -> None:
        assert isinstance(answer, HourAnswer)
        self.query_one("#costs", Listing).take(pages.cost_rows(answer.hour))
        self.query_one("#proof", Listing).take(pages.proof_rows(answer.hour))

    def on_keyed_table_opened(self) -> None:
        self.action_look()


def screen_for(question: Question) -> View:
    """Return the screen that shows the answer to a question below the first one."""
    match question:
        case ClusterPage():
            return ClusterScreen(question)
        case UserPage():
            return UserScreen(question)
        case NamespacePage():
            return NamespaceScreen(question)
        case HourPage():
            return HourScreen(question)
        case _:
            raise AssertionError(question)
