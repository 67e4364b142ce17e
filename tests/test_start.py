"""The exporter starts without what it may never need."""

import subprocess
import sys


def test_what_only_some_settings_need_is_not_imported_at_the_start() -> None:
    code = "import sys, exporter.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "exporter.poller" in loaded
    assert not {"bcrypt", "exporter.simulator", "exporter.status", "exporter.web.guard", "rich", "yaml"} & {*loaded}
