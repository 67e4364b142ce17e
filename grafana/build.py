"""Writes the dashboards as JSON, which Grafana imports: `python -m grafana.build`."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.exporter import exporter
from grafana.fleet import fleet
from grafana.job import job

DASHBOARDS = Path(__file__).parent / "dashboards"


def documents() -> dict[Path, str]:
    """The text of each generated file."""
    boards = {"fleet": fleet(), "job": job(), "exporter": exporter()}
    return {
        DASHBOARDS / f"{name}.json": json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
        for name, board in boards.items()
    }


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text)
