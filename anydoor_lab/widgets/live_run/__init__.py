"""LiveRun: a training as it goes."""
