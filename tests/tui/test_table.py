"""The keyed table: cursor by key, only changed lines painted, hostile text, ten thousand rows."""

import pytest
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.geometry import Region

from tui import theme
from tui.rows import Column, Row, Span, place
from tui.widgets.table import KeyedTable

COLUMNS = (
    Column("NAMESPACE", 20, grow=1, widest=30),
    Column("COST", 13, "right"),
    Column("OWNER", 12, drop=1),
)


def rows(*names: str, cost: str = "1.00") -> tuple[Row, ...]:
    return tuple(Row(name, (name, cost, "anna"), (name, 1, "anna"), name) for name in names)


class TableApp(App[None]):
    def __init__(self) -> None:
        super().__init__()
        theme.register(self)
        self.said: list[object] = []

    def compose(self) -> ComposeResult:
        yield KeyedTable(COLUMNS, ident="table", empty="Nothing here yet.\nAdd one.")

    def on_keyed_table_row_left(self, event: KeyedTable.RowLeft) -> None:
        self.said.append(event.row.key)

    def on_keyed_table_opened(self, event: KeyedTable.Opened) -> None:
        self.said.append(("opened", event.key))

    @property
    def table(self) -> KeyedTable:
        return self.query_one(KeyedTable)


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Region, ...]]:
    """What the table asks to be painted: no regions means all of it."""
    seen: list[tuple[Region, ...]] = []
    before = KeyedTable.refresh

    def refresh(
        self: KeyedTable,
        *regions: Region,
        repaint: bool = True,
        layout: bool = False,
        recompose: bool = False,
    ) -> KeyedTable:
        if repaint and not layout:
            seen.append(regions)
        before(self, *regions, repaint=repaint, layout=layout, recompose=recompose)
        return self

    monkeypatch.setattr(KeyedTable, "refresh", refresh)
    return seen


def lines(table: KeyedTable) -> list[str]:
    return [table.render_line(y).text for y in range(table.size.height)]


async def test_refresh_keeps_the_selected_namespace_when_a_row_above_leaves() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.table.replace(rows("a", "b", "c", "d"))
        await pilot.press("down", "j")
        app.table.replace(rows("b", "c", "d"))
        await pilot.pause()
        assert app.table.cursor_key == "c"
        assert app.said == []


async def test_refresh_keeps_the_screen_row_of_the_cursor_within_one() -> None:
    app = TableApp()
    names = [f"ns-{number:03}" for number in range(100)]
    async with app.run_test(size=(60, 10)) as pilot:
        app.table.replace(rows(*names))
        app.table.move_to(50)
        await pilot.pause()
        before = app.table.cursor - app.table.scroll_offset.y
        app.table.replace(rows(*names[1:]))
        await pilot.pause()
        assert app.table.cursor_key == "ns-050"
        assert abs(app.table.cursor - app.table.scroll_offset.y - before) <= 1


async def test_a_table_nobody_touched_stays_at_its_top_whatever_the_order_does() -> None:
    app = TableApp()
    names = [f"ns-{number:03}" for number in range(100)]
    async with app.run_test(size=(60, 10)) as pilot:
        app.table.replace(rows(*names))
        for first in (30, 60, 90):
            app.table.replace(rows(*names[first:], *names[:first]))
            await pilot.pause()
            assert app.table.scroll_offset.y == 0
            assert app.table.cursor_key == f"ns-{first:03}"


@pytest.mark.parametrize("key", ["down", "enter", "space"])
async def test_a_row_that_hands_were_on_is_followed_until_g_lets_it_go(key: str) -> None:
    app = TableApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.table.replace(rows("a", "b", "c"))
        await pilot.press(key)
        held = app.table.cursor_key
        app.table.replace(rows("c", "b", "a"))
        await pilot.pause()
        assert app.table.cursor_key == held
        await pilot.press("g")
        app.table.replace(rows("b", "a", "c"))
        await pilot.pause()
        assert app.table.cursor == 0


async def test_a_refresh_leaves_a_view_that_the_wheel_moved_where_it_is() -> None:
    app = TableApp()
    names = [f"ns-{number:03}" for number in range(100)]
    async with app.run_test(size=(60, 10)) as pilot:
        app.table.replace(rows(*names))
        app.table.scroll_to(y=40, animate=False, force=True)
        await pilot.pause()
        app.table.replace(rows(*names[1:], names[0]))
        await pilot.pause()
        assert app.table.scroll_offset.y == 40


async def test_a_vanished_row_hands_the_cursor_to_its_neighbour_and_says_so() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.table.replace(rows("a", "b", "c"))
        await pilot.press("down")
        app.table.replace(rows("a", "c"))
        await pilot.pause()
        assert app.table.cursor_key == "c"
        assert app.said == ["b"]
        app.table.replace(rows("a"))
        await pilot.pause()
        assert app.said == ["b", "c"]


async def test_an_equal_snapshot_paints_nothing(painted: list[tuple[Region, ...]]) -> None:
    app = TableApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.table.replace(rows("a", "b", "c"))
        await pilot.pause()
        painted.clear()
        app.table.replace(rows("a", "b", "c"))
        await pilot.pause()
        assert painted == []


async def test_a_changed_row_paints_its_line_alone(painted: list[tuple[Region, ...]]) -> None:
    app = TableApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.table.replace(rows("a", "b", "c"))
        await pilot.pause()
        painted.clear()
        app.table.replace((*rows("a"), *rows("b", cost="2.00"), *rows("c")))
        await pilot.pause()
        assert [[region.y for region in regions] for regions in painted] == [[2]]


async def test_marks_and_filtering_out_follow_the_key() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.table.replace(rows("a", "b", "c"))
        await pilot.press("space", "space")
        assert app.table.marks == {"a", "b"}
        app.table.replace(rows("c", "b"), quiet=True)
        await pilot.pause()
        assert app.table.marks == {"b"}
        assert app.said == []


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        (("down", "down", "up"), 1),
        (("j", "j", "k"), 1),
        (("G",), 99),
        (("end", "home"), 0),
        (("G", "g"), 0),
        (("pagedown",), 9),
        (("pagedown", "pageup"), 0),
        (("up",), 0),
    ],
)
async def test_keys_move_the_cursor_and_keep_it_in_sight(
    keys: tuple[str, ...], wanted: int
) -> None:
    app = TableApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.table.replace(rows(*(f"ns-{number}" for number in range(100))))
        await pilot.press(*keys)
        assert app.table.cursor == wanted
        assert f"► ns-{wanted} " in "\n".join(lines(app.table))


async def test_enter_and_a_double_click_open_the_row() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.table.replace(rows("a", "b"))
        await pilot.press("enter")
        await pilot.click(app.table, offset=(5, 2), times=2)
        assert app.said == [("opened", "a"), ("opened", "b")]


@pytest.mark.parametrize(
    "name",
    [
        "[/]",
        "[red]ns",
        "a[b]c",
        "東京" * 9,
        "e\u0301" * 60,
        "x" * 253,
        "a\nb\r\x1b[31mc",
        "\u202egnp",
    ],
)
async def test_hostile_names_stay_within_their_cell(name: str) -> None:
    app = TableApp()
    async with app.run_test(size=(60, 10)) as pilot:
        app.table.replace(rows(name))
        await pilot.pause()
        line = app.table.render_line(1)
        assert cell_len(line.text) == app.table.size.width
        assert line.text.rstrip().endswith("1.00  anna")
        assert not set(line.text) & set("\n\r\x1b\u202e")
        assert name[:3] in line.text or "\N{REPLACEMENT CHARACTER}" in line.text


async def test_an_empty_table_says_what_to_do() -> None:
    app = TableApp()
    async with app.run_test(size=(60, 10)) as pilot:
        await pilot.press("down", "enter", "space", "G")
        assert [line.strip() for line in lines(app.table)[1:3]] == ["Nothing here yet.", "Add one."]


def test_narrow_screens_drop_columns_in_the_declared_order() -> None:
    columns = (Column("A", 10), Column("B", 8, drop=1), Column("C", 8, drop=2), Column("D", 8))
    assert [at.at for at in place(columns, 60)] == [0, 1, 2, 3]
    assert [at.at for at in place(columns, 36)] == [0, 1, 3]
    assert [at.at for at in place(columns, 24)] == [0, 3]
    assert [at.at for at in place(columns, 9)] == [0, 3]


def test_spare_cells_go_to_the_columns_that_grow() -> None:
    columns = (Column("A", 10, grow=2, widest=14), Column("B", 8), Column("C", 6, grow=1))
    assert [at.width for at in place(columns, 40)] == [14, 8, 12]


async def test_ten_thousand_rows_draw_the_screen_only(monkeypatch: pytest.MonkeyPatch) -> None:
    app = TableApp()
    drawn: list[int] = []
    before = KeyedTable.render_line

    def render_line(self: KeyedTable, y: int) -> object:
        drawn.append(y)
        return before(self, y)

    async with app.run_test(size=(80, 24)) as pilot:
        monkeypatch.setattr(KeyedTable, "render_line", render_line)
        many = tuple(
            Row(n, (f"ns-{n}", Span(f"{n}.00", "muted"), "anna"), (n, n, "anna"))
            for n in range(10_000)
        )
        app.table.replace(many)
        await pilot.pause()
        await pilot.pause()
        assert 24 <= len(drawn) <= 100
