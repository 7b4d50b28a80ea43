"""From a command to the first step, and what a run writes, repeats and survives."""
