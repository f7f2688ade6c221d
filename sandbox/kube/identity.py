"""Who asks, and what RBAC lets them do."""

import base64
import json
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

TOKEN_LIFE = timedelta(days=365)
ANONYMOUS = "system:anonymous"


@dataclass(frozen=True)
class Rule:
    """One rule of a Role; `namespace` "*" makes it one of a ClusterRole."""

    verbs: tuple[str, ...]
    resources: tuple[str, ...]
    namespace: str = "opencost"
    names: tuple[str, ...] = ()
    groups: tuple[str, ...] = ("",)


def role(name: str, opencost_namespace: str, service: str, port: int) -> tuple[Rule, ...]:
    """Return the rules of a role that the sandbox knows by name; see ROLES."""
    here = opencost_namespace
    pods = Rule(("get", "list"), ("pods",), here)
    match name:
        case "exec":
            return pods, Rule(("get", "create"), ("pods/exec",), here)
        case "exec-get-only":
            return pods, Rule(("get",), ("pods/exec",), here)
        case "exec-no-list":
            return (Rule(("get", "create"), ("pods/exec",), here),)
        case "pods-only":
            return (pods,)
        case "proxy":
            return (Rule(("get",), ("services/proxy",), here, (f"{service}:{port}",)),)
        case "nothing":
            return ()
        case "admin":
            return (Rule(("*",), ("*",), "*", (), ("*",)),)
    raise ValueError(f"no role is called {name!r}; there are {', '.join(ROLES)}")


ROLES = ("exec", "exec-get-only", "exec-no-list", "pods-only", "proxy", "nothing", "admin")


@dataclass(frozen=True)
class User:
    name: str
    rules: tuple[Rule, ...] = ()

    @property
    def is_anonymous(self) -> bool:
        return self.name == ANONYMOUS


@dataclass(frozen=True)
class Attributes:
    """What is asked of RBAC."""

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""
    group: str = ""


def allows(user: User, asked: Attributes) -> bool:
    return any(_rule_allows(rule, asked) for rule in user.rules)


def _rule_allows(rule: Rule, asked: Attributes) -> bool:
    return (
        _holds(rule.verbs, asked.verb)
        and _holds(rule.resources, asked.resource)
        and _holds(rule.groups, asked.group)
        and rule.namespace in ("*", asked.namespace)
        and (not rule.names or asked.name in rule.names)
    )


def _holds(values: tuple[str, ...], value: str) -> bool:
    return "*" in values or value in values


@dataclass(frozen=True)
class _Token:
    user: User
    expires_at: datetime


@dataclass
class Identities:
    """The users of one cluster and their tokens."""

    now: Callable[[], datetime]
    _tokens: dict[str, _Token] = field(default_factory=dict, repr=False)
    _users: dict[str, User] = field(default_factory=dict)

    def add(self, user: User) -> None:
        self._users[user.name] = user

    def token(self, user: User, namespace: str, expires_at: datetime) -> str:
        """Return a bearer token of the shape of a ServiceAccount's: a JWT with `exp`."""
        self.add(user)
        claims = {
            "aud": ["https://kubernetes.default.svc.cluster.local"],
            "exp": int(expires_at.timestamp()),
            "iat": int(self.now().timestamp()),
            "iss": "https://kubernetes.default.svc.cluster.local",
            "kubernetes.io": {"namespace": namespace},
            "sub": user.name,
        }
        text = ".".join(
            [
                _segment({"alg": "RS256", "kid": "sandbox"}),
                _segment(claims),
                secrets.token_urlsafe(),
            ]
        )
        self._tokens[text] = _Token(user, expires_at)
        return text

    def revoke_all(self) -> None:
        self._tokens.clear()
        self._users.clear()

    def of(self, authorization: str, tls: ssl.SSLObject | None) -> User | None:
        """Return who asks; anonymous without credentials, None (401) with ones that fail."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer" and token:
            known = self._tokens.get(token.strip())
            return known.user if known and known.expires_at > self.now() else None
        certificate = tls.getpeercert() if tls else None
        if certificate:
            return self._by_certificate(certificate)
        return User(ANONYMOUS)

    def _by_certificate(self, certificate: dict[str, Any]) -> User | None:
        if ssl.cert_time_to_seconds(certificate["notAfter"]) <= self.now().timestamp():
            return None
        subject = dict(pair for part in certificate["subject"] for pair in part)
        name = subject["commonName"]
        return self._users.get(name, User(name))


def _segment(value: dict[str, Any]) -> str:
    text = json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()
