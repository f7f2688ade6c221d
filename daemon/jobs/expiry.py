"""Posts the expiry of lots past their date, and says of today how each account pays."""

from core.billing.expiry import expire_due
from core.billing.marks import mark_accounts
from core.billing.modes import mirror_modes
from daemon.deps import Deps, Report


def run(deps: Deps) -> Report:
    now = deps.clock()
    with deps.connect("expiry") as connection:
        done = expire_due(connection, now)
        mirrored = mirror_modes(connection, now)
        mark_accounts(connection, now)
    facts = {"lots": done.lots, "emptied": done.emptied, "modes": mirrored}
    return Report(facts if any(facts.values()) else {})
