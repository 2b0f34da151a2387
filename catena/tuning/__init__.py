"""Search for the settings of segmentation that score best: what is tried, what came of it, and how that is shown."""
