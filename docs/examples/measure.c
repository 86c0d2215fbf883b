/* A measurement loop over files of configurations: gradient flow, and a propagator from a point source.
 *
 *   measure KAPPA TIME FILE...
 *
 * prints for every file t^2 <E> and the charge at the flow time, and the sum over space of |D^-1 b|^2 at every t for one spin
 * and colour of a source at the origin.  Fields are in the order of QDP++ and Chroma.
 */
#include <stdio.h>
#include <stdlib.h>

#include "gaugeflow.h"

enum { T = 8, Z = 4, Y = 4, X = 4, SITES = T * Z * Y * X };

static double links[4 * SITES * 9 * 2], source[SITES * 12 * 2], solution[SITES * 12 * 2];

static void check(int status) {
  if (status != GF_OK) {
    fprintf(stderr, "gaugeflow, status %d: %s\n", status, gf_message());
    exit(1);
  }
}

int main(int count, char **arguments) {
  gf_field u = {.data = links, .layout = "qdp", .precision = 64, .colours = 3, .configurations = 1, .dimensions = 4,
                .extents = {T, Z, Y, X}};
  gf_field b = u, x = u;
  b.data = source, x.data = solution, b.spin = x.spin = 4;
  source[0] = 1; /* the first even site, spin 0, colour 0 */

  if (count < 4) return fprintf(stderr, "usage: measure KAPPA TIME FILE...\n"), 2;
  gf_handle dirac;
  check(gf_dirac(atof(arguments[1]), 0.0, 4, NULL, &dirac));
  for (int k = 3; k < count; k++) {
    double time = atof(arguments[2]), t2_energy, charge, sum[T] = {0};
    check(gf_read(arguments[k], &u));
    check(gf_gradient_flow(&u, 1, &time, 0.02, &t2_energy, &charge));
    check(gf_solve(dirac, &u, &b, 1e-12, &x, NULL, NULL));
    for (int i = 0; i < SITES * 24; i++) sum[i / 24 % (SITES / 2) / (Z * Y * X / 2)] += solution[i] * solution[i];
    printf("%.15e %.15e", t2_energy, charge);
    for (int t = 0; t < T; t++) printf(" %.15e", sum[t]);
    printf("\n");
  }
  check(gf_close(dirac));
  return 0;
}
