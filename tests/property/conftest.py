from tests.core.billing.stripe.till import till
from tests.core.metering.site import begun, site

__all__ = ["begun", "site", "till"]
