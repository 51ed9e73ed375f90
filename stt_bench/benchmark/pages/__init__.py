"""Records to HTML pages: one file each, which opens without a network and runs no foreign code."""
