"""What every room stands on: errors, whole files, the machine, progress."""
