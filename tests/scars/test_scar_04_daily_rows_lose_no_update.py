"""Daily rows were read, changed and written back by concurrent requests: updates lost."""

import threading

from core.billing.posting.post import post_due
from core.db.connect import connect
from core.metering import windows
from core.metering.attribution import Attribution
from core.metering.hours import Fetched
from core.metering.store import store_hours
from core.opencost.read import read_answer
from tests.answers import LIMITS, body, raw_of
from tests.core.metering.site import NAME, POLICY, Site

CLUSTERS, HOURS = 4, 6


def collect_alone(site: Site, cluster_id: int) -> None:
    """What one writer does: hour after hour of its cluster, posting after each."""
    with connect(site.database.url, name=NAME) as connection:
        backend = connection.info.backend_pid, NAME
        attribution = Attribution()
        while claims := windows.claim(
            connection, cluster_id, site.now, policy=POLICY, store_backend=backend
        ):
            content = body({"ml-train": 1}, claims[0].hour)
            answer = read_answer(content, claims[0].hour, LIMITS)
            ready = [Fetched(claims[0], answer, raw_of(content))]
            store_hours(connection, ready, attribution=attribution, policy=POLICY, now=site.now)
            post_due(connection, site.now)


def test_writers_side_by_side_lose_no_hour_of_a_shared_day(site: Site) -> None:
    anna = site.user()
    clusters = [site.cluster(f"eu-{number}") for number in range(CLUSTERS)]
    for cluster in clusters:
        site.map("ml-train", anna, 0, cluster.name)
    site.until(HOURS - 1)
    site.open_windows()
    writers = [
        threading.Thread(target=collect_alone, args=[site, cluster.id]) for cluster in clusters
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert list(site.usage().values()) == [HOURS * 1_018_330_000] * CLUSTERS
    site.must_balance()


def test_the_daily_row_is_what_the_facts_say_whatever_stood_there(site: Site) -> None:
    site.cluster()
    site.map("ml-train", site.user(), 0)
    site.say({"ml-train": 1})
    site.collect()
    site.post()
    site.connection.execute("UPDATE usage_daily SET charge_nano = 7, opencost_total_nano = 7")
    site.say({"ml-train": 1.25})
    site.again(0)
    site.collect()
    site.post()
    assert list(site.usage().values()) == [1_268_330_000]
    site.must_balance()
