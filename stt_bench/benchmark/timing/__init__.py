"""What a second head costs: step time, inference time and memory."""
