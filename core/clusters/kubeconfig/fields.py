"""Which fields a kubeconfig may have; any other is refused by name.

A field that nobody here knows may mean something to a client of tomorrow, so the tables are
complete: taken, harmless (and dropped), or refused with a reason. A refused field is refused
whatever its value, an empty one too.
"""

import re
from dataclasses import dataclass

from core.clusters.kubeconfig.refusal import refuse, shown_field
from core.clusters.kubeconfig.strict_yaml import Section
from core.errors import KubeconfigRefused
from core.secret import Secret

TEXT_CHARS_MAX = 2048
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")

_SERVICE_ACCOUNT = "Use the token of a service account, or a client certificate."
_EMBED = (
    "Embed what they hold: `kubectl config view --raw --flatten --minify` prints such a kubeconfig."
)


@dataclass(frozen=True, slots=True)
class _Reason:
    fault: str
    wrong: str
    cure: str


_EXEC = _Reason(
    "exec-plugin", "`exec` names a program to run on the daemon's host.", _SERVICE_ACCOUNT
)
_PROVIDER = _Reason(
    "auth-provider",
    "`auth-provider` runs a program or asks a server of its own for a token.",
    _SERVICE_ACCOUNT,
)
_FILE = _Reason(
    "file-reference", "It names files, which would be read on the daemon's host.", _EMBED
)
_BASIC = _Reason(
    "basic-auth", "It has a user name or password; Kubernetes took them away.", _SERVICE_ACCOUNT
)
_IMPERSONATION = _Reason(
    "impersonation",
    "It acts as somebody else (`as…`), which the client ignores: it would act as the wrong one.",
    "Use credentials of the account itself.",
)
_PROXY = _Reason(
    "proxy-url",
    "`proxy-url` would send the credentials by way of another host.",
    "Give a server that the daemon's host reaches directly.",
)

_TAKEN = {
    "top": {"apiVersion", "kind", "clusters", "contexts", "users", "current-context"},
    "cluster": {
        "server",
        "certificate-authority-data",
        "tls-server-name",
        "insecure-skip-tls-verify",
    },
    "user": {"token", "client-certificate-data", "client-key-data"},
    "context": {"cluster", "user", "namespace"},
}
_HARMLESS = {
    "top": {"preferences", "extensions", "colors"},
    "cluster": {"extensions", "disable-compression"},
    "user": {"extensions"},
    "context": {"extensions"},
}
_REFUSED = {
    "top": dict[str, _Reason](),
    "cluster": {"certificate-authority": _FILE, "proxy-url": _PROXY},
    "user": {
        "exec": _EXEC,
        "auth-provider": _PROVIDER,
        "tokenFile": _FILE,
        "client-certificate": _FILE,
        "client-key": _FILE,
        "auth-path": _FILE,
        "username": _BASIC,
        "password": _BASIC,
        "as": _IMPERSONATION,
        "as-uid": _IMPERSONATION,
        "as-groups": _IMPERSONATION,
        "as-user-extra": _IMPERSONATION,
    },
    "context": dict[str, _Reason](),
}


def check_fields(section: Section, kind: str) -> None:
    """Raise KubeconfigRefused if a section (`top`, `cluster`, `user`, `context`) has another."""
    refused = _REFUSED[kind]
    for name, reason in refused.items():
        if name in section:
            raise refuse(reason.fault, reason.wrong, reason.cure)
    for name in section.names():
        if name not in _TAKEN[kind] and name not in _HARMLESS[kind]:
            raise unknown_field(section, name)
    skips = section.get("insecure-skip-tls-verify")
    # The client takes any value that is not empty for "yes", the string "false" too.
    if skips is not None and skips is not False:
        raise refuse(
            "insecure-skip-tls-verify",
            "It switches off the check of the server's certificate.",
            "Remove the field, and embed the server's CA as certificate-authority-data.",
        )


def unknown_field(section: Section, name: str) -> KubeconfigRefused:
    return refuse(
        "unknown-field",
        f"{section.path or 'It'} has a field {shown_field(name)} that hopsmeter does not know.",
        "Remove it; if the cluster needs it, hopsmeter cannot use this kubeconfig.",
    )


def text(section: Section, name: str) -> str | None:
    """Return a field that is no secret, without the blanks around it; None where it is empty."""
    value = secret(section, name)
    if value is None:
        return None
    plain = value.reveal_text()
    if len(plain) > TEXT_CHARS_MAX or _UNPRINTABLE.search(plain):
        raise refuse(
            "wrong-type",
            f"{_where(section, name)} is too long or has characters that do not belong there.",
            "Write it anew.",
        )
    return plain


def secret(section: Section, name: str) -> Secret | None:
    """Return a text field, without the blanks around it; None where it is absent or empty."""
    value = section.get(name)
    if value is None:
        return None
    if not isinstance(value, Secret):
        raise refuse(
            "wrong-type", f"{_where(section, name)} is no text.", "Put its value in quotes."
        )
    # A newline at the end comes with every paste; it broke a login for days once.
    return Secret(value.reveal().strip()) if value.reveal().strip() else None


def _where(section: Section, name: str) -> str:
    return f"{section.path}.{name}" if section.path else name
