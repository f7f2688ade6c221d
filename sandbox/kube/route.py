"""Which object a path names."""

import re
from dataclasses import dataclass

_PATH = re.compile(
    r"/api/v1"
    r"(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<resource>pods|services)"
    r"(?:/(?P<named>[^/]+)(?:/(?P<sub>exec|proxy)(?P<rest>/.*)?)?)?"
)
_NAMESPACES = re.compile(r"/api/v1/namespaces(?:/(?P<named>[^/]+))?")


@dataclass(frozen=True)
class Route:
    resource: str
    namespace: str = ""
    named: str = ""
    """The name as the path has it: for a proxy `[scheme:]name[:port]`, which RBAC compares."""
    subresource: str = ""
    rest: str = ""
    """What stands behind `/proxy`."""

    @property
    def name(self) -> str:
        parts = self.named.split(":")
        return parts[1] if len(parts) == 3 else parts[0]

    @property
    def port(self) -> str:
        parts = self.named.split(":")
        return parts[-1] if len(parts) > 1 else ""


def find_route(path: str) -> Route | None:
    if match := _NAMESPACES.fullmatch(path):
        return Route("namespaces", "", match["named"] or "")
    if match := _PATH.fullmatch(path):
        return Route(
            match["resource"],
            match["namespace"] or "",
            match["named"] or "",
            match["sub"] or "",
            match["rest"] or ("/" if match["sub"] == "proxy" else ""),
        )
    return None
