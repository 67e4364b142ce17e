"""Random fleets whose truth is known, watched by the real exporter in virtual time."""
