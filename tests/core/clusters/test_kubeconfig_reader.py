"""The strict reader: what it takes, and every fault by its name."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from kubernetes.config import new_client_from_config_dict

from core.clusters.kubeconfig import Kubeconfig, read_kubeconfig
from core.clusters.kubeconfig.strict_yaml import DOCUMENT_BYTES_MAX
from core.errors import KubeconfigRefused
from tests.core.clusters.kubeconfigs import (
    NOW,
    SERVER,
    b64,
    by_certificate,
    by_token,
    issue,
    jwt,
    kubeconfig,
)


def read(document: dict[str, Any] | str | bytes, **options: Any) -> Kubeconfig:
    if isinstance(document, dict):
        document = yaml.safe_dump(document)
    return read_kubeconfig(document, now=NOW, **options)


def refused(document: dict[str, Any] | str | bytes, **options: Any) -> KubeconfigRefused:
    with pytest.raises(KubeconfigRefused) as caught:
        read(document, **options)
    assert f"({caught.value.fault})" in caught.value.message
    assert caught.value.message.endswith("See docs/cluster-setup.md.")
    return caught.value


# ── what is taken ───────────────────────────────────────────────────────────────────────────


def test_a_token_kubeconfig_is_read_whole() -> None:
    expiry = NOW + timedelta(days=30)
    token = jwt(exp=int(expiry.timestamp()))
    taken = read(
        kubeconfig(
            user=by_token(token),
            cluster={"tls-server-name": "kubernetes", "insecure-skip-tls-verify": False},
            context={"namespace": "opencost"},
        )
    )
    assert taken.server == SERVER
    assert taken.ca_pem == issue("ca").certificate.decode()
    assert taken.token
    assert taken.token.reveal_text() == token
    assert (taken.client_cert_pem, taken.client_key_pem) == (None, None)
    assert (taken.tls_server_name, taken.namespace) == ("kubernetes", "opencost")
    assert taken.expires_at == expiry


@pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519"])
def test_a_certificate_kubeconfig_is_read_whole(kind: str) -> None:
    issued = issue(kind=kind)
    taken = read(kubeconfig(user=by_certificate(issued)))
    assert taken.token is None
    assert taken.client_cert_pem == issued.certificate.decode()
    assert taken.client_key_pem
    assert taken.client_key_pem.reveal() == issued.key
    assert taken.expires_at == issued.not_after


@pytest.mark.parametrize(
    "token", ["opaque-0123456789abcdef", jwt(sub="x"), "a.b.c", jwt(exp="soon")]
)
def test_a_token_without_expiry_is_taken_without_one(token: str) -> None:
    assert read(kubeconfig(user=by_token(token))).expires_at is None


def test_a_newline_pasted_after_a_token_is_forgiven() -> None:
    text = yaml.safe_dump(kubeconfig(user=by_token("put-here"))).replace(
        "token: put-here", "token: |\n      abc.def\n"
    )
    token = read(text).token
    assert token
    assert token.reveal() == b"abc.def"


def test_base64_broken_over_lines_is_put_together() -> None:
    broken = "\n".join(base64.encodebytes(issue("ca").certificate).decode().splitlines())
    taken = read(kubeconfig(cluster={"certificate-authority-data": broken}))
    assert taken.ca_pem == issue("ca").certificate.decode()


def test_harmless_fields_are_dropped() -> None:
    taken = read(
        kubeconfig(
            cluster={"disable-compression": True, "extensions": [{"name": "minikube.sigs.k8s.io"}]},
            preferences={"colors": True},
            extensions=[{"name": "x", "extension": {"exec": "not ours"}}],
        )
    )
    kept = json.loads(taken.minimal_document().reveal())
    assert set(kept) == {"apiVersion", "kind", "clusters", "contexts", "users", "current-context"}
    assert set(kept["clusters"][0]["cluster"]) == {"server", "certificate-authority-data"}


@pytest.mark.parametrize("user", [by_token(), by_certificate()])
def test_the_minimal_document_reads_as_itself(user: dict[str, Any]) -> None:
    taken = read(kubeconfig(user=user, context={"namespace": "opencost"}))
    again = read(taken.minimal_document().reveal())
    assert again == taken
    assert again.minimal_document() == taken.minimal_document()


def test_the_kubernetes_client_understands_the_minimal_document(tmp_path: Path) -> None:
    taken = read(kubeconfig(user=by_token("abc"), cluster={"tls-server-name": "kubernetes"}))
    client = new_client_from_config_dict(  # type: ignore[no-untyped-call]  # it has no types
        json.loads(taken.minimal_document().reveal()),
        persist_config=False,
        temp_file_path=str(tmp_path),
    )
    used = client.configuration
    assert (used.host, used.verify_ssl, used.tls_server_name) == (SERVER, True, "kubernetes")
    assert used.api_key == {"BearerToken": "Bearer abc"}
    assert Path(used.ssl_ca_cert).read_text() == taken.ca_pem
    assert (used.cert_file, used.key_file, used.proxy) == (None, None, None)


def test_only_the_chosen_context_is_kept() -> None:
    document = kubeconfig(user=by_token("ours"))
    document["users"].append({"name": "eks", "user": {"exec": {"command": "aws"}}})
    document["contexts"].append({"name": "eks", "context": {"cluster": "eu-1", "user": "eks"}})
    kept = read(document).minimal_document().reveal()
    assert b"aws" not in kept
    assert b"eks" not in kept
    assert refused(document, context="eks").fault == "exec-plugin"


def test_a_single_context_needs_no_current_one() -> None:
    document = kubeconfig()
    del document["current-context"]
    assert read(document).server == SERVER


# ── what is refused: the table of facts ─────────────────────────────────────────────────────

EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "command": "aws", "args": ["eks"]}
FORBIDDEN_USER: list[tuple[str, Any, str]] = [
    ("exec", EXEC, "exec-plugin"),
    ("exec", None, "exec-plugin"),
    ("exec", {}, "exec-plugin"),
    ("auth-provider", {"name": "gcp", "config": {"cmd-path": "/bin/sh"}}, "auth-provider"),
    ("auth-provider", {"name": "oidc"}, "auth-provider"),
    ("tokenFile", "/etc/shadow", "file-reference"),
    ("client-certificate", "/etc/passwd", "file-reference"),
    ("client-key", "key.pem", "file-reference"),
    ("auth-path", "~/.kubernetes_auth", "file-reference"),
    ("username", "admin", "basic-auth"),
    ("password", "hunter2", "basic-auth"),
    ("as", "system:admin", "impersonation"),
    ("as-uid", "0", "impersonation"),
    ("as-groups", ["system:masters"], "impersonation"),
    ("as-user-extra", {"x": ["y"]}, "impersonation"),
    ("Exec", EXEC, "unknown-field"),
    ("token-file", "/etc/shadow", "unknown-field"),
]
FORBIDDEN_CLUSTER: list[tuple[str, Any, str]] = [
    ("certificate-authority", "/etc/ssl/ca.pem", "file-reference"),
    ("proxy-url", "http://proxy:3128", "proxy-url"),
    ("proxy-url", "", "proxy-url"),
    ("insecure-skip-tls-verify", True, "insecure-skip-tls-verify"),
    ("insecure-skip-tls-verify", "false", "insecure-skip-tls-verify"),
    ("insecure-skip-tls-verify", "", "insecure-skip-tls-verify"),
    ("insecure-skip-tls-verify", 0, "insecure-skip-tls-verify"),
    ("insecure-skip-tls-verify", [], "insecure-skip-tls-verify"),
    ("insecure-skip-TLS-verify", True, "unknown-field"),
]


@pytest.mark.parametrize(("field", "value", "fault"), FORBIDDEN_USER)
@pytest.mark.parametrize("rest", [by_token(), by_certificate(), {}], ids=["token", "cert", "none"])
def test_a_forbidden_field_of_the_user_is_refused(
    field: str, value: Any, fault: str, rest: dict[str, Any]
) -> None:
    assert refused(kubeconfig(user={**rest, field: value})).fault == fault


@pytest.mark.parametrize(("field", "value", "fault"), FORBIDDEN_CLUSTER)
def test_a_forbidden_field_of_the_cluster_is_refused(field: str, value: Any, fault: str) -> None:
    assert refused(kubeconfig(cluster={field: value})).fault == fault


def test_unknown_fields_are_refused_wherever_they_stand() -> None:
    at_top = refused(kubeconfig() | {"exec-hooks": []})
    in_context = refused(kubeconfig(context={"impersonate": "x"}))
    document = kubeconfig()
    document["users"][0]["exec"] = EXEC
    beside = refused(document)
    assert {at_top.fault, in_context.fault, beside.fault} == {"unknown-field"}
    assert "`exec-hooks`" in at_top.message


CREDENTIALS: list[tuple[dict[str, Any], str]] = [
    ({}, "no-credentials"),
    ({"token": ""}, "no-credentials"),
    ({"token": "  \n"}, "no-credentials"),
    ({"client-certificate-data": b64(issue().certificate)}, "no-credentials"),
    ({"client-key-data": b64(issue().key)}, "no-credentials"),
    ({**by_token(), **by_certificate()}, "two-credentials"),
    ({**by_token(), "client-key-data": b64(issue().key)}, "two-credentials"),
    ({**by_certificate(), "client-key-data": b64(issue("other").key)}, "key-mismatch"),
    ({**by_certificate(), "client-key-data": b64(b"no key")}, "bad-pem"),
    ({**by_certificate(), "client-certificate-data": b64(issue().key)}, "bad-pem"),
    ({**by_certificate(), "client-certificate-data": issue().certificate.decode()}, "bad-base64"),
    ({"token": 12345}, "wrong-type"),
    ({"token": ["a"]}, "wrong-type"),
    ({"token": {"a": "b"}}, "wrong-type"),
    ({"token": True}, "wrong-type"),
    ({"token": "two words"}, "bad-token"),
    ({"token": "bröken"}, "bad-token"),
    ({"token": "x" * 20_000}, "bad-token"),
    ({"token": b64(jwt(exp=1).encode())}, "bad-token"),
]


@pytest.mark.parametrize(("user", "fault"), CREDENTIALS)
def test_credentials_that_cannot_serve_are_refused(user: dict[str, Any], fault: str) -> None:
    assert refused(kubeconfig(user=user)).fault == fault


def test_a_context_without_user_would_come_unnamed() -> None:
    document = kubeconfig()
    document["users"] = [{"name": "hopsmeter", "user": None}]
    assert refused(document).fault == "no-credentials"
    assert refused(kubeconfig(users=[])).fault == "unknown-user"
    assert refused(kubeconfig(context={"user": None})).fault == "unknown-user"


def test_expired_credentials_are_refused_with_their_date() -> None:
    end = NOW - timedelta(seconds=1)
    token = refused(kubeconfig(user=by_token(jwt(exp=int(end.timestamp())))))
    old = issue(not_before=end - timedelta(days=1), not_after=end)
    certificate = refused(kubeconfig(user=by_certificate(old)))
    authority = refused(kubeconfig(cluster={"certificate-authority-data": b64(old.certificate)}))
    assert {token.fault, certificate.fault, authority.fault} == {"expired"}
    assert "2026-03-01 13:59 UTC" in token.message
    assert "2026-03-01 13:59 UTC" in certificate.message


def test_an_impossible_expiry_is_none() -> None:
    huge = "eyJhIjoxfQ." + base64.urlsafe_b64encode(b'{"exp": 1e400}').decode().rstrip("=") + ".x"
    assert read(kubeconfig(user=by_token(huge))).expires_at is None
    assert read(kubeconfig(user=by_token(jwt(exp=10**30)))).expires_at is None
    assert read(kubeconfig(user=by_token(jwt(exp=True)))).expires_at is None


def test_a_certificate_of_tomorrow_is_refused() -> None:
    ahead = issue(not_before=NOW + timedelta(hours=1))
    a_little = issue(not_before=NOW + timedelta(minutes=2))
    assert refused(kubeconfig(user=by_certificate(ahead))).fault == "not-yet-valid"
    assert read(kubeconfig(user=by_certificate(a_little))).expires_at == a_little.not_after


def test_a_protected_key_is_refused_by_name() -> None:
    pem = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n"
    user = {**by_certificate(), "client-key-data": b64(pem)}
    assert refused(kubeconfig(user=user)).fault == "encrypted-key"


def test_a_cluster_brings_its_own_ca() -> None:
    assert refused(kubeconfig(cluster={"certificate-authority-data": None})).fault == "no-ca"
    assert refused(kubeconfig(cluster={"certificate-authority-data": ""})).fault == "no-ca"
    broken = refused(kubeconfig(cluster={"certificate-authority-data": b64(b"no pem")}))
    assert broken.fault == "bad-pem"


def test_a_certificate_damaged_inside_is_refused_not_tripped_over() -> None:
    der = bytearray(x509.load_pem_x509_certificate(issue().certificate).public_bytes(Encoding.DER))
    seen = set()
    for at in range(len(der)):
        der[at] ^= 0x41
        pem = f"-----BEGIN CERTIFICATE-----\n{b64(bytes(der))}\n-----END CERTIFICATE-----\n"
        der[at] ^= 0x41
        user = {**by_certificate(), "client-certificate-data": b64(pem.encode())}
        try:
            read(json.dumps(kubeconfig(user=user)))
        except KubeconfigRefused as fault:
            seen.add(fault.fault)
    assert "bad-pem" in seen
    assert seen <= {"bad-pem", "key-mismatch", "expired", "not-yet-valid"}


def test_keys_beside_the_ca_are_not_kept() -> None:
    mixed = b"a comment\n" + issue("ca").key + issue("ca").certificate
    taken = read(kubeconfig(cluster={"certificate-authority-data": b64(mixed)}))
    assert taken.ca_pem == issue("ca").certificate.decode()


# ── what is refused: the text ───────────────────────────────────────────────────────────────

BILLION_LAUGHS = "a: &a [x,x,x]\nb: &b [*a,*a,*a]\nclusters: *b\n"
TEXTS = {
    "alias": (BILLION_LAUGHS, "yaml-alias"),
    "anchor": ("clusters: &x []\ncontexts: []\n", "yaml-alias"),
    "tag": ("!!python/object/apply:os.system ['id']", "yaml-tag"),
    "string tag": ("clusters: !!str x", "yaml-tag"),
    "bare tag": ("clusters: ! x", "yaml-tag"),
    "merge": ("clusters: []\ncontexts: []\n<<: {users: []}\n", "yaml-merge"),
    "number as key": ("1: 2\n", "wrong-type"),
    "list as key": ("? [a]\n: b\n", "wrong-type"),
    "two documents": ("a: b\n---\nc: d\n", "several-documents"),
    "deep": ("[" * 40 + "]" * 40, "too-deep"),
    "very deep": ("[" * 100_000, "too-deep"),
    "large": ("#" * (DOCUMENT_BYTES_MAX + 1), "too-large"),
    "crowded": ("a: [" + "1," * 100_000 + "]", "too-large"),
    "no yaml": ("clusters: [", "not-yaml"),
    "escape beyond unicode": ('a: "\\U00110000"', "not-yaml"),
    "control": ("a: \x00", "not-yaml"),
    "latin": (b"a: \xff", "not-yaml"),
    "empty": ("", "not-a-kubeconfig"),
    "word": ("hello", "not-a-kubeconfig"),
    "list": ("- clusters", "not-a-kubeconfig"),
    "other kind": ("kind: Pod\nclusters: []\ncontexts: []\n", "not-a-kubeconfig"),
    "duplicate": ("clusters: []\ncontexts: []\nclusters: []\n", "duplicate-key"),
    "lists of words": ("clusters: [a]\ncontexts: [b]\n", "wrong-type"),
    "mapping for list": ("clusters: {a: b}\ncontexts: {a: b}\n", "wrong-type"),
}


@pytest.mark.parametrize(("text", "fault"), TEXTS.values(), ids=TEXTS.keys())
def test_a_text_that_is_no_plain_kubeconfig_is_refused(text: str | bytes, fault: str) -> None:
    assert refused(text).fault == fault


def test_a_duplicate_key_deep_down_is_refused() -> None:
    text = yaml.safe_dump(kubeconfig(user=by_token("good")))
    doubled = text.replace("token: good", "token: good\n    token: evil")
    assert refused(doubled).fault == "duplicate-key"


def test_an_empty_entry_for_a_cluster_is_refused() -> None:
    assert refused(kubeconfig(clusters=[{"name": "eu-1"}])).fault == "wrong-type"
    assert refused(kubeconfig(clusters=[{"cluster": {}}])).fault == "wrong-type"
    assert refused(kubeconfig(clusters=[])).fault == "unknown-cluster"


@pytest.mark.parametrize("kind", ["clusters", "users", "contexts"])
def test_two_entries_of_one_name_are_refused(kind: str) -> None:
    document = kubeconfig()
    document[kind] *= 2
    # safe_dump would write the same object twice as an alias.
    assert refused(json.dumps(document)).fault == "duplicate-name"


def test_an_unknown_context_is_refused_with_those_there_are() -> None:
    fault = refused(kubeconfig(), context="us-9")
    assert fault.fault == "unknown-context"
    assert "'us-9'" in fault.message
    assert "'eu-1'" in fault.message


def test_names_go_to_the_terminal_escaped() -> None:
    fault = refused(kubeconfig(), context="\x1b[2J")
    assert "\x1b" not in fault.message


@pytest.mark.parametrize(
    ("where", "field", "value"),
    [
        ("context", "namespace", "Not_A_Namespace"),
        ("context", "namespace", "a\nb"),
        ("cluster", "tls-server-name", "a b"),
        ("cluster", "tls-server-name", "ünicode"),
    ],
)
def test_names_that_cannot_be_are_refused(where: str, field: str, value: str) -> None:
    given: dict[str, Any] = {where: {field: value}}
    assert refused(kubeconfig(**given)).fault == "wrong-type"


def test_a_time_without_zone_is_a_bug_not_a_kubeconfig() -> None:
    with pytest.raises(TypeError):
        read_kubeconfig(
            yaml.safe_dump(kubeconfig(user=by_certificate())),
            now=datetime(2026, 3, 1, tzinfo=UTC).replace(tzinfo=None),
        )
