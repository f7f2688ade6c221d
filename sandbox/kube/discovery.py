"""What the server says it has: the discovery documents that kubectl and clients read first."""

from typing import Any

_VERBS = ["get", "list"]


def _resource(name: str, kind: str, verbs: list[str], *, namespaced: bool = True) -> dict[str, Any]:
    return {
        "name": name,
        "singularName": "" if "/" in name else kind.lower(),
        "namespaced": namespaced,
        "kind": kind,
        "verbs": verbs,
    }


_CORE = [
    _resource("namespaces", "Namespace", _VERBS, namespaced=False) | {"shortNames": ["ns"]},
    _resource("pods", "Pod", _VERBS) | {"shortNames": ["po"], "categories": ["all"]},
    _resource("pods/exec", "PodExecOptions", ["create", "get"]),
    _resource("pods/proxy", "PodProxyOptions", ["get"]),
    _resource("services", "Service", _VERBS) | {"shortNames": ["svc"], "categories": ["all"]},
    _resource("services/proxy", "ServiceProxyOptions", ["get"]),
]
_AUTHORIZATION = {"groupVersion": "authorization.k8s.io/v1", "version": "v1"}
_GROUP = {
    "name": "authorization.k8s.io",
    "versions": [_AUTHORIZATION],
    "preferredVersion": _AUTHORIZATION,
}

DOCUMENTS: dict[str, dict[str, Any]] = {
    "/api": {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [],
    },
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_GROUP]},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": _CORE},
    "/apis/authorization.k8s.io": {"kind": "APIGroup", "apiVersion": "v1", **_GROUP},
    "/apis/authorization.k8s.io/v1": {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "authorization.k8s.io/v1",
        "resources": [
            _resource(
                "selfsubjectaccessreviews", "SelfSubjectAccessReview", ["create"], namespaced=False
            )
        ],
    },
}


def version(text: str) -> dict[str, str]:
    """Return /version for a server version like 1.36."""
    major, minor = text.split(".")[:2]
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{major}.{minor}.2",
        "gitCommit": "0" * 40,
        "gitTreeState": "clean",
        "buildDate": "2026-06-10T12:00:00Z",
        "goVersion": "go1.25.1",
        "compiler": "gc",
        "platform": "linux/amd64",
    }
