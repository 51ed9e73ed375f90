"""From somebody's data to a table, a run of it and an answer: which loss is best on them."""
