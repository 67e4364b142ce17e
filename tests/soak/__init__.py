"""A soak: the real exporter and an API that fails at random, in every way that a network and a server can."""
