"""Whatever is done to a kubeconfig: it is refused by name, or nothing forbidden comes through."""

import json
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from core.clusters.kubeconfig import Kubeconfig, read_kubeconfig
from core.errors import KubeconfigRefused
from tests.core.clusters.kubeconfigs import NOW, by_certificate, by_token, kubeconfig

FORBIDDEN = {
    "user": (
        *("exec", "auth-provider", "tokenFile", "client-certificate", "client-key", "auth-path"),
        *("username", "password", "as", "as-uid", "as-groups", "as-user-extra"),
    ),
    "cluster": ("certificate-authority", "proxy-url"),
}
MAY_REMAIN = {
    "cluster": {"server", "certificate-authority-data", "tls-server-name"},
    "user": {"token", "client-certificate-data", "client-key-data"},
    "context": {"cluster", "user", "namespace"},
}

words = st.sampled_from(
    ["", "x", "false", "/etc/shadow", "https://169.254.169.254", "http://x", "https://x", "eu-1"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | words | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "command", "x"]), inner, max_size=3)
    ),
    max_leaves=4,
)
users = st.sampled_from([by_token(), by_certificate(), {}])


def read(text: str | bytes) -> Kubeconfig | None:
    try:
        return read_kubeconfig(text, now=NOW)
    except KubeconfigRefused as fault:
        assert fault.fault  # noqa: PT017  the other way out is as right
        return None


def assert_nothing_forbidden_in(taken: Kubeconfig) -> None:
    kept = json.loads(taken.minimal_document().reveal())
    assert taken.server.startswith("https://")
    assert "169.254" not in taken.server
    for kind, allowed in MAY_REMAIN.items():
        (entry,) = kept[f"{kind}s"]
        assert set(entry[kind]) <= allowed
    assert bool(taken.token) != bool(taken.client_key_pem)


@given(data=st.data(), user=users, value=values)
def test_a_forbidden_field_never_comes_through(
    data: st.DataObject, user: dict[str, Any], value: Any
) -> None:
    kind = data.draw(st.sampled_from(sorted(FORBIDDEN)))
    field = data.draw(st.sampled_from(FORBIDDEN[kind]))
    document = kubeconfig(user=dict(user))
    document[f"{kind}s"][0][kind][field] = value
    assert read(json.dumps(document)) is None
    assert read(yaml.safe_dump(document)) is None


@given(data=st.data(), user=users)
def test_random_changes_are_refused_or_harmless(data: st.DataObject, user: dict[str, Any]) -> None:
    document: Any = json.loads(json.dumps(kubeconfig(user=user)))
    for _ in range(data.draw(st.integers(1, 3))):
        node = document
        while isinstance(node, dict | list) and node:
            keys = list(node) if isinstance(node, dict) else range(len(node))
            key: Any = data.draw(st.sampled_from(list(keys)))
            deeper = node[key]
            if not isinstance(deeper, dict | list) or not deeper or data.draw(st.booleans()):
                if data.draw(st.booleans()):
                    node[key] = data.draw(values)
                else:
                    del node[key]
                break
            node = deeper
    taken = read(json.dumps(document))
    if taken is not None:
        assert_nothing_forbidden_in(taken)


@given(data=st.data(), user=users)
def test_damaged_text_is_refused_or_harmless(data: st.DataObject, user: dict[str, Any]) -> None:
    text = bytearray(yaml.safe_dump(kubeconfig(user=user)).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    taken = read(bytes(text[: data.draw(st.integers(0, len(text)))]))
    whole = read(bytes(text))
    for each in (taken, whole):
        if each is not None:
            assert_nothing_forbidden_in(each)


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    assert read(text) is None
