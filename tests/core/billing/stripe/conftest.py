from tests.core.billing.stripe.till import till

__all__ = ["till"]
