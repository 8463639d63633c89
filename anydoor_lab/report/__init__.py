"""Tables from rows and figures from arrays."""
