"""Small data that come with the package, each with its licence and the script that made it."""
