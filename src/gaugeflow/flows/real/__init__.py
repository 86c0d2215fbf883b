"""Maps of real fields: affine couplings and pointwise functions."""
