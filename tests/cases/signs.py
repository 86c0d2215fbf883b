"""Signs of probes whose mean over two patterns is that over all signs, on lattices of two sites of each colour."""

import numpy as np


class Patterns:
    """In front of a class of fields: on the two sites of a colour signs are equal in pattern 0, and opposite in pattern 1.

    Two dimensions, and two sites of a colour that lie in different halves of direction 0.
    """

    pattern = 0

    def _signs(self, rng, x):
        count, sites = 2 * max(x.shape[2] ** 2 - 1, 1), x.shape[1]
        signs = np.where(np.arange(sites) < sites // 2, 1.0, -1.0) if self.pattern else np.ones(sites)
        return np.broadcast_to(signs[:, None], (count, sites, x.shape[-1]))
