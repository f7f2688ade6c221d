"""dj-stripe's webhook view beside our endpoint, on the same server: ours is to be ten times as fast.

    python -m tests.bench.djstripe

Installs dj-stripe from PyPI into a virtual environment of its own, which goes with the run; nothing of
it is a dependency of ours. Its view verifies and stores; its handlers are switched off
(WEBHOOK_EVENT_CALLBACK), as ours work later, too. One process, one thread for each connection.
"""

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from core.db.connect import connect
from tests.bench.test_webhooks import CONNECTIONS, Place, placed, press, pressed
from tests.core.webhooks.sender import SECRET

PACKAGES = ("dj-stripe==2.11.0", "psycopg[binary]", "gunicorn")
ROUNDS, EVENTS = 5, 2_000
RATIO_MIN = 10.0
INSTALL_LIMIT_S, START_LIMIT_S, START_LOOK_S = 600.0, 30.0, 0.1
PORT = 18_493
ENDPOINT = uuid.uuid4()

SETTINGS = """
import os
SECRET_KEY = "bench"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "site_urls"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "djstripe"]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": os.environ["BENCH_NAME"], "CONN_MAX_AGE": None,
    "OPTIONS": {"options": "-c search_path=djstripe"},
    "HOST": os.environ["BENCH_HOST"], "PORT": os.environ["BENCH_PORT"], "USER": os.environ["BENCH_USER"],
}}
STRIPE_TEST_SECRET_KEY = "sk_test_bench"
STRIPE_LIVE_MODE = False
DJSTRIPE_FOREIGN_KEY_TO_FIELD = "id"
DJSTRIPE_WEBHOOK_EVENT_CALLBACK = "site_urls.later"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGGING_CONFIG = None
"""
URLS = """
from django.urls import include, path
urlpatterns = [path("stripe/", include("djstripe.urls", namespace="djstripe"))]
def later(trigger, api_key=None):
    pass
"""
SEED = """
import django, os, sys
django.setup()
from djstripe.models import WebhookEndpoint
WebhookEndpoint.objects.create(id="we_1", livemode=False, api_version="", enabled_events=["*"],
    secret=sys.argv[1], status="enabled", url="https://a.test/", djstripe_uuid=sys.argv[2])
"""
WSGI = "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n"


@contextmanager
def installed() -> Iterator[Path]:
    """Lend a folder with dj-stripe in a virtual environment and a Django site that has its view."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in (("settings", SETTINGS), ("urls", URLS), ("seed", SEED), ("wsgi", WSGI)):
            (folder / f"site_{file}.py").write_text(text)
        _run([sys.executable, "-m", "venv", str(folder / "venv")])
        pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "-q", *PACKAGES]
        _run(pip)
        yield folder


@contextmanager
def serving(folder: Path, place: Place) -> Iterator[None]:
    """Make its tables in a schema of its own, and serve its view."""
    where = conninfo_to_dict(place.url)
    around = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "site_settings",
        "PYTHONPATH": str(folder),
        "BENCH_HOST": str(where["host"]),
        "BENCH_PORT": str(where["port"]),
        "BENCH_USER": str(where["user"]),
        "BENCH_NAME": str(where["dbname"]),
    }
    with connect(place.url, name="bench") as connection:
        connection.execute("CREATE SCHEMA djstripe")
    programs = folder / "venv/bin"
    _run([str(programs / "django-admin"), "migrate", "-v0"], around)
    _run([str(programs / "python"), str(folder / "site_seed.py"), SECRET, str(ENDPOINT)], around)
    command = [str(programs / "gunicorn"), "-b", f"127.0.0.1:{PORT}", "-w", "1", "-k", "gthread"]
    command += ["--threads", str(CONNECTIONS), "--log-level", "error", "site_wsgi"]
    with subprocess.Popen(command, env=around, cwd=folder) as server:
        try:
            _await_it()
            yield
        finally:
            server.terminate()


def _await_it() -> None:
    until_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until_s:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/", timeout=5).close()
        except urllib.error.HTTPError as answer:
            answer.close()
            return
        except OSError:
            time.sleep(START_LOOK_S)
    raise SystemExit("dj-stripe's site did not start")


def _run(command: list[str], around: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, env=around, capture_output=True, text=True, timeout=INSTALL_LIMIT_S
    )
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stderr[-2000:]}")


def main() -> int:
    """Race them in turn; return 1 where ours is not fast enough."""
    with placed() as place, installed() as folder, serving(folder, place):
        rounds: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for turn in range(ROUNDS):
            path = f"/stripe/webhook/{ENDPOINT}/"
            theirs = press("127.0.0.1", str(PORT), path, EVENTS, f"theirs{turn}x")
            assert theirs["statuses"] == {"200": EVENTS}, theirs
            rounds.append((pressed(place, "ours", turn), theirs))
    ratios = [ours["per_s"] / theirs["per_s"] for ours, theirs in rounds]
    for at, name in ((0, "the endpoint"), (1, "dj-stripe's view")):
        figures = [each[at] for each in rounds]
        rate, tail = (median(one[key] for one in figures) for key in ("per_s", "p99_ms"))
        sys.stdout.write(f"{name}: {rate:.0f} per s, p99 {tail:.1f} ms\n")
    sys.stdout.write(
        f"{median(ratios):.1f} × dj-stripe ({min(ratios):.1f} … {max(ratios):.1f}, bound {RATIO_MIN:g})\n"
    )
    return int(median(ratios) < RATIO_MIN)


if __name__ == "__main__":
    sys.exit(main())
