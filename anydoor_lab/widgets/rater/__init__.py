"""Rater: blinded ratings for a user study."""
