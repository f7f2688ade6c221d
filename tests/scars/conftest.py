from tests.core.billing.stripe.till import till
from tests.core.metering.site import site

__all__ = ["site", "till"]
