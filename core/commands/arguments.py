"""What each command takes: one Struct per name, read strictly.

Light on purpose: the terminal builds these and imports nothing that carries a command out.
"""

import re
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from core.errors import InputFault

Transport = Literal["exec", "proxy"]
Meter = Literal["daily", "sum"]


class Arguments(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a command is asked with; never a secret, those travel sealed beside it."""


class ClusterAdd(Arguments, frozen=True):
    """A new cluster; hours are text (`2026-03-01T14Z`), money is text in units of `currency`.

    `other_cluster` affirms that it is none of the registered ones that share its authority.
    """

    cluster: str
    api_url: str
    opencost_namespace: str = "opencost"
    selector: str = ""
    container: str = ""
    service: str = "opencost"
    port: int = 9003
    transport: Transport = "exec"
    currency: str = "USD"
    seats: int | None = None
    metering_since: str | None = None
    system_namespaces: list[str] | None = None
    sentinel_namespace: str = "kube-system"
    cost_max: str | None = None
    cores_max: int | None = None
    gpus_max: int | None = None
    ram_max_gib: int | None = None
    context: str | None = None
    other_cluster: bool = False


class ClusterEdit(Arguments, frozen=True):
    """What changes of a cluster; what is not given stays. `seats` null: no limit."""

    cluster: str
    api_url: str | UnsetType = UNSET
    opencost_namespace: str | UnsetType = UNSET
    selector: str | UnsetType = UNSET
    container: str | UnsetType = UNSET
    service: str | UnsetType = UNSET
    port: int | UnsetType = UNSET
    transport: Transport | UnsetType = UNSET
    currency: str | UnsetType = UNSET
    seats: int | UnsetType | None = UNSET
    system_namespaces: list[str] | UnsetType = UNSET
    sentinel_namespace: str | UnsetType = UNSET
    opencost_cluster_id: str | UnsetType = UNSET
    cost_max: str | UnsetType = UNSET
    cores_max: int | UnsetType = UNSET
    gpus_max: int | UnsetType = UNSET
    ram_max_gib: int | UnsetType = UNSET
    context: str | None = None
    other_cluster: bool = False


class ClusterNamed(Arguments, frozen=True):
    """One cluster: check, pause, resume, remove."""

    cluster: str


class UserAdd(Arguments, frozen=True):
    """A new user; `owner` is who pays for a team member, `role` the database role that logs in."""

    user: str
    email: str
    name: str = ""
    owner: str | None = None
    admin: bool = False
    role: str | None = None
    may_assert: bool = False


class LoginRemove(Arguments, frozen=True):
    """A database role that shall be nobody's login any more."""

    role: str


class NamespaceMap(Arguments, frozen=True):
    """From `from_hour` on (without: from the first unmapped hour) `namespace` is `user`'s."""

    cluster: str
    namespace: str
    user: str
    project: str = ""
    from_hour: str | None = None


class NamespaceUnmap(Arguments, frozen=True):
    """From `from_hour` on (without: the coming hour) `namespace` is nobody's."""

    cluster: str
    namespace: str
    from_hour: str | None = None


class RatesNew(Arguments, frozen=True):
    """From `from_hour` on a plan charges `factor` for each unit of cost, or `prices` of quantities.

    Numbers are text, `1.25`. `factors` are of single kinds of cost; `included` is free in a month.
    Without an hour a new plan does so for any hour, another one from the coming hour on.
    """

    plan: str
    factor: str | None = None
    from_hour: str | None = None
    factors: dict[str, str] = {}
    prices: dict[str, str] = {}
    included: dict[str, str] = {}
    currency: str | None = None


class RatesAssign(Arguments, frozen=True):
    """From `from_hour` on (without: the hour that runs) `account` pays by `plan`."""

    account: str
    plan: str
    from_hour: str | None = None


class RatesUnassign(Arguments, frozen=True):
    """From `from_hour` on (without: the hour that runs) `account` pays by the default plan."""

    account: str
    from_hour: str | None = None


class CreditsGrant(Arguments, frozen=True):
    """Promotional credits for an account; `amount` is text in units of its currency.

    They pay the days before `expires_on`. The same `key` again is the same grant.
    """

    account: str
    amount: str
    expires_on: str | None = None
    priority: int | None = None
    currency: str | None = None
    key: str | None = None


class CreditsAdjust(Arguments, frozen=True):
    """More credits (`5`), or less (`-5`), by hand."""

    account: str
    amount: str
    currency: str | None = None
    key: str | None = None


class CreditsBuy(Arguments, frozen=True):
    """Credits to be paid for on Stripe's page; `amount` is text in units of the account's currency.

    They will pay the days before `expires_on`. The same `key` again is the same purchase.
    """

    account: str
    amount: str
    expires_on: str | None = None
    key: str | None = None
    currency: str | None = None


class CreditsExpire(Arguments, frozen=True):
    """One lot that shall expire now; the same `key` again is the same expiry."""

    account: str
    lot: int
    key: str | None = None


class AccountMode(Arguments, frozen=True):
    """From `from_day` on (without: from tomorrow, UTC) an account pays in `mode`."""

    account: str
    mode: str
    from_day: str | None = None


class AccountPolicy(Arguments, frozen=True):
    """What changes of a policy: `grace` 0 is to stop, `warn_below` null tells nobody."""

    account: str
    grace: str | UnsetType = UNSET
    warn_below: str | UnsetType | None = UNSET


class AccountNamed(Arguments, frozen=True):
    """One account, whose arrears are settled."""

    account: str


class StripeSetup(Arguments, frozen=True):
    """Prices in these currencies beside those in use; `meter` is what accounts get by default."""

    currencies: list[str] = []
    meter: Meter | None = None


class StripeShow(Arguments, frozen=True):
    """What is set up at Stripe, and what is not."""


class StripeLink(Arguments, frozen=True):
    """An account to be billed through Stripe; `customer` and `subscription` where they exist."""

    account: str
    customer: str | None = None
    subscription: str | None = None
    meter: Meter | None = None
    currency: str | None = None


class StripeUnpark(Arguments, frozen=True):
    """A parked account, or all of them, to be reported again."""

    account: str | None = None


class HourDecide(Arguments, frozen=True):
    """One hour that waits for a person."""

    cluster: str
    hour: str


class Collect(Arguments, frozen=True):
    """Ask again: one hour, all since an hour, or (neither) whatever waits for its next try."""

    cluster: str | None = None
    hour: str | None = None
    since: str | None = None


class StripeReport(Arguments, frozen=True):
    """Tell Stripe now what is due; it is told each hour anyway."""


class StripeSettle(Arguments, frozen=True):
    """What is due of a day, of an invoice, or of all days that wait for a person.

    Outside of Stripe, or on the open day; an invoice may be put right in Stripe instead.
    """

    account: str
    how: Literal["outside", "open-day", "put-right"]
    day: str | None = None
    invoice: str | None = None


class StripeAgain(Arguments, frozen=True):
    """A day of which Stripe has something else than it accepted."""

    account: str
    day: str


class StripeDecide(Arguments, frozen=True):
    """Whether the report of a day, whose outcome nobody knows, arrived."""

    account: str
    day: str
    arrived: bool


class StripeFetch(Arguments, frozen=True):
    """Fetch what Stripe says it has, of all accounts or of one."""

    account: str | None = None


class BooksClose(Arguments, frozen=True):
    """A month, as `2026-03`, that nothing shall be posted in any more."""

    month: str


class WebhooksReplay(Arguments, frozen=True):
    """Events that shall be handled again: one by its id, or all that fit the rest.

    `type` may end with `*`; `since` is when they came, as text.
    """

    event: str | None = None
    state: str | None = None
    type: str | None = None
    since: str | None = None


ARGUMENTS: Final[dict[str, type[Arguments]]] = {
    "cluster.add": ClusterAdd,
    "cluster.edit": ClusterEdit,
    "cluster.pause": ClusterNamed,
    "cluster.resume": ClusterNamed,
    "cluster.remove": ClusterNamed,
    "cluster.check": ClusterNamed,
    "user.add": UserAdd,
    "login.remove": LoginRemove,
    "namespace.map": NamespaceMap,
    "namespace.unmap": NamespaceUnmap,
    "rates.new": RatesNew,
    "rates.assign": RatesAssign,
    "rates.unassign": RatesUnassign,
    "credits.grant": CreditsGrant,
    "credits.adjust": CreditsAdjust,
    "credits.buy": CreditsBuy,
    "credits.expire": CreditsExpire,
    "account.mode": AccountMode,
    "account.policy": AccountPolicy,
    "account.settle-arrears": AccountNamed,
    "stripe.setup": StripeSetup,
    "stripe.show": StripeShow,
    "stripe.link": StripeLink,
    "stripe.unpark": StripeUnpark,
    "stripe.report": StripeReport,
    "stripe.settle": StripeSettle,
    "stripe.again": StripeAgain,
    "stripe.decide": StripeDecide,
    "stripe.fetch": StripeFetch,
    "hours.accept": HourDecide,
    "hours.keep": HourDecide,
    "hours.gap": HourDecide,
    "collect": Collect,
    "books.close": BooksClose,
    "webhooks.replay": WebhooksReplay,
}

SEALED: Final[dict[str, frozenset[str]]] = {
    "cluster.add": frozenset({"kubeconfig", "api_key"}),
    "cluster.edit": frozenset({"kubeconfig", "api_key"}),
}
"""Which secrets a command may bring, each sealed to the daemon's public key."""

_AT_FIELD = re.compile(r" - at `\$\.?(?P<field>[^`]*)`$")


def read_arguments(name: str, given: Any) -> Arguments:
    """Read what was submitted; InputFault names the command, the field and what it should be."""
    kind = ARGUMENTS.get(name)
    if kind is None:
        raise InputFault(f"There is no command {name!r}. Nothing was changed.")
    try:
        return msgspec.convert(given, kind, strict=True)
    except msgspec.ValidationError as fault:
        raise InputFault(f"{name}: {_sentence(str(fault))} Nothing was changed.") from None


def plain(arguments: Arguments) -> dict[str, Any]:
    """Return what is written to the table: what differs from the defaults."""
    built = msgspec.to_builtins(arguments)
    assert isinstance(built, dict)
    return built


def _sentence(fault: str) -> str:
    """Turn msgspec's ``Expected `int`, got `str` - at `$.port` `` into `port: expected int…`."""
    place = _AT_FIELD.search(fault)
    said = _AT_FIELD.sub("", fault).replace("`", "")
    if place and place["field"]:
        return f"{place['field']}: {said[0].lower()}{said[1:]}."
    return f"{said}."
