"""What lies on disk: runs, records and the protocol that both name."""
