from tests.core.metering.site import begun, site

__all__ = ["begun", "site"]
