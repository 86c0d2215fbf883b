/* Action, force and gradient flow of U(1) links on a lattice that is cut over all processes, and the action of those in a file. */
#include <complex.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#include "gaugeflow.h"

enum { T = 8, X = 6 };

static void check(int status) {
  if (status == GF_OK) return;
  fprintf(stderr, "%s\n", gf_message());
  MPI_Abort(MPI_COMM_WORLD, status);
}

int main(int count, char **arguments) {
  const int one[] = {1, 1};
  gf_handle early;
  if (gf_domain(0, 2, one, &early) != GF_BAD_ARGUMENT) {
    fprintf(stderr, "MPI was not initialised by the host, and yet: %s\n", gf_message());
    return 1;
  }
  MPI_Init(&count, &arguments);
  int rank, size;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const int grid[] = {size, 1}, t = T / size, wrong[] = {size + 1, 1};
  gf_handle domain, action;
  if (gf_domain_of(MPI_COMM_WORLD, 2, wrong, &domain) != GF_BAD_ARGUMENT) MPI_Abort(MPI_COMM_WORLD, 1);
  check(gf_domain_of(MPI_COMM_WORLD, 2, grid, &domain));
  check(gf_wilson(2.0, 0.0, &action));

  double complex *links = malloc(2 * t * X * sizeof *links), *force = malloc(2 * t * X * sizeof *force);
  for (int mu = 0; mu < 2; mu++)
    for (int i = 0; i < t * X; i++) {
      const int place = (rank * t + i / X) * X + i % X;
      links[mu * t * X + i] = cexp(I * (0.37 * place * (mu + 1) - 0.11 * place * place));
    }
  gf_field u = {.data = links, .precision = 64, .colours = 1, .configurations = 1, .dimensions = 2, .extents = {t, X}, .domain = domain};
  gf_field f = u;
  f.data = force;
  double value, times[] = {0.25}, energy, stored;
  check(gf_value(action, &u, &value));
  check(gf_force(action, &u, &f));
  check(gf_gradient_flow(&u, 1, times, 0.05, &energy, NULL));
  check(gf_read(arguments[2], &u));
  check(gf_value(action, &u, &stored));

  MPI_File file;
  MPI_File_open(MPI_COMM_WORLD, arguments[1], MPI_MODE_CREATE | MPI_MODE_WRONLY, MPI_INFO_NULL, &file);
  const double numbers[] = {value, energy, stored};
  if (rank == 0) MPI_File_write_at(file, 0, numbers, 3, MPI_DOUBLE, MPI_STATUS_IGNORE);
  for (int mu = 0; mu < 2; mu++) {
    const MPI_Offset place = 24 + 16 * ((MPI_Offset)mu * T * X + rank * t * X);
    MPI_File_write_at(file, place, force + mu * t * X, 2 * t * X, MPI_DOUBLE, MPI_STATUS_IGNORE);
  }
  MPI_File_close(&file);
  check(gf_close(action));
  check(gf_close(domain));
  free(links);
  free(force);
  MPI_Finalize();
  return 0;
}
