"""The released checkpoint: its tensors' names and sizes, and the way there and back."""
