"""YAML as a kubeconfig needs it, and nothing more of YAML than that.

Aliases, anchors, tags and merge keys let a document say what its text does not show (a merge key
smuggles a field in, an alias bomb fills memory); a duplicate key means one thing to this reader
and another to the next. All are refused here, before anything looks at a field.
"""

import yaml
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from core.clusters.kubeconfig.refusal import is_field_like, refuse
from core.secret import Secret

DOCUMENT_BYTES_MAX = 256 * 1024
DEPTH_MAX = 16
EVENTS_MAX = 20_000
"""About two thousand clusters; parsing so many takes a third of a second, and more is no use."""

_STRING_TAG = "tag:yaml.org,2002:str"
_NULL_TAG = "tag:yaml.org,2002:null"
_BOOL_TAG = "tag:yaml.org,2002:bool"
_MERGE_TAG = "tag:yaml.org,2002:merge"


class NotText:
    """A number or a date: no field that we take has such a value."""

    __slots__ = ()


class Section:
    """A mapping that shows its keys and hides its values; `path` says where it stands."""

    __slots__ = ("_values", "path")

    def __init__(self, path: str, values: "dict[str, Value]") -> None:
        self.path, self._values = path, values

    def __repr__(self) -> str:
        return f"<{self.path or 'kubeconfig'}: {len(self._values)} fields>"

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def names(self) -> tuple[str, ...]:
        return tuple(self._values)

    def get(self, name: str) -> "Value":
        return self._values.get(name)


class Listing:
    """A list that hides its items."""

    __slots__ = ("items",)

    def __init__(self, items: "tuple[Value, ...]") -> None:
        self.items = items


Value = Section | Listing | Secret | bool | NotText | None
"""Text comes as Secret: which of the fields are secrets is known only later."""


def parse(document: Secret) -> Value:
    """Read the one document of a text; raise KubeconfigRefused by the name of the fault."""
    if len(document) > DOCUMENT_BYTES_MAX:
        raise refuse(
            "too-large",
            f"It is {len(document)} bytes; a kubeconfig for one cluster stays under "
            f"{DOCUMENT_BYTES_MAX}.",
            "Keep only the one cluster, user and context.",
        )
    try:
        _check_events(document)
        node = yaml.SafeLoader(_text(document)).get_single_node()
    # ValueError: an escape beyond Unicode, which PyYAML hands to chr().
    except (yaml.YAMLError, ValueError) as fault:
        at = getattr(fault, "problem_mark", None)
        # The line number only: a snippet of the text could be the token.
        line = f" (line {at.line + 1})" if at else ""
    else:
        return _value(node, "") if node is not None else None
    raise refuse("not-yaml", f"It is no YAML{line}.", "Was it cut or changed when pasted?")


def _text(document: Secret) -> str:
    try:
        return document.reveal().decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    raise refuse("not-yaml", "It is no UTF-8 text.", "Give the kubeconfig as a text file.")


def _check_events(document: Secret) -> None:
    """Look at the flat stream of events first: building the tree recurses and follows aliases."""
    depth = documents = 0
    events = yaml.parse(_text(document), Loader=yaml.SafeLoader)
    for seen, event in enumerate(events):
        if seen > EVENTS_MAX:
            raise refuse("too-large", "It has far too many fields.", "Keep only the one cluster.")
        documents += isinstance(event, DocumentStartEvent)
        if documents > 1:
            raise refuse(
                "several-documents", "It holds several YAML documents.", "Keep the one you mean."
            )
        depth += isinstance(event, CollectionStartEvent)
        depth -= type(event).__name__ in {"MappingEndEvent", "SequenceEndEvent"}
        if depth > DEPTH_MAX:
            raise refuse(
                "too-deep", f"It is nested more than {DEPTH_MAX} deep.", "A kubeconfig is not."
            )
        if isinstance(event, NodeEvent):
            _check_node_event(event)


def _check_node_event(event: NodeEvent) -> None:
    if isinstance(event, AliasEvent) or event.anchor is not None:
        raise refuse(
            "yaml-alias", "It uses YAML anchors or aliases (&, *).", "Write each value out in full."
        )
    if (
        isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent)
        and event.tag is not None
    ):
        raise refuse("yaml-tag", "It uses YAML tags (!).", "Write plain values.")


def _value(node: yaml.Node, path: str) -> Value:
    if isinstance(node, yaml.MappingNode):
        return _section(node, path)
    if isinstance(node, yaml.SequenceNode):
        return Listing(tuple(_value(item, f"{path}[{n}]") for n, item in enumerate(node.value)))
    if node.tag == _STRING_TAG:
        return Secret(node.value)
    if node.tag == _NULL_TAG:
        return None
    if node.tag == _BOOL_TAG:
        return bool(yaml.SafeLoader.bool_values[node.value.lower()])
    return NotText()


def _section(node: yaml.MappingNode, path: str) -> Section:
    values: dict[str, Value] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag != _STRING_TAG:
            raise refuse(
                "yaml-merge" if key.tag == _MERGE_TAG else "wrong-type",
                f"{path or 'It'} has a key that is no plain word (line {_line(key)}).",
                "Write each field out in full; merge keys (<<) are not taken.",
            )
        if key.value in values:
            raise refuse(
                "duplicate-key",
                f"{path or 'It'} gives a field twice (line {_line(key)}).",
                "Keep one of them.",
            )
        shown = key.value if is_field_like(key.value) else "?"
        values[key.value] = _value(value, f"{path}.{shown}" if path else shown)
    return Section(path, values)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
