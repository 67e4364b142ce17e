"""The exporter with a clock that can be moved: `python clock.py FILE` adds the seconds in FILE to the time of day."""

import sys
import time
from pathlib import Path

_real = time.time
_offset = Path(sys.argv.pop(1))

time.time = lambda: _real() + float(_offset.read_text())

from exporter.__main__ import main  # noqa: E402 - from here on, whoever asks for the time gets the moved one

sys.exit(main())
