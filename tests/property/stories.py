"""What can happen in a life, drawn from a seed: chapters of what belongs together, and noise between.

Of steps drawn one by one, few meet: a day must be paid, its lots expire, its arrears be repaid, and
then the day must cost less. The dice are ours, since a generator that shrinks draws the same often.
"""

import random
from collections.abc import Iterator

from tests.property.begin import CLUSTERS, MODES, OWNERS
from tests.property.life import Step

UNIT = 100_000
COSTS = (UNIT, 2 * UNIT, 3 * UNIT, 5 * UNIT, 50_000, 250_000, 150_000, 1, 0, -UNIT, -30_000)
FEW = (5 * 10**8, 10**9, 10**9 + 1, 2 * 10**9)
AMOUNTS = (*FEW, 5 * 10**9, 1, 20 * 10**9)
BACK = (0, 0, 1, 2, 5, 12, 24, 25, 30, 49, 80, 200)
LASTING = (None, None, 1, 1, 2, 3, 7, 30)
WAITS = (1, 5, 13, 24, 24, 24, 48, 72, 100, 240, 700, -3, -30)
CHAPTERS_MIN, CHAPTERS_MAX = 3, 7


def story(seed: int) -> list[Step]:
    """Return some chapters, one within the other."""
    dice = random.Random(seed)
    chapters = [list(_chapter(dice)) for _ in range(dice.randint(CHAPTERS_MIN, CHAPTERS_MAX))]
    steps = [
        _grant(dice, dice.choice(("anna", "anna", "ben")), FEW) for _ in range(dice.randint(0, 4))
    ]
    while chapters:
        chapter = dice.choice(chapters[:2])
        steps.append(chapter.pop(0))
        chapters = [each for each in chapters if each]
    return steps


def _chapter(dice: random.Random) -> Iterator[Step]:
    """Let an hour be charged, and again and again cost something else, with a life between."""
    namespace, user = dice.choice([*OWNERS.items(), ("a", "anna"), ("a", "anna"), ("b", "ben")])
    yield "hour", dice.choice(CLUSTERS), dice.choice(BACK), {namespace: dice.choice(COSTS)}
    for _ in range(dice.randint(1, 5)):
        yield ("post",)
        for _ in range(dice.randint(0, 3)):
            yield _between(dice, user, namespace)
        cost = dice.choice((*COSTS, None))
        yield "restate", dice.choice((0, 0, 0, 1, 1, 2, 5)), namespace, cost


def _between(dice: random.Random, user: str, namespace: str) -> Step:
    """Something of the account whose chapter it is, mostly; else of anybody."""
    what = dice.choice((*["grant", "wait", "expire"] * 2, "hour", "refund", "move", "any", "close"))
    if what == "hour":
        return what, dice.choice(CLUSTERS), dice.choice(BACK[:6]), {namespace: dice.choice(COSTS)}
    if what == "grant":
        return _grant(dice, user, AMOUNTS)
    if what == "wait":
        return what, dice.choice(WAITS)
    if what == "refund":
        return what, user, dice.choice(FEW), dice.choice((None, 0, 1, 2))
    if what == "move":
        return what, user, dice.choice((1, 5, 10))
    return (what,) if what in ("expire", "close") else _anything(dice)


def _anything(dice: random.Random) -> Step:
    cluster, back, user = dice.choice(CLUSTERS), dice.choice(BACK), dice.choice([*MODES])
    namespace = dice.choice([*OWNERS])
    found: list[Step] = [
        ("miss", cluster, back),
        ("map", cluster, namespace, user, back),
        ("map", cluster, namespace, user, back),
        ("unmap", cluster, namespace, back),
        ("assign", user, dice.choice(("odd", "odd", "free", "default")), back),
        ("mode", user, dice.choice([*MODES.values()]), dice.randint(1, 3)),
        ("mode", user, dice.choice([*MODES.values()]), dice.randint(1, 3)),
        ("adjust", user, dice.choice((10**9, -(10**9), -1, -3 * 10**9, 1))),
        ("again", dice.randint(0, 20), dice.choice((0, 0, 1))),
    ]
    return dice.choice(found)


def _grant(dice: random.Random, user: str, amounts: tuple[int, ...]) -> Step:
    priority, bought = dice.choice((50, 50, 100, 10)), dice.random() < 1 / 2
    return "grant", user, dice.choice(amounts), dice.choice(LASTING), priority, bought
