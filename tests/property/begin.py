"""How a life begins: accounts, each paying in a mode of its own, what is theirs, and no hours yet."""

from decimal import Decimal

from tests.core.billing.ledger_site import pays
from tests.core.metering.site import Site, hour
from tests.property.ledger_oracle import Account, Mode
from tests.property.life import BEGINS_AT, LIFE_DAYS, Life, Style, give_up_hours
from tests.property.oracle import DAY_HOURS, Oracle

CLUSTERS = ("eu-1", "eu-2")
OWNERS = {"a": "anna", "b": "ben", "c": "cleo"}
MODES: dict[str, Mode] = {"anna": "prepaid", "ben": "hybrid", "cleo": "postpaid"}
PLANS = {"default": {0: "1"}, "odd": {0: "1.000001", 300: "0.333333"}, "free": {0: "0"}}


def begun(site: Site, style: Style) -> Life:
    """An installation with three accounts, each paying in a mode of its own, and no hours yet."""
    users = {name: site.user(name) for name in MODES}
    for name in CLUSTERS:
        site.cluster(name)
    span = {"since": hour(0), "until": hour(LIFE_DAYS * DAY_HOURS - 1)}
    months = "generate_series(%(since)s::timestamptz, %(until)s, interval '1 month')"
    site.connection.execute(f"SELECT ensure_partitions(month) FROM {months} month", span)
    site.until(BEGINS_AT)
    give_up_hours(site)
    facts = Oracle(0, system={name: {"kube-system"} for name in CLUSTERS})
    accounts = {name: Account(today=(BEGINS_AT + 1) // DAY_HOURS) for name in MODES}
    life = Life(site, style, users, facts, accounts)
    for plan, versions in PLANS.items():
        facts.plans[plan] = {number: Decimal(factor) for number, factor in versions.items()}
        if plan != "default":
            for number, factor in versions.items():
                site.plan(plan, factor, number)
    for name, mode in MODES.items():
        if mode != "postpaid":
            life.accounts[name].pays_in(mode, 0)
            pays(site, users[name], mode, 0)
    for namespace, owner in OWNERS.items():
        for cluster in CLUSTERS:
            facts.mapped(cluster, namespace, owner, 0)
            site.map(namespace, users[owner], 0, cluster)
    return life
