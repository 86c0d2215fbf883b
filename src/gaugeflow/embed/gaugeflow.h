/* gaugeflow for C, C++ and Fortran programs: flows, forces, weights and measurements on the fields of a host program.
 *
 * Every call returns a status, GF_OK = 0 where all went well; gf_message() then says in words what went wrong in the last
 * call of this thread.  No call prints anything, ends the program or throws.  Objects are handles, numbers that stay valid
 * until gf_close(); a wrong, closed or zero handle is a status and nothing else.  Results are written only if a call succeeds.
 *
 * Fields stay in the memory of the host and are described by a gf_field.  The layout "gaugeflow" is read in place; others
 * are converted once in and once out.  Conventions of signs, generators and normalisations: the page "Conventions".
 *
 * Calls may come from any thread.  They run one at a time; kernels inside use gf_threads() threads.
 *
 * Compatibility: within one major version functions and members are added at the end and never changed or removed.
 */
#ifndef GAUGEFLOW_H
#define GAUGEFLOW_H

#include <stdint.h>

#define GF_ABI_MAJOR 1
#define GF_ABI_MINOR 0

#ifndef GF_API
#define GF_API extern
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --- begin of declarations --- */

enum gf_limits { GF_DIMENSIONS = 8 };

enum gf_status {
  GF_OK = 0,
  GF_BAD_ARGUMENT = 1,   /* a NULL pointer, an extent, layout or number that does not fit */
  GF_BAD_HANDLE = 2,     /* not a handle, closed, or of another kind of object */
  GF_NO_CONVERGENCE = 3, /* a solver or an inverse did not reach its accuracy, or a result is not finite */
  GF_BAD_FILE = 4,       /* a file is missing or damaged */
  GF_FAILURE = 5,        /* anything else; the message says what */
  GF_NOT_STARTED = 6     /* Python or the library could not be started; stderr says why */
};

typedef int64_t gf_handle;

/* A field in the memory of the host. */
typedef struct {
  void *data;                     /* first number; complex numbers are pairs of reals */
  const char *layout;             /* "gaugeflow", "qdp", "qdp-lexicographic", "milc", "openqcd", "grid", "ildg", ... */
  int32_t precision;              /* 64 or 32: bits of a real number */
  int32_t colours;                /* N of SU(N); 1 is U(1) */
  int32_t spin;                   /* 0: links, momenta or forces; else spin components of a fermion field, 1 if staggered */
  int32_t configurations;         /* how many one after the other; in layout "gaugeflow" the fastest index */
  int32_t dimensions;             /* 2 ... GF_DIMENSIONS */
  int32_t extents[GF_DIMENSIONS]; /* slowest first: t, z, y, x */
  gf_handle domain;               /* 0: a whole lattice; else from gf_domain(): extents and data are those of this process */
} gf_field;

/* Version of the interface of the library that is running. */
GF_API int gf_version(int *major, int *minor);

/* CPU threads of the kernels that are called from this thread of the host. */
GF_API int gf_threads(int count);

/* A run file of the command gaugeflow: lattice, group, source and flow.  Its sampler is not used. */
GF_API int gf_open(const char *run_file, gf_handle *run);

/* Give up any handle. */
GF_API int gf_close(gf_handle handle);

/* Processes that share lattices: the Fortran handle of a communicator of MPI, which stays the host's, and the number of processes
   in each of the dimensions (t, z, y, x), their ranks counted like sites.  All of its processes make a call together, with fields
   that name the domain; numbers of configurations come back equal on all of them. */
GF_API int gf_domain(int communicator, int dimensions, const int *grid, gf_handle *domain);

/* Gauge action of the source of a run file, and of a target: the parameter named in [target] at a value.  Quarks of the run
   file are no part of it: a host that has them adds their force itself. */
GF_API int gf_source(gf_handle run, gf_handle *action);
GF_API int gf_target(gf_handle run, double value, gf_handle *action);

/* Wilson's gauge action, without a run file; planes with t have beta (1 + anisotropy), others beta (1 - anisotropy). */
GF_API int gf_wilson(double beta, double anisotropy, gf_handle *action);

/* Flow of a run file with the parameters in a file that `gaugeflow train` wrote. */
GF_API int gf_flow(gf_handle run, const char *parameters, gf_handle *flow);

/* S(f(x)) - log det f'(x): the action of x when f(x) has the action S.  It serves wherever an action does. */
GF_API int gf_pull_back(gf_handle action, gf_handle flow, gf_handle *pulled_back);

/* Action of every configuration. */
GF_API int gf_value(gf_handle action, const gf_field *links, double *values);

/* Force F with dS(exp(e w) U)/de = <F, w> = -2 sum Re tr F w, so that dp/dt = -F for dU/dt = p U. */
GF_API int gf_force(gf_handle action, const gf_field *links, gf_field *force);

/* y = f(x) and log |det f'(x)| of every configuration; its inverse gives x and the negative of that. */
GF_API int gf_forward(gf_handle flow, const gf_field *x, gf_field *y, double *log_det);
GF_API int gf_inverse(gf_handle flow, const gf_field *y, gf_field *x, double *minus_log_det);

/* log w = S_source(x) - S_target(f(x)) + log det f'(x); flow 0 is the identity: plain reweighting. */
GF_API int gf_log_weight(gf_handle source, gf_handle target, gf_handle flow, const gf_field *links, double *log_weight);

/* Gradient flow (Wilson) to `count` increasing times: t^2 <E> (clover) and charge, [time][configuration]; either may be NULL. */
GF_API int gf_gradient_flow(const gf_field *links, int count, const double *times, double step, double *t2_energy,
                            double *charge);

/* The links at one flow time. */
GF_API int gf_flowed(const gf_field *links, double time, double step, gf_field *flowed);

/* Wilson operator in the kappa form, with a clover term where csw is not 0.  `angles` are those of the boundary phases in units of
   pi, one for each of the dimensions (t, z, y, x); NULL is antiperiodic in t. */
GF_API int gf_dirac(double kappa, double csw, int dimensions, const double *angles, gf_handle *operator_);

/* Quark number `index` of the section [fermions] of a run file. */
GF_API int gf_quark(gf_handle run, int index, gf_handle *operator_);

/* D x = b to a relative residual; `residual` and `iterations` of every configuration, either may be NULL. */
GF_API int gf_solve(gf_handle operator_, const gf_field *links, const gf_field *b, double tolerance, gf_field *x,
                    double *residual, int64_t *iterations);

/* Links of a file in any format that gaugeflow reads; `links` states extents, colours, layout and precision. */
GF_API int gf_read(const char *file, gf_field *links);

/* --- end of declarations --- */

/* What went wrong in the last call of this thread; empty after GF_OK.  Valid until its next call. */
GF_API const char *gf_message(void);

#ifdef MPI_VERSION
/* The same from an MPI_Comm, for programs that include mpi.h before this file. */
static inline int gf_domain_of(MPI_Comm communicator, int dimensions, const int *grid, gf_handle *domain) {
  return gf_domain((int)MPI_Comm_c2f(communicator), dimensions, grid, domain);
}
#endif

#ifdef __cplusplus
}
#endif

#endif
