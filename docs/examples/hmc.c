/* Field-transformation HMC of U(1) in two dimensions: the program owns fields, momenta and integrator; the action, its force and
 * the flow come from gaugeflow.
 *
 *   hmc RUN.toml FLOW.h5 BETA TRAJECTORIES OUT
 *
 * OUT gets, for every trajectory, exp(-Delta H) and the average plaquette of f(x) of every configuration, as doubles.
 */
#include <complex.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "gaugeflow.h"

enum { T = 8, X = 8, SITES = T * X, LINKS = 2 * SITES, BATCH = 32, STEPS = 6, BURN_IN = 15 };

static double complex links[LINKS * BATCH], start[LINKS * BATCH], force[LINKS * BATCH], flowed[LINKS * BATCH];
static double momenta[LINKS * BATCH]; /* h of p = i h */

static void check(int status) {
  if (status != GF_OK) {
    fprintf(stderr, "gaugeflow, status %d: %s\n", status, gf_message());
    exit(1);
  }
}

static double uniform(void) {
  static unsigned long long state = 88172645463325252ULL; /* xorshift64* */
  state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
  return ((state * 2685821657736338717ULL >> 11) + 0.5) / 9007199254740992.0;
}

/* The layout "gaugeflow": direction, site, configuration; direction 0 is time, the last one runs fastest. */
static gf_field describe(double complex *data) {
  gf_field field = {.data = data, .precision = 64, .colours = 1, .configurations = BATCH, .dimensions = 2, .extents = {T, X}};
  return field;
}

/* <p, p> / 2 with <A, B> = -2 sum Re tr A B. */
static void kinetic(double *energy) {
  for (int i = 0; i < LINKS * BATCH; i++) energy[i % BATCH] += momenta[i] * momenta[i];
}

static void kick(gf_handle action, double step) {
  gf_field x = describe(links), f = describe(force);
  check(gf_force(action, &x, &f));
  for (int i = 0; i < LINKS * BATCH; i++) momenta[i] -= step * cimag(force[i]);
}

static void drift(double step) {
  for (int i = 0; i < LINKS * BATCH; i++) links[i] *= cexp(I * step * momenta[i]);
}

static double plaquette(int configuration) {
  double sum = 0;
  for (int t = 0; t < T; t++)
    for (int x = 0; x < X; x++) {
      double complex *time = flowed + configuration, *space = time + SITES * BATCH;
      int here = (t * X + x) * BATCH, up = ((t + 1) % T * X + x) * BATCH, right = (t * X + (x + 1) % X) * BATCH;
      sum += creal(time[here] * space[up] * conj(time[right]) * conj(space[here]));
    }
  return sum / SITES;
}

int main(int count, char **arguments) {
  if (count != 6) return fprintf(stderr, "usage: hmc RUN.toml FLOW.h5 BETA TRAJECTORIES OUT\n"), 2;
  int trajectories = atoi(arguments[4]);
  FILE *out = fopen(arguments[5], "wb");
  if (!out) return perror(arguments[5]), 2;

  gf_handle run, target, flow, action;
  check(gf_threads(1));
  check(gf_open(arguments[1], &run));
  check(gf_target(run, atof(arguments[3]), &target));
  check(gf_flow(run, arguments[2], &flow));
  check(gf_pull_back(target, flow, &action)); /* the action of x when f(x) has the action of the target */

  for (int i = 0; i < LINKS * BATCH; i++) links[i] = cexp(I * (uniform() - 0.5));
  gf_field x = describe(links), y = describe(flowed);
  for (int k = -BURN_IN; k < trajectories; k++) {
    double before[BATCH], after[BATCH], log_det[BATCH];
    for (int i = 0; i < LINKS * BATCH; i++) {
      start[i] = links[i];
      momenta[i] = sqrt(-log(uniform())) * cos(2 * M_PI * uniform()); /* variance 1/2: i h has components of variance 1 */
    }
    check(gf_value(action, &x, before));
    kinetic(before);
    const double step = 1.0 / STEPS;
    kick(action, step / 2);
    for (int i = 0; i < STEPS; i++) {
      drift(step);
      kick(action, i + 1 < STEPS ? step : step / 2);
    }
    check(gf_value(action, &x, after));
    kinetic(after);
    for (int b = 0; b < BATCH; b++) {
      before[b] = exp(before[b] - after[b]);
      if (uniform() >= before[b])
        for (int i = b; i < LINKS * BATCH; i += BATCH) links[i] = start[i];
    }
    check(gf_forward(flow, &x, &y, log_det));
    for (int b = 0; b < BATCH; b++) after[b] = plaquette(b);
    if (k >= 0) {
      fwrite(before, sizeof(double), BATCH, out);
      fwrite(after, sizeof(double), BATCH, out);
    }
  }
  gf_handle all[] = {action, flow, target, run};
  for (int i = 0; i < 4; i++) check(gf_close(all[i]));
  return fclose(out) ? 2 : 0;
}
