"""Label selectors: taken and refused as Kubernetes does."""

import pytest

from core.clusters.selector import SELECTOR_CHARS_MAX, selector_fault


@pytest.mark.parametrize(
    "text",
    [
        "",
        "app=opencost",
        "app == opencost",
        "app!=opencost,tier=",
        "app.kubernetes.io/name=opencost,app.kubernetes.io/instance in (opencost, costs)",
        "tier notin (a,b) , app",
        "tier in (a,)",
        "!tier",
        "app,!tier,a_b.C-d=1",
    ],
)
def test_what_kubernetes_takes_is_taken(text: str) -> None:
    assert selector_fault(text) == ""


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("!!", "'!!'"),
        ("!", "'!'"),
        (" ", "''"),
        ("app=opencost,", "''"),
        (",app", "''"),
        ("app=a=b", "'app=a=b'"),
        ("app=a b", "'app=a b'"),
        ("app=a\nb", r"'app=a\nb'"),
        ("app===a", "'app===a'"),
        ("!app=a", "'!app=a'"),
        ("app in ()", "'app in ()'"),
        ("app in (a", "'app in (a'"),
        ("app in a", "'app in a'"),
        ("app=(a)", "'app=(a)'"),
        ("-app=a", "'-app=a'"),
        ("app=a-", "'app=a-'"),
        ("App.IO/name=a", "'App.IO/name=a'"),
        ("a/b/c=d", "'a/b/c=d'"),
        ("k" * 64, "kkk"),
        ("k=" + "v" * 64, "vvv"),
        (".".join(["a" * 60] * 5) + "/k=v", "aaa"),
    ],
)
def test_what_kubernetes_refuses_is_refused_with_the_part_that_is_wrong(
    text: str, part: str
) -> None:
    fault = selector_fault(text)
    assert part in fault
    assert "neither KEY=VALUE" in fault


def test_a_selector_has_an_end() -> None:
    long = ",".join(["k"] * SELECTOR_CHARS_MAX)
    assert "longer than" in selector_fault(long)
    assert selector_fault("a." * 255 + "!")
