"""Signs of probes whose mean over two patterns is that over all signs, on lattices of 2 x 2 sites."""

import numpy as np


class Patterns:
    """In front of a class of fields: on the two sites of a colour signs are equal in pattern 0, and opposite in pattern 1."""

    pattern = 0

    def _signs(self, rng, x):
        sites = np.where(np.isin(np.arange(4), (0, 1)), 1.0, -1.0) if self.pattern else np.ones(4)
        return np.broadcast_to(sites[:, None], (2 * max(x.shape[2] ** 2 - 1, 1), 4, x.shape[-1]))
