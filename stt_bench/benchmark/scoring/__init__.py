"""From an embedding set to metrics and a record."""
