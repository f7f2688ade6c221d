from tests.core.metering.site import site

__all__ = ["site"]
