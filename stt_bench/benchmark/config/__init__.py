"""What a table may say, and how a mistake in it is told."""
