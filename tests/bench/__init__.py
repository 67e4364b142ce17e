"""Speed and size of the exporter, mostly as ratios: `make bench`, or `python -m tests.bench [JOBS ...]`.

The exporter runs as a process of its own and polls a server on loopback, which decides when each poll is answered, so
that the processor time of a poll and its scrapes can be told from everything else. Next to it run prometheus-client's
own rendering, nginx with the same bytes, a naive exporter and json_exporter.
"""
