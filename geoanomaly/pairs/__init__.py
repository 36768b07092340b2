"""Two dates of one place: whether they can be compared, and how far they are shifted."""
