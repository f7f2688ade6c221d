"""Everything that a person may ask for, by name. `arguments.py` has what each takes."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from core.commands.kinds import Kind, Task


@dataclass(frozen=True)
class Late:
    """An effect that is loaded with the first command that needs it, by its `module:function`.

    What writes objects takes a second to load, which every start of a daemon would wait for.
    """

    place: str

    def __call__(self, task: Task[Any]) -> Any:
        return self.load()(task)

    def load(self) -> Any:
        module, _, name = self.place.partition(":")
        return getattr(import_module(f"core.commands.effects.{module}"), name)


KINDS: Final[dict[str, Kind[Any]]] = {
    "cluster.add": Kind("add clusters", Late("clusters:add")),
    "cluster.edit": Kind("edit clusters", Late("clusters:edit")),
    "cluster.pause": Kind("pause clusters", Late("clusters:pause"), why_needed=True),
    "cluster.resume": Kind("resume clusters", Late("clusters:resume")),
    "cluster.remove": Kind("remove clusters", Late("clusters:remove"), why_needed=True),
    "cluster.check": Kind(
        "check clusters", Late("clusters:check"), gather=Late("clusters:visit"), lane="slow"
    ),
    "user.add": Kind("add users", Late("people:add")),
    "login.remove": Kind("remove logins", Late("people:logout")),
    "namespace.map": Kind("map namespaces", Late("people:map_")),
    "namespace.unmap": Kind("unmap namespaces", Late("people:unmap")),
    "rates.new": Kind("change rates", Late("rates:new")),
    "rates.assign": Kind("assign plans", Late("rates:assign")),
    "rates.unassign": Kind("assign plans", Late("rates:unassign")),
    "credits.grant": Kind("grant credits", Late("credit:grant"), why_needed=True),
    "credits.adjust": Kind("adjust credits", Late("credit:adjust"), why_needed=True),
    "credits.buy": Kind(
        "sell credits",
        Late("stripe:bought"),
        gather=Late("stripe:buy"),
        lane="slow",
        why_needed=True,
    ),
    "credits.expire": Kind("let credits expire", Late("credit:expire"), why_needed=True),
    "account.mode": Kind("change how accounts pay", Late("accounts:mode"), why_needed=True),
    "account.policy": Kind("change policies", Late("accounts:policy"), why_needed=True),
    "account.settle-arrears": Kind("settle arrears", Late("accounts:settle"), why_needed=True),
    "stripe.setup": Kind(
        "set Stripe up", Late("stripe:set_up"), gather=Late("stripe:build"), lane="slow"
    ),
    "stripe.show": Kind(
        "look at Stripe", Late("stripe:show"), gather=Late("stripe:look"), lane="slow"
    ),
    "stripe.link": Kind(
        "link accounts to Stripe",
        Late("stripe:link"),
        gather=Late("stripe:go"),
        lane="slow",
        why_needed=True,
    ),
    "stripe.unpark": Kind("unpark accounts", Late("stripe:unpark"), why_needed=True),
    "stripe.report": Kind(
        "report to Stripe",
        Late("stripe_days:reported"),
        gather=Late("stripe_days:report_now"),
        lane="slow",
    ),
    "stripe.settle": Kind(
        "settle what is due",
        Late("stripe_days:settle"),
        gather=Late("stripe_days:time_to_settle"),
        lane="slow",
        why_needed=True,
    ),
    "stripe.again": Kind("have days told again", Late("stripe_days:again"), why_needed=True),
    "stripe.decide": Kind(
        "decide about reports",
        Late("stripe_days:decide"),
        gather=Late("stripe_days:time_at_stripe"),
        lane="slow",
        why_needed=True,
    ),
    "stripe.fetch": Kind(
        "compare with Stripe",
        Late("stripe_days:fetched"),
        gather=Late("stripe_days:fetch"),
        lane="slow",
    ),
    "hours.accept": Kind("decide about hours", Late("hours:accept"), why_needed=True),
    "hours.keep": Kind("decide about hours", Late("hours:keep"), why_needed=True),
    "hours.gap": Kind("decide about hours", Late("hours:gap"), why_needed=True),
    "collect": Kind("have hours collected", Late("hours:collect")),
    # All statements of a month: minutes, in which nobody else shall wait.
    "books.close": Kind("close months", Late("months:close"), lane="slow", why_needed=True),
    "webhooks.replay": Kind("have events handled again", Late("webhooks:again")),
}
