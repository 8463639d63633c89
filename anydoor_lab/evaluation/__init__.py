"""Scoring: held-out pairs, judges, results, scores and the anchors that frame them."""
