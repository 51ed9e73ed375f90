"""The command line, what it runs, and everything that knows configs, images, models and disk."""
