"""AblationBoard: one pair, or several, through a grid of components."""
