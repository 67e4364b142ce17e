"""What the exporter is compared with: nginx with the same bytes, a naive exporter, and json_exporter."""

import os
import shutil
import socket
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.parse import quote

from tests.bench.exporter import CHANGED, Latency, first_poll, latencies, poll_costs
from tests.bench.lists import Listing
from tests.bench.process import Costs, Scraper, upstream
from tests.programs import Program, free_port, wait_for

HERE = Path(__file__).parent
TOOLS = HERE.parent.parent / ".tools"

_NGINX = """
worker_processes 1; pid nginx.pid; error_log stderr; {user}
events {{}}
http {{
  access_log off; default_type text/plain; sendfile on; keepalive_requests 1000000;
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
  server {{ listen 127.0.0.1:{port}; root {folder}; gzip_static on; }}
}}
"""


class Costing(NamedTuple):
    """Seconds of processor time of a poll with two scrapes, the latency of a scrape at rest, and bytes of memory."""

    poll: float
    scrape: Latency
    memory: float


def program(name: str) -> str | None:
    """The path of a program, if it is installed or in `.tools`."""
    return shutil.which(name, path=f"{TOOLS}{os.pathsep}{os.environ['PATH']}{os.pathsep}/usr/sbin")


@contextmanager
def nginx(plain: bytes, compressed: bytes) -> Iterator[int | None]:
    """nginx that serves these bytes at `/metrics`: its port, or none where it is not installed."""
    path = program("nginx")
    if path is None:
        yield None
        return
    with TemporaryDirectory() as folder:
        port, root = free_port(), Path(folder)
        (root / "metrics").write_bytes(plain)
        (root / "metrics.gz").write_bytes(compressed)
        user = "user root;" if os.geteuid() == 0 else ""  # otherwise its worker could not read the folder
        (root / "nginx.conf").write_text(_NGINX.format(user=user, port=port, folder=folder))
        with Program(path, "-p", folder, "-c", "nginx.conf", "-e", "stderr", "-g", "daemon off;"):
            wait_for(lambda: _listens(port))
            yield port


def naive(listing: Listing, *, repeats: int) -> Costing:
    """The costs of the naive exporter, as those of the exporter."""
    port = free_port()
    with (
        upstream(listing) as api,
        Program(sys.executable, "-m", "tests.bench.naive", api.url, str(port), "0.01") as process,
    ):
        wait_for(lambda: _listens(port))
        target = first_poll(api, port, Costs(process.pid))
        scraper = Scraper(port)
        seconds = poll_costs(target, iter(lambda: listing.progress(CHANGED), None), repeats=repeats)
        latency = latencies({"naive": scraper})["naive"]
        scraper.close()
        return Costing(seconds, latency, target.costs.memory())


def json_exporter(listing: Listing, *, repeats: int) -> Costing | None:
    """The costs of json_exporter, which requests the list at each scrape; none where it is not installed."""
    path = program("json_exporter")
    if path is None:
        return None
    port = free_port()
    with upstream(listing) as api:
        api.answer(listing.body, times=10_000)
        config, address = f"--config.file={HERE / 'json_exporter.yml'}", f"--web.listen-address=127.0.0.1:{port}"
        with Program(path, config, address, "--log.level=error") as process:
            wait_for(lambda: _listens(port))
            costs = Costs(process.pid)
            scraper = Scraper(port, f"/probe?module=default&target={quote(f'{api.url}/fine-tunes', safe='')}")
            scraper()
            found = []
            for _ in range(repeats):
                began = costs.settled()
                scraper()
                scraper()
                found.append(costs.settled() - began)
            latency = latencies({"json_exporter": scraper})["json_exporter"]
            scraper.close()
            return Costing(statistics.median(found), latency, costs.memory())


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
