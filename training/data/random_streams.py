"""Random draws that depend on their purpose and place alone, never on what was drawn before."""

import numpy as np

# Keys that keep the draws of different purposes apart.
ORDER, MASK, NOISE, TEXT, CROP, VALIDATION, PERTURBATION = range(7)


def generator(*key: int) -> np.random.Generator:
    """Return the random generator of one purpose and place."""
    return np.random.default_rng(key)
