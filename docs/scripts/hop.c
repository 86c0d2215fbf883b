/* The hop of Wilson fermions, SU(3) in four dimensions, by hand: the limit that dirac_speed.py compares the kernels with.

   The same algorithm on the same arrays: projected spinors, lanes last, one vector register of lanes at a time, one row of
   the upper half of the spinor after the other, so that sums stay in 32 registers; directions t, z, y, x, forward hop first.
   Real and imaginary parts are separated by one instruction on neighbouring registers. Compile with -DSINGLE for floats. */
#include <stdint.h>
#ifdef SINGLE
typedef float real;
typedef int32_t whole;
#define W 16
#define EVEN {0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30}
#define ODD {1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31}
#define LOW {0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29}
#define HIGH {2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31}
#else
typedef double real;
typedef int64_t whole;
#define W 8
#define EVEN {0, 8, 2, 10, 4, 12, 6, 14}
#define ODD {1, 9, 3, 11, 5, 13, 7, 15}
#define LOW {0, 8, 2, 10, 4, 12, 6, 14}
#define HIGH {1, 9, 3, 11, 5, 13, 7, 15}
#endif
typedef real V __attribute__((vector_size(64)));
typedef real U __attribute__((vector_size(64), aligned(sizeof(real)), may_alias));
typedef whole I __attribute__((vector_size(64)));
#define IN static inline __attribute__((always_inline))
#define BARRIER __asm__ volatile("" ::: "memory") /* links are read again for the second row, not held in registers */

typedef struct { V r, i; } C;
typedef struct { C c[3]; } Row;

IN C load(const real *p) {
  V a = *(const U *)p, b = *(const U *)(p + W);
  return (C){__builtin_shuffle(a, b, (I)EVEN), __builtin_shuffle(a, b, (I)ODD)};
}
IN void store(real *p, C z) {
  *(U *)p = __builtin_shuffle(z.r, z.i, (I)LOW);
  *(U *)(p + W) = __builtin_shuffle(z.r, z.i, (I)HIGH);
}
IN C mul(C u, C h) { return (C){u.r * h.r - u.i * h.i, u.r * h.i + u.i * h.r}; }
IN C mac(C s, C u, C h) {
  s.r += u.r * h.r, s.i += u.r * h.i, s.r -= u.i * h.i, s.i += u.i * h.r;
  return s;
}
IN C conjugated(C u) { return (C){u.r, -u.i}; }
IN C plus(C u, C l, int k) { /* u + i^k l */
  if (k == 0) return (C){u.r + l.r, u.i + l.i};
  if (k == 1) return (C){u.r - l.i, u.i + l.r};
  if (k == 2) return (C){u.r - l.r, u.i - l.i};
  return (C){u.r + l.i, u.i - l.r};
}

/* Rows of the upper right blocks of gamma_t, gamma_z, gamma_y, gamma_x (DeGrand and Rossi): column and power of i. */
static const int COLUMN[4][2] = {{0, 1}, {0, 1}, {1, 0}, {1, 0}};
static const int POWER[4][2] = {{0, 0}, {1, 3}, {2, 0}, {1, 1}};

/* One row of one hop: sign is that of gamma, f the factor of the hop or 0. */
IN void half_hop(Row *up, Row *low, const real *u, const real *p, long s, int r, int column, int power, int sign, const real *f) {
  int there = (power + (sign > 0 ? 0 : 2)) & 3, back = (4 - power + (sign > 0 ? 0 : 2)) & 3;
  Row h, g;
  BARRIER;
  for (int a = 0; a < 3; a++) h.c[a] = plus(load(p + (3 * r + a) * s), load(p + (6 + 3 * column + a) * s), there);
  for (int a = 0; a < 3; a++)
    for (int b = 0; b < 3; b++) {
      C z = sign > 0 ? conjugated(load(u + (3 * b + a) * s)) : load(u + (3 * a + b) * s);
      g.c[a] = b ? mac(g.c[a], z, h.c[b]) : mul(z, h.c[b]);
    }
  if (f)
    for (int a = 0; a < 3; a++) g.c[a] = mul(load(f), g.c[a]);
  for (int a = 0; a < 3; a++) up->c[a] = plus(up->c[a], g.c[a], 0), low->c[a] = plus(low->c[a], g.c[a], back);
}

IN void fetch(const real *p, int count, long s) {
  for (int k = 0; k < count; k++) __builtin_prefetch(p + k * s), __builtin_prefetch(p + k * s + W);
}

IN void sweep(const real *links, const real *psi, real *out, const int32_t *neighbour, const int32_t *code,
              const real *values, long sites, long lanes, int ahead) {
  long s = 2 * lanes, spinor = 12 * s, matrix = 9 * s;
  for (long lane = 0; lane < lanes; lane += W) {
    const real *u = links + 2 * lane, *p = psi + 2 * lane, *factor = values + 2 * lane;
    for (long x = 0; x < sites; x++) {
      Row t[4] = {0};
      if (ahead && x + 1 < sites)
        for (int mu = 0; mu < 4; mu++) {
          long f = neighbour[2 * mu * sites + x + 1], b = neighbour[(2 * mu + 1) * sites + x + 1];
          fetch(u + (mu * sites + x + 1) * matrix, 9, s), fetch(u + (mu * sites + b) * matrix, 9, s);
          fetch(p + f * spinor, 12, s), fetch(p + b * spinor, 12, s);
        }
#pragma GCC unroll 2
      for (int r = 0; r < 2; r++)
#pragma GCC unroll 4
        for (int mu = 0; mu < 4; mu++) {
          long f = neighbour[2 * mu * sites + x], b = neighbour[(2 * mu + 1) * sites + x];
          long kf = code[2 * mu * sites + x], kb = code[(2 * mu + 1) * sites + x];
          int column = COLUMN[mu][r], power = POWER[mu][r];
          half_hop(t + r, t + 2 + column, u + (mu * sites + x) * matrix, p + f * spinor, s, r, column, power, -1,
                   kf ? factor + kf * s : 0);
          half_hop(t + r, t + 2 + column, u + (mu * sites + b) * matrix, p + b * spinor, s, r, column, power, 1,
                   kb ? factor + kb * s : 0);
        }
      for (int k = 0; k < 12; k++) store(out + x * spinor + 2 * lane + k * s, t[k / 3].c[k % 3]);
    }
  }
}

/* Links (4, sites, 3, 3, lanes), spinors (sites, 4, 3, lanes), neighbour and code (4, 2, sites), values (codes, lanes). */
void hop(const real *links, const real *psi, real *out, const int32_t *neighbour, const int32_t *code, const real *values,
         long sites, long lanes, int ahead) {
  if (lanes == W)
    sweep(links, psi, out, neighbour, code, values, sites, W, ahead);
  else
    sweep(links, psi, out, neighbour, code, values, sites, lanes, ahead);
}
