"""Somebody who listens for events on loopback, and checks each as a receiver would, by its own means."""

import base64
import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from core.clock import utc_now

SECRET_TEXT = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@dataclass
class Listener:
    """What came, and what is answered: a status, or something that an answer waits for."""

    url: str = ""
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    before: Callable[[], object] = lambda: None
    after: Callable[[BaseHTTPRequestHandler], object] = lambda _: None

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.came]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.came]

    def must_be_signed(self) -> None:
        """Verify every message with nothing but the secret's text and RFC 2104."""
        key = base64.b64decode(SECRET_TEXT.partition("_")[2])
        padded = key.ljust(64, b"\0")
        inner, outer = (bytes(each ^ pad for each in padded) for pad in (0x36, 0x5C))
        for headers, body in self.came:
            stamp = headers["webhook-timestamp"]
            assert abs(utc_now().timestamp() - int(stamp)) < 300
            text = f"{headers['webhook-id']}.{stamp}.".encode() + body
            mac = hashlib.sha256(outer + hashlib.sha256(inner + text).digest()).digest()
            version, _, said = headers["webhook-signature"].partition(",")
            assert version == "v1"
            assert hmac.compare_digest(base64.b64decode(said), mac)


@contextmanager
def listening(tls: ssl.SSLContext | None = None) -> Iterator[Listener]:
    listener = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            listener.came.append(({name.lower(): at for name, at in self.headers.items()}, body))
            listener.before()
            status = listener.statuses.pop(0) if listener.statuses else 204
            self.send_response(status)
            if status == 302:
                self.send_header("location", listener.url + "elsewhere")
            self.end_headers()
            listener.after(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        scheme = "https" if tls is not None else "http"
        listener.url = f"{scheme}://127.0.0.1:{server.server_port}/hooks/pa55word/"
        try:
            yield listener
        finally:
            server.shutdown()
            thread.join()
