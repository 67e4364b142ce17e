"""The exporter that one writes in an hour: gauges of prometheus-client, set from the list every now and then.

`python -m tests.bench.naive URL PORT SECONDS`
"""

import sys
import threading
import time
from datetime import datetime
from typing import Any

import requests
from prometheus_client import Counter, Gauge, Info, start_http_server

INFO = Info("finetune_job", "The job.", ["job_id"])
STATUS = Gauge("finetune_job_status", "1 for the status of the job.", ["job_id", "status"])
JOBS = Gauge("finetune_jobs", "Jobs by status.", ["status"])
TIMES = {
    field: Gauge(f"finetune_job_{field}_timestamp_seconds", f"Unix time of {field}.", ["job_id"])
    for field in ("created_at", "updated_at", "started_at")
}
NUMBERS = {
    field: Gauge(f"finetune_job_{field}", f"The field {field}.", ["job_id"])
    for field in ("token_count", "total_price", "n_epochs", "epochs_completed", "queue_depth")
}
REMAINING = Gauge("finetune_job_seconds_remaining", "The API's estimate.", ["job_id"])
LORA = {
    field: Gauge(f"finetune_job_{field}", f"The field {field}.", ["job_id"])
    for field in ("lora_r", "lora_alpha", "lora_dropout")
}
FAILURES = Counter("finetune_poll_failures", "Polls that failed.")


def update(jobs: list[dict[str, Any]]) -> None:
    """Sets all gauges."""
    for gauge in (INFO, STATUS, JOBS, REMAINING, *TIMES.values(), *NUMBERS.values(), *LORA.values()):
        gauge.clear()  # jobs that are gone
    for job in jobs:
        job_id = job["id"]
        names = {name: str(job.get(name) or "") for name in ("model", "suffix", "user_id")}
        INFO.labels(job_id).info(names | {"training_type": job["training_type"]["type"]})
        STATUS.labels(job_id, job["status"]).set(1)
        JOBS.labels(job["status"]).inc()
        for field, gauge in TIMES.items():
            if job.get(field):
                gauge.labels(job_id).set(datetime.fromisoformat(job[field]).timestamp())
        for field, gauge in NUMBERS.items():
            if job.get(field) is not None:
                gauge.labels(job_id).set(job[field])
        if (job.get("progress") or {}).get("estimate_available"):
            REMAINING.labels(job_id).set(job["progress"]["seconds_remaining"])
        for field, gauge in LORA.items():
            if field in job["training_type"]:
                gauge.labels(job_id).set(job["training_type"][field])


def poll(url: str, seconds: float) -> None:
    """Polls for ever."""
    session = requests.Session()
    while True:
        try:
            update(session.get(f"{url}/fine-tunes", timeout=600).json()["data"])
        except (requests.RequestException, ValueError, KeyError):
            FAILURES.inc()
        time.sleep(seconds)


if __name__ == "__main__":
    threading.Thread(target=poll, args=(sys.argv[1], float(sys.argv[3])), daemon=True).start()
    start_http_server(int(sys.argv[2]), "127.0.0.1")
    threading.Event().wait()
