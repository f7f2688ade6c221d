"""Months of random life: what the ledger holds is what plain Python says, entry by entry."""

import contextlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from tests.core.metering.site import opened
from tests.database import Connection, Server, administer, cloned
from tests.property.begin import begun
from tests.property.life import Life, Style
from tests.property.stories import story

LEDGER = ("ledger_entries", "ledger_balances", "credit_lots", "credit_draws", "usage_daily")
_OF_PROFILE = settings().max_examples
Lives = Callable[[Style], contextlib.AbstractContextManager[Life]]


def slow(share: int) -> settings:
    """Run a share of the profile's examples; shrinking one that fails would take minutes."""
    return settings(
        max_examples=_OF_PROFILE // share,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        phases=[Phase.explicit, Phase.generate],
    )


@pytest.fixture(scope="module")
def admin(postgres: Server) -> Iterator[Connection]:
    with administer(postgres) as connection:
        yield connection


@pytest.fixture(scope="module")
def lives(admin: Connection, postgres: Server) -> Lives:
    @contextlib.contextmanager
    def make(style: Style) -> Iterator[Life]:
        with cloned(admin, postgres) as database, opened(database) as site:
            yield begun(site, style)

    return make


styles: st.SearchStrategy[Style] = st.sampled_from(["each", "daily", "late"])


@slow(6)
@given(styles, st.integers(0, 2**48))
def test_whatever_happens_the_ledger_is_what_plain_python_says(
    lives: Lives, style: Style, seed: int
) -> None:
    happens = story(seed)
    note(f"{happens}")
    with lives(style) as life:
        for step in happens:
            life.take(step)
        life.take(("mend",))
        life.take(("post",))
        life.site.must_balance()
        life.take(("expire",))
        life.must_agree()
        life.site.must_balance()
        before = {table: life.site.versions(table) for table in LEDGER}
        life.take_all_again()
        assert {table: life.site.versions(table) for table in LEDGER} == before
