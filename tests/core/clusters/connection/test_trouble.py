"""Faults in an operator's words, and the rules they name."""

import json
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.clock import utc_now
from core.clusters.connection import pods, rules, trouble
from core.clusters.connection.client import Reply
from core.clusters.connection.trouble import Trouble

GUIDE = Path(__file__).resolve().parents[4] / trouble.GUIDE


def status_body(message: str, code: int = 403) -> bytes:
    return json.dumps({"kind": "Status", "code": code, "message": message}).encode()


def pod(name: str, created: str, **more: Any) -> dict[str, Any]:
    ready = more.pop("ready", "True")
    containers = more.pop("containers", [container("opencost", 9003)])
    return {
        "metadata": {"name": name, "creationTimestamp": created, **more},
        "spec": {"containers": containers},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    }


def container(name: str, *ports: int) -> dict[str, Any]:
    return {"name": name, "image": "i", "ports": [{"containerPort": port} for port in ports]}


class Listing:
    """A client that lists pods by selector."""

    def __init__(self, **by_selector: list[dict[str, Any]]) -> None:
        self._pods = by_selector

    def call(self, path: str, *_: Any) -> Reply:
        key = "helm" if "app.kubernetes.io" in path else "plain"
        body = json.dumps({"items": self._pods.get(key)}).encode()
        return Reply(200, {}, body, utc_now(), utc_now())


def find(**by_selector: list[dict[str, Any]]) -> str:
    listing: Any = Listing(**by_selector)
    return str(pods.find_pod(listing, "opencost", "", 0)["metadata"]["name"])


def test_a_refusal_names_the_missing_rule() -> None:
    said = 'pods "p" is forbidden: User "u" cannot get resource "pods/exec" in API group ""'
    problem = trouble.of_status(403, status_body(said), rules.exec_in_pods("opencost"), "exec")
    assert problem.step == "permission"
    assert "cannot get resource" in problem.message
    assert 'resources: ["pods/exec"], verbs: [get, create]' in problem.cure


def test_a_refusal_without_reason_is_explained_for_1_35() -> None:
    body = status_body('pods "opencost-7d9" is forbidden: ')
    problem = trouble.of_status(403, body, rules.exec_in_pods("opencost"), "exec")
    assert "1.35" in problem.message
    assert "create" in problem.message


def test_refused_credentials_name_the_cure_and_are_not_tried_again() -> None:
    body = status_body("Unauthorized", 401)
    problem = trouble.of_status(401, body, rules.list_pods("opencost"), "pod")
    assert (problem.step, problem.transient) == ("credentials", False)
    assert "--kubeconfig" in problem.cure


@pytest.mark.parametrize(("status", "transient"), [(404, False), (429, True), (503, True)])
def test_only_what_may_pass_is_tried_again(status: int, *, transient: bool) -> None:
    body = status_body("no", status)
    problem = trouble.of_status(status, body, rules.list_pods("opencost"), "pod")
    assert problem.transient is transient


def certificate_fault(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError("certificate verify failed")
    error.verify_code, error.verify_message = code, "unable to"
    return error


@pytest.mark.parametrize(
    ("code", "words"),
    [(10, "expired"), (20, "another CA"), (62, "another host name"), (99, "is refused: unable to")],
)
def test_a_certificate_fault_is_named(code: int, words: str) -> None:
    try:
        try:
            raise certificate_fault(code)
        except ssl.SSLError as inner:
            raise RuntimeError("as libraries wrap it") from inner
    except RuntimeError as error:
        problem = trouble.of_network(error, "pod")
    assert problem.step == "tls"
    assert words in problem.message
    assert problem.cure


def test_network_faults_have_a_step_and_a_cure() -> None:
    for error in (
        ConnectionRefusedError(111, "refused"),
        TimeoutError(),
        ConnectionResetError(104, "reset"),
        socket.gaierror(socket.EAI_NONAME, "unknown"),
        OSError(113, "No route to host"),
        ssl.SSLError(1, "wrong version number"),
    ):
        problem = trouble.of_network(error, "connect")
        assert problem.step in ("connect", "tls")
        assert problem.cure


def test_foreign_text_is_shortened_to_one_clean_line() -> None:
    assert trouble.short("a\x1b[31m\n\tb" + "c" * 1000).startswith("a [31m bccc")
    assert len(trouble.short("c" * 1000)) == trouble.SHORT_CHARS


def test_the_newest_ready_pod_is_taken() -> None:
    old, new = pod("old", "2026-01-01T00:00:00Z"), pod("new", "2026-02-01T00:00:00Z")
    starting = pod("starting", "2026-03-01T00:00:00Z", ready="False")
    ending = pod("ending", "2026-04-01T00:00:00Z", deletionTimestamp="2026-04-02T00:00:00Z")
    assert find(helm=[old, ending, new, starting]) == "new"


def test_the_plain_manifest_s_label_is_tried_second() -> None:
    assert find(plain=[pod("plain", "2026-01-01T00:00:00Z")]) == "plain"


def test_pods_that_are_not_ready_are_shown_with_their_state() -> None:
    crashing = pod("p", "2026-01-01T00:00:00Z", ready="False")
    waiting = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    crashing["status"]["containerStatuses"] = [waiting]
    with pytest.raises(Trouble, match=r"p \(CrashLoopBackOff\)"):
        find(helm=[crashing])


def test_no_pod_at_all_names_the_labels() -> None:
    with pytest.raises(Trouble, match=r"app\.kubernetes\.io/name=opencost or app=opencost"):
        find()


def test_the_container_is_chosen_by_its_port_and_never_by_its_name() -> None:
    containers = [container("opencost-ui", 9090), container("hopsworks-release-opencost", 9003)]
    two = pod("p", "2026-01-01T00:00:00Z", containers=containers)
    assert pods.choose_container(two, 9003, None, "n").container == "hopsworks-release-opencost"
    assert pods.choose_container(two, 9003, "opencost-ui", "n").container == "opencost-ui"
    for port, wished in ((9999, None), (9003, "gone")):
        with pytest.raises(Trouble, match="opencost-ui, hopsworks-release-opencost"):
            pods.choose_container(two, port, wished, "n")


def test_the_guide_grants_exactly_what_we_ask_for() -> None:
    blocks = GUIDE.read_text().split("```yaml\n")[1:]
    manifests = [list(yaml.safe_load_all(block.split("```")[0])) for block in blocks]
    asked = [
        [rules.list_pods("opencost"), rules.exec_in_pods("opencost")],
        [rules.use_service_proxy("opencost", "opencost", 9003)],
    ]
    for documents, wanted in zip(manifests, asked, strict=True):
        kinds = {document["kind"]: document for document in documents}
        assert set(kinds) == {"ServiceAccount", "Role", "RoleBinding", "Secret"}
        assert {document["metadata"]["namespace"] for document in documents} == {"opencost"}
        granted = [
            (r["apiGroups"], r["resources"], r.get("resourceNames", []), r["verbs"])
            for r in kinds["Role"]["rules"]
        ]
        assert granted == [
            ([""], [r.resource], [r.name] if r.name else [], list(r.verbs)) for r in wanted
        ]
        bound = kinds["RoleBinding"]
        assert bound["roleRef"]["name"] == kinds["Role"]["metadata"]["name"]
        assert bound["subjects"][0]["name"] == kinds["ServiceAccount"]["metadata"]["name"]
        owner = kinds["Secret"]["metadata"]["annotations"]["kubernetes.io/service-account.name"]
        assert owner == kinds["ServiceAccount"]["metadata"]["name"]


def test_a_rule_is_spelled_as_yaml() -> None:
    rule = rules.use_service_proxy("opencost", "opencost", 9003)
    line = yaml.safe_load(rule.text().partition(" in namespace")[0])
    assert line[0]["resourceNames"] == ["opencost:9003"]
