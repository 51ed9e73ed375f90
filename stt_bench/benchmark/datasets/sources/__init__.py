"""One reader for each dataset: its official index files become an item table."""
