"""Everything that a person may ask for, by name. `arguments.py` has what each takes."""

from typing import Any, Final

from core.commands.effects import (
    accounts,
    clusters,
    credit,
    hours,
    months,
    people,
    rates,
    stripe,
    stripe_days,
    webhooks,
)
from core.commands.kinds import Kind

KINDS: Final[dict[str, Kind[Any]]] = {
    "cluster.add": Kind("add clusters", clusters.add),
    "cluster.edit": Kind("edit clusters", clusters.edit),
    "cluster.pause": Kind("pause clusters", clusters.pause, why_needed=True),
    "cluster.resume": Kind("resume clusters", clusters.resume),
    "cluster.remove": Kind("remove clusters", clusters.remove, why_needed=True),
    "cluster.check": Kind("check clusters", clusters.check, gather=clusters.visit, lane="slow"),
    "user.add": Kind("add users", people.add),
    "login.remove": Kind("remove logins", people.logout),
    "namespace.map": Kind("map namespaces", people.map_),
    "namespace.unmap": Kind("unmap namespaces", people.unmap),
    "rates.new": Kind("change rates", rates.new),
    "rates.assign": Kind("assign plans", rates.assign),
    "rates.unassign": Kind("assign plans", rates.unassign),
    "credits.grant": Kind("grant credits", credit.grant, why_needed=True),
    "credits.adjust": Kind("adjust credits", credit.adjust, why_needed=True),
    "credits.buy": Kind(
        "sell credits", stripe.bought, gather=stripe.buy, lane="slow", why_needed=True
    ),
    "credits.expire": Kind("let credits expire", credit.expire, why_needed=True),
    "account.mode": Kind("change how accounts pay", accounts.mode, why_needed=True),
    "account.policy": Kind("change policies", accounts.policy, why_needed=True),
    "account.settle-arrears": Kind("settle arrears", accounts.settle, why_needed=True),
    "stripe.setup": Kind("set Stripe up", stripe.set_up, gather=stripe.build, lane="slow"),
    "stripe.show": Kind("look at Stripe", stripe.show, gather=stripe.look, lane="slow"),
    "stripe.link": Kind(
        "link accounts to Stripe", stripe.link, gather=stripe.go, lane="slow", why_needed=True
    ),
    "stripe.unpark": Kind("unpark accounts", stripe.unpark, why_needed=True),
    "stripe.report": Kind(
        "report to Stripe", stripe_days.reported, gather=stripe_days.report_now, lane="slow"
    ),
    "stripe.settle": Kind("settle what is due", stripe_days.settle, why_needed=True),
    "stripe.again": Kind("have days told again", stripe_days.again, why_needed=True),
    "stripe.decide": Kind("decide about reports", stripe_days.decide, why_needed=True),
    "stripe.fetch": Kind(
        "compare with Stripe", stripe_days.fetched, gather=stripe_days.fetch, lane="slow"
    ),
    "hours.accept": Kind("decide about hours", hours.deciding("accept"), why_needed=True),
    "hours.keep": Kind("decide about hours", hours.deciding("keep"), why_needed=True),
    "hours.gap": Kind("decide about hours", hours.deciding("gap"), why_needed=True),
    "collect": Kind("have hours collected", hours.collect),
    # All statements of a month: minutes, in which nobody else shall wait.
    "books.close": Kind("close months", months.close, lane="slow", why_needed=True),
    "webhooks.replay": Kind("have events handled again", webhooks.again),
}
