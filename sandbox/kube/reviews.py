"""`kubectl auth can-i` and `whoami`: SelfSubjectAccessReview, which kubectl sends as protobuf, and
SelfSubjectReview.
"""

import json

from sandbox.kube import status
from sandbox.kube.identity import Attributes, User, allows
from sandbox.wire import Response

WHO_AM_I = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
WHO_AM_I_SINCE = 28
"""Of Kubernetes 1."""
_PROTOBUF_MAGIC = b"k8s\x00"
_ATTRIBUTES = ("namespace", "verb", "group", "version", "resource", "subresource", "name")
"""ResourceAttributes: the fields 1 to 7 of k8s.io/api/authorization/v1/generated.proto."""
_RAW, _SPEC, _RESOURCE_ATTRIBUTES = 2, 2, 1
"""runtime.Unknown.raw, SelfSubjectAccessReview.spec, spec.resourceAttributes."""


def review(body: bytes, user: User) -> Response:
    """Answer whether the one who asks may do what stands in the review."""
    try:
        resource = _asked(body)
    except (ValueError, KeyError, TypeError, IndexError):
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
        "spec": {"resourceAttributes": resource},
        "status": {"allowed": allows(user, attributes), "reason": ""},
    }
    return status.as_json(answer, 201)


def who_am_i(user: User, version: str) -> Response:
    """Answer who asks; older servers have no such resource."""
    if int(version.split(".")[1]) < WHO_AM_I_SINCE:
        return status.refusal(404, "the server could not find the requested resource", {})
    answer = {
        "kind": "SelfSubjectReview",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {},
        "status": {"userInfo": {"username": user.name, "groups": ["system:authenticated"]}},
    }
    return status.as_json(answer, 201)


def _asked(body: bytes) -> dict[str, str]:
    if not body.startswith(_PROTOBUF_MAGIC):
        return dict(json.loads(body)["spec"].get("resourceAttributes") or {})
    raw = _fields(body[len(_PROTOBUF_MAGIC) :])[_RAW]
    attributes = _fields(_fields(raw)[_SPEC]).get(_RESOURCE_ATTRIBUTES, b"")
    fields = _fields(attributes)
    return {
        name: fields[number].decode()
        for number, name in enumerate(_ATTRIBUTES, start=1)
        if fields.get(number)
    }


def _fields(message: bytes) -> dict[int, bytes]:
    """Return the length-delimited fields of a protobuf message; numbers are passed over."""
    fields: dict[int, bytes] = {}
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        if key & 7 == 0:
            _, position = _varint(message, position)
        elif key & 7 == 2:
            length, position = _varint(message, position)
            fields[key >> 3] = message[position : position + length]
            position += length
        else:
            raise ValueError(f"wire type {key & 7}")
    return fields


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
