"""Lists in pages, newest first, and the expanding of ids into objects."""

from collections.abc import Callable
from typing import Any

from sandbox.stripe.account import Account, Thing, copied
from sandbox.stripe.errors import StripeError
from sandbox.stripe.form import Form, hash_of, integer, list_of
from sandbox.stripe.route import Call

LIMIT = 10
LIMIT_MAX = 100
DEPTH_MAX = 4
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "gt": int.__gt__,
    "gte": int.__ge__,
    "lt": int.__lt__,
    "lte": int.__le__,
}


def page(account: Account, call: Call, oldest_first: list[Thing]) -> Thing:
    """Return the page that a call asks for, newest first as Stripe lists.

    A cursor may name an object that the call's own filters leave out.
    """
    form, born = call.form, account.born
    found = oldest_first[::-1]
    for name in ("ending_before", "starting_after"):
        if form.get(name) and form[name] not in born:
            raise _no_such(form[name], name)
    if form.get("ending_before"):
        newer = [one for one in found if born[one["id"]] > born[form["ending_before"]]]
        limit = _limit(form)
        return list_object(call.path, newer[-limit:], has_more=len(newer) > limit)
    if form.get("starting_after"):
        found = [one for one in found if born[one["id"]] < born[form["starting_after"]]]
    limit = _limit(form)
    return list_object(call.path, found[:limit], has_more=len(found) > limit)


def page_of(call: Call, things: list[Thing]) -> Thing:
    """Return the page of parts of an object, which stand in the order in which they are listed."""
    form = call.form
    limit = _limit(form)
    if form.get("ending_before"):
        before = things[: _place(things, form, "ending_before")]
        return list_object(call.path, before[-limit:], has_more=len(before) > limit)
    start = _place(things, form, "starting_after") + 1 if form.get("starting_after") else 0
    rest = things[start:]
    return list_object(call.path, rest[:limit], has_more=len(rest) > limit)


def list_object(url: str, things: list[Thing], *, has_more: bool = False) -> Thing:
    return {"object": "list", "data": list(things), "has_more": has_more, "url": url}


def within(form: Form, name: str, value: int) -> bool:
    """Whether an instant passes a filter: `created=5`, or `created[gte]=5`."""
    asked = form.get(name)
    if asked in (None, ""):
        return True
    if isinstance(asked, str):
        return value == integer(form, name)
    return all(
        _COMPARE[word](value, integer(asked, word, within=name) or 0)
        for word in hash_of(form, name)
        if word in _COMPARE
    )


def _place(things: list[Thing], form: Form, name: str) -> int:
    for at, thing in enumerate(things):
        if thing["id"] == form[name]:
            return at
    raise _no_such(form[name], name)


def _no_such(cursor: str, name: str) -> StripeError:
    return StripeError(f"No such object: '{cursor}'", code="resource_missing", param=name)


def _limit(form: Form) -> int:
    limit = integer(form, "limit", LIMIT) or 0
    if not 1 <= limit <= LIMIT_MAX:
        raise StripeError(f"Invalid limit: must be 1 to {LIMIT_MAX}", param="limit")
    return limit


def expanded(account: Account, thing: Thing, form: Form) -> Thing:
    """Return a copy for the wire, in which the `expand` paths hold objects instead of ids."""
    answer = copied(thing)
    for path in list_of(form, "expand"):
        steps = str(path).split(".")
        if len(steps) > DEPTH_MAX + (steps[0] == "data"):
            raise StripeError(
                f"You cannot expand more than {DEPTH_MAX} levels deep", param="expand"
            )
        _expand(account, answer, steps, path)
    return answer


def _expand(account: Account, thing: Any, steps: list[str], path: str) -> None:
    if isinstance(thing, list):
        for entry in thing:
            _expand(account, entry, steps, path)
        return
    step, rest = steps[0], steps[1:]
    include = account.includable.get((thing.get("object", ""), step))
    if include and thing.get(step) is None:
        thing[step] = copied(include(thing))
    if step not in thing:
        raise StripeError(f"This property cannot be expanded ({path}).", param="expand", code=None)
    value = thing[step]
    if isinstance(value, str):
        thing[step] = value = copied(account.find(value)) or value
    if rest and isinstance(value, dict | list):
        _expand(account, value, rest, path)
