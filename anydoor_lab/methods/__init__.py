"""Ways of putting an object into a scene: the paper's, and what it is compared with."""
