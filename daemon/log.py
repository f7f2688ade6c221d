"""What is written down: for people on a terminal, one JSON object a line everywhere else.

What libraries log goes the same way, and nothing that looks like a secret passes: the last step
reads the finished line, tracebacks included, because nobody knows in advance who will log what.
"""

import logging
import re
import sys
import threading
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

HIDDEN = "***"
_FIRST = ("timestamp", "level", "logger", "event")
_SECRET_NAMES = re.compile(
    r"(?i)password|passwd|secret|token|api_?key|kubeconfig|authorization|private_key|credential"
)
_SECRET_TEXTS = (
    (re.compile(r"(://[^\s:/@\"'\\]*:)[^\s/@\"'\\]+(?=@)"), rf"\g<1>{HIDDEN}"),
    (
        re.compile(r"(?i)(\b(?:password|passwd|sslpassword)\s*=\s*)('[^']*'|[^\s\"'\\&]+)"),
        rf"\g<1>{HIDDEN}",
    ),
    (re.compile(r"(?i)(\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}"), rf"\g<1>{HIDDEN}"),
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
            re.DOTALL,
        ),
        HIDDEN,
    ),
)


def get(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of one part of the daemon."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(f"hopsmeter.{name}")
    return logger


def configure(wanted: str, level: str, stream: TextIO = sys.stderr) -> None:
    """Set up the whole process's log; `wanted` is auto, human or json."""
    human = wanted == "human" or (wanted == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        hide_by_name,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(human, colors=stream.isatty()),
                hide_by_shape,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    chosen = getattr(logging, level.upper())
    # Libraries tell of each request and each retry; that is wanted when looking for a fault only.
    root.setLevel(chosen if chosen == logging.DEBUG else max(chosen, logging.WARNING))
    logging.getLogger("hopsmeter").setLevel(chosen)
    # It tells whole URLs, and the path of a webhook is often what lets one in.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    _log_what_nobody_caught()


def _renderers(human: bool, *, colors: bool) -> list[Processor]:
    """Return the last steps; tracebacks are plain text, since other forms print local variables."""
    if human:
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    return [
        structlog.processors.format_exc_info,
        _in_order,
        structlog.processors.JSONRenderer(default=str),
    ]


def _in_order(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    first = {name: event.pop(name) for name in _FIRST if name in event}
    return {**first, **event}


def hide_by_name(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for name in event:
        if _SECRET_NAMES.search(name) and event[name]:
            event[name] = HIDDEN
    return event


def hide_by_shape(_logger: Any, _method: str, line: Any) -> Any:
    """Replace what looks like a secret in the finished line."""
    for pattern, replacement in _SECRET_TEXTS:
        line = pattern.sub(replacement, line)
    return line


def _log_what_nobody_caught() -> None:
    def in_main(kind: type[BaseException], fault: BaseException, trace: Any) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        get("process").critical("it failed unexpectedly", exc_info=(kind, fault, trace))

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            in_main(args.exc_type, args.exc_value, args.exc_traceback)

    sys.excepthook = in_main
    threading.excepthook = in_thread
