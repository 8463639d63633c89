"""From a pair to what the model is shown (Figure 2, left half)."""
