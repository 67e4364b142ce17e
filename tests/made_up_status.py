"""What each surface knows of a status that is added to the table alone: `python -m tests.made_up_status` prints it."""

from exporter.statuses import STATUSES, Status

MADE_UP = Status("validating", "waiting", stuck_after=300.0, starts_with=("validation_start",))
STATUSES[MADE_UP.name] = MADE_UP  # type: ignore[index]  # before anything else reads the table

import json  # noqa: E402 - the table must be complete before the others are imported
from importlib import import_module  # noqa: E402
from pathlib import Path  # noqa: E402

from exporter.config import settings as flags  # noqa: E402
from exporter.config.validators import STUCK_AFTER  # noqa: E402
from exporter.exposition import Exposition  # noqa: E402
from exporter.web.page import Jobs  # noqa: E402
from grafana.build import documents as dashboards  # noqa: E402
from grafana.look import STATUS_COLOURS  # noqa: E402
from tests.support import NOW, job, list_answered, new_store  # noqa: E402
from tests.test_statuses import stuck_alerts  # noqa: E402


def surfaces() -> dict[str, object]:
    """The surfaces by name."""
    docs: dict[Path, str] = import_module("docs.generate").documents()
    store = new_store()
    publisher = store.publisher("default")
    whole = {"epochs_completed": 0, "queue_depth": 1, "param_count": 1}
    events = [{"type": "VALIDATION_START", "created_at": "2026-09-21T14:13:20Z"}]
    for at in (NOW, NOW + 301):
        publisher.apply(list_answered(job("ft-1", "VALIDATING", events=events, **whole), at=at))
    return {
        "default": STUCK_AFTER.get(MADE_UP.name),
        "flag": next(flag.default for flag in flags() if flag.flag == "alerts.stuck-after"),
        "metrics": Exposition(store, clock=lambda: NOW).page().body.decode(),
        "page": json.loads(Jobs(store).document().body)["statuses"],
        "colours": dict(STATUS_COLOURS),
        "dashboards": {path.stem: text for path, text in dashboards().items()},
        "docs": {path.name: text for path, text in docs.items()},
        "stuck alerts": stuck_alerts(),
    }


if __name__ == "__main__":
    print(json.dumps(surfaces()))
