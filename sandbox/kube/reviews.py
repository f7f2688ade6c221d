"""`kubectl auth can-i`: SelfSubjectAccessReview."""

import json

from sandbox.kube import status
from sandbox.kube.identity import Attributes, User, allows
from sandbox.wire import Response


def review(body: bytes, user: User) -> Response:
    """Answer whether the one who asks may do what stands in the review."""
    try:
        asked = json.loads(body)
        spec = asked["spec"]
        resource = spec.get("resourceAttributes") or {}
    except (ValueError, KeyError, TypeError):
        return status.refusal(400, "the object provided is unrecognized", {})
    kind = resource.get("resource", "")
    if resource.get("subresource"):
        kind = f"{kind}/{resource['subresource']}"
    attributes = Attributes(
        verb=resource.get("verb", ""),
        resource=kind,
        namespace=resource.get("namespace", ""),
        name=resource.get("name", ""),
        group=resource.get("group", ""),
    )
    answer = {
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "metadata": {},
        "spec": spec,
        "status": {"allowed": allows(user, attributes), "reason": ""},
    }
    return status.as_json(answer, 201)
