import hashlib
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from sandbox.story import SYSTEM_NAMESPACES, Story, people

HOUR = timedelta(hours=1)
START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
DIGEST = """
import hashlib
from datetime import datetime, timedelta, UTC
from sandbox.story import Story
hour = datetime(2026, 3, 2, 9, tzinfo=UTC)
print(hashlib.sha256(repr(sorted(Story(7, "eu-prod").hour(hour).items())).encode()).hexdigest())
"""


def digest(hour: datetime, seed: int = 7, cluster: str = "eu-prod") -> str:
    flows = sorted(Story(seed, cluster).hour(hour).items())
    return hashlib.sha256(repr(flows).encode()).hexdigest()


def test_hours_say_the_same_in_any_order() -> None:
    story = Story(7, "eu-prod")
    hours = [START + n * HOUR for n in range(48)]
    forth = {hour: story.hour(hour) for hour in hours}
    back = {hour: Story(7, "eu-prod").hour(hour) for hour in reversed(hours)}
    assert forth == back


def test_another_process_tells_the_same_story() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DIGEST], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip() == digest(START + 9 * HOUR)


def test_seeds_and_clusters_differ_from_each_other() -> None:
    hour = START + 9 * HOUR
    assert len({digest(hour), digest(hour, seed=8), digest(hour, cluster="us-gpu")}) == 3


def test_a_fortnight_has_sleep_bursts_growth_and_visitors() -> None:
    story = Story(7, "eu-prod")
    hours = [story.hour(START + n * HOUR) for n in range(14 * 24)]
    by_kind: dict[str, list[str]] = {}
    for project in story.projects:
        by_kind.setdefault(project.kind, []).append(project.namespace)
    notebook = by_kind["notebook"][0]
    assert hours[10][notebook].cpu_request_h > 0
    assert hours[3][notebook].cpu_request_h == 0 < hours[3][notebook].pv_bh
    assert hours[5 * 24 + 10][notebook].cpu_request_h == 0
    bursts = [hour[by_kind["training"][0]].gpu_h for hour in hours]
    assert 0 < sum(1 for gpu_h in bursts if gpu_h) < len(bursts) / 2
    nightly = by_kind["nightly"][0]
    assert {len(hours[n * 24 + 12].keys() & {nightly}) for n in range(14)} == {0}
    assert hours[1][nightly].begin_min == 12
    present = [{name for name in by_kind["visitor"] if name in hour} for hour in hours]
    assert min(map(len, present)) < max(map(len, present))
    growing = [max(hour[name].cpu_request_h for hour in hours) for name in by_kind["growing"]]
    starting = [min(hour[name].cpu_request_h for hour in hours) for name in by_kind["growing"]]
    assert any(most > 2 * least for most, least in zip(growing, starting, strict=True))


def test_a_cluster_has_system_namespaces_and_about_forty_in_all() -> None:
    story = Story(7, "eu-prod")
    assert len(story.namespaces) == len(set(story.namespaces)) == 40
    assert set(SYSTEM_NAMESPACES) <= set(story.namespaces)
    assert set(SYSTEM_NAMESPACES) <= set(story.hour(START))
    assert len(set(Story(7, "x", 10_000).namespaces)) == 10_000
    assert len(Story(7, "tiny", 2).namespaces) == 2


def test_ownership_leaves_some_unmapped_and_lets_some_change_hands() -> None:
    story = Story(7, "eu-prod")
    owned = story.ownership(START)
    users = {person.user_id for person in people(7)}
    assert {entry.user_id for entry in owned} <= users
    assert all(user.startswith("auth0|") and len(user) == 30 for user in users)
    names = {entry.namespace for entry in owned}
    assert story.unmapped()
    assert not names & {*story.unmapped(), *SYSTEM_NAMESPACES}
    assert names | {*story.unmapped(), *SYSTEM_NAMESPACES} == set(story.namespaces)
    handed = [entry for entry in owned if entry.from_hour > START]
    assert handed
    for entry in handed:
        before = next(e for e in owned if e.namespace == entry.namespace)
        assert before.from_hour == START
        assert before.user_id != entry.user_id
    assert all(entry.project.replace("_", "-") == entry.namespace for entry in owned)


def test_the_same_name_on_two_clusters_has_two_owners() -> None:
    here = {entry.namespace: entry.user_id for entry in Story(7, "eu-prod").ownership(START)}
    there = {entry.namespace: entry.user_id for entry in Story(7, "us-gpu").ownership(START)}
    shared = here.keys() & there.keys()
    assert shared
    assert any(here[name] != there[name] for name in shared)
