"""metav1.Status, the one shape of every refusal."""

import json
from typing import Any

from sandbox.kube.identity import Attributes, User
from sandbox.wire import Response

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    500: "InternalError",
    503: "ServiceUnavailable",
}


def refusal(code: int, message: str, details: dict[str, Any] | None = None) -> Response:
    status: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": REASONS[code],
    }
    if details is not None:
        status["details"] = details
    status["code"] = code
    return as_json(status, code)


def as_json(value: Any, status: int = 200) -> Response:
    return Response(status, (json.dumps(value, separators=(",", ":")) + "\n").encode())


def unauthorized() -> Response:
    return refusal(401, "Unauthorized")


def not_found(kind: str, name: str) -> Response:
    return refusal(404, f'{kind} "{name}" not found', {"name": name, "kind": kind})


def forbidden(user: User, asked: Attributes) -> Response:
    """Refuse as RBAC does, saying who may not do what, where."""
    kind = asked.resource.split("/", maxsplit=1)[0]
    target = f'{kind} "{asked.name}"' if asked.name else kind
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    reason = (
        f'User "{user.name}" cannot {asked.verb} resource "{asked.resource}" '
        f'in API group "{asked.group}" {where}'
    )
    details = {"name": asked.name, "kind": kind} if asked.name else {"kind": kind}
    return refusal(403, f"{target} is forbidden: {reason}", details)


def forbidden_without_reason(pod: str) -> Response:
    """Refuse as Kubernetes 1.35 does when `create` on pods/exec is missing: it says nothing."""
    return refusal(403, f'pods "{pod}" is forbidden: ', {"name": pod, "kind": "pods"})


def forbidden_path(user: User, path: str) -> Response:
    return refusal(403, f'forbidden: User "{user.name}" cannot get path "{path}"', {})
