"""The commands: each is a few lines that call one typed function."""
