"""A config: its bases, parts, values, launcher, and the model it tells of."""
