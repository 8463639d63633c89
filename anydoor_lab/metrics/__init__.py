"""Scores, each a `torchmetrics.Metric`."""
