"""The least that a cluster must allow us, as RBAC rules."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """One rule of a Role in the OpenCost namespace."""

    namespace: str
    resource: str
    verbs: tuple[str, ...]
    name: str = ""

    def text(self) -> str:
        """Return the rule as one line of YAML, as it goes under `rules:` of the Role."""
        names = f', resourceNames: ["{self.name}"]' if self.name else ""
        verbs = ", ".join(self.verbs)
        return (
            f'- {{apiGroups: [""], resources: ["{self.resource}"]{names}, verbs: [{verbs}]}}'
            f" in namespace {self.namespace}"
        )


def list_pods(namespace: str) -> Rule:
    return Rule(namespace, "pods", ("list",))


def exec_in_pods(namespace: str) -> Rule:
    """Up to Kubernetes 1.34 get is enough; from 1.35 on create is asked for as well."""
    return Rule(namespace, "pods/exec", ("get", "create"))


def use_service_proxy(namespace: str, service: str, port: int) -> Rule:
    return Rule(namespace, "services/proxy", ("get",), service_name(service, port))


def service_name(service: str, port: int) -> str:
    """Return the name as the proxy takes it; one with a colon already says scheme or port."""
    return service if ":" in service else f"{service}:{port}"
