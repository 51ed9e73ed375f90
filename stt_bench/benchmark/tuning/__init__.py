"""Equal tuning: every row tries as many points, on folds of the training split alone."""
