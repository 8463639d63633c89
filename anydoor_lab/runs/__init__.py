"""A run's folder, where its numbers go, and what they depend on."""
