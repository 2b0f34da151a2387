"""Gunpowder nodes, one per file: thin shells around pure functions.

A node draws its random numbers from ``BatchRequest.random_seed`` alone, so a batch is a pure function
of the seed of its request. Nothing is imported here: gunpowder is slow to load, and the command line
reads :class:`~catena.nodes.augment_config.AugmentConfig` without it.
"""
