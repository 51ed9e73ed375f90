"""Much work: one task after the other here, in processes of this machine, or on a Ray cluster."""
