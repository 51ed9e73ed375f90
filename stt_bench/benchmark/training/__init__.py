"""From a run's settings to its trained weights."""
