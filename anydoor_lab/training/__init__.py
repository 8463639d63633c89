"""The loop as a generator of steps, its samples, checkpoints and memory."""
