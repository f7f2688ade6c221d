"""The first screen: how the clusters are, which hours are kept, who costs what."""

from datetime import datetime
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from tui.actions import bindings
from tui.feeds import Answer, ClusterPage, NamespacePage, Overview, OverviewPage, UserPage
from tui.present import overview
from tui.present.tiles import tiles
from tui.rows import Row
from tui.screens.view import View
from tui.widgets.line import Line
from tui.widgets.listing import Listing
from tui.widgets.table import KeyedTable

PANELS = ("clusters", "map", "users", "unmapped")
FRAME_LINES = 8
"""Header, crumbs, two of tiles, the legend, status, keys, and the lower lists' titles."""
ROOMY_FROM = 28
"""From this height on, blank lines separate the parts."""
LOWER_LINES_MIN = 8
LOW_BELOW = 19
"""Below this height the unmapped namespaces are a sum on top and no list, and the signs are in the help."""


class OverviewScreen(View):
    """Clusters above, their hours below them, money at the bottom."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("overview")]
    SCOPES = ("overview", "table", "list", "everywhere")

    def __init__(self) -> None:
        super().__init__(OverviewPage())
        self._clusters = 0

    @property
    def crumb(self) -> str:
        return "Overview"

    def compose_body(self) -> ComposeResult:
        yield Line("labels")
        yield Line("values")
        yield Listing(overview.CLUSTER_COLUMNS, ident="clusters", sort=(0, False))
        yield Listing((), ident="map")
        yield Line("legend")
        with Container(id="money"):
            yield Listing(overview.USER_COLUMNS, ident="users", sort=(1, True))
            yield Listing(overview.UNMAPPED_COLUMNS, ident="unmapped", sort=(1, True))

    def _list(self, name: str) -> Listing:
        return self.query_one(f"#{name}", Listing)

    def present(self, answer: Answer, now: datetime, /) -> None:
        assert isinstance(answer, Overview)
        width = self.size.width
        lost_at = self.lost_at
        labels, values = tiles(answer.totals, answer.newest_hour, answer.life, width, lost_at)
        self.query_one("#labels", Line).show(labels)
        self.query_one("#values", Line).show(values)
        self._list("map").set_columns(overview.map_columns(answer.since, width))
        self.query_one("#legend", Line).show(overview.legend_line(answer.strips, width))
        self._say_empty(has_admin=answer.has_admin)
        self._share_height(len(answer.clusters))
        self._list("clusters").set_columns(overview.cluster_columns(lost_at))
        lost = lost_at is not None
        self._list("clusters").take(overview.cluster_rows(answer.clusters, now, lost=lost))
        self._list("map").take(overview.map_rows(answer.strips, width))
        self._list("users").take(overview.user_rows(answer.users))
        self._list("unmapped").take(overview.unmapped_rows(answer.unmapped))

    def _say_empty(self, *, has_admin: bool) -> None:
        first = overview.NO_CLUSTERS if has_admin else overview.NO_ADMIN
        self._list("clusters").say_empty(first)
        self._list("map").say_empty(overview.NO_HOURS)
        self._list("users").say_empty(overview.NO_COSTS)
        self._list("unmapped").say_empty(overview.ALL_MAPPED)

    def _share_height(self, clusters: int) -> None:
        """Give clusters and map a line for each cluster while the lower lists keep enough."""
        self.set_class(self.size.height >= ROOMY_FROM, "-roomy")
        self.set_class(self.size.height < LOW_BELOW, "-low")
        blanks = 4 if self.size.height >= ROOMY_FROM else 0
        room = self.size.height - FRAME_LINES - blanks - LOWER_LINES_MIN
        lines = max(2, min(max(clusters, 3), room // 2)) + 1
        for name in ("clusters", "map"):
            self._list(name).styles.height = lines

    def on_resize(self, _event: events.Resize) -> None:
        self.present_again()

    def action_panel(self, number: int) -> None:
        self._list(PANELS[number - 1]).focus()

    def on_keyed_table_opened(self, event: KeyedTable.Opened) -> None:
        row = event.table.cursor_row
        if row is not None:
            self._go(event.table.id or "", row)

    def _go(self, panel: str, row: Row) -> None:
        if panel in ("clusters", "map"):
            self.dashboard.visit(ClusterPage(str(row.key)))
        elif panel == "users":
            user_id, _currency = row.key
            self.dashboard.visit(UserPage(user_id, row.name))
        elif panel == "unmapped":
            cluster, namespace = row.key
            self.dashboard.visit(NamespacePage(cluster, namespace))
