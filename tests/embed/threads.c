/* Two host threads: forces on their own fields while the other makes mistakes; every thread sees its own messages. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "gaugeflow.h"

#ifndef ROUNDS
#define ROUNDS 40
#endif
#ifndef EXTENT
#define EXTENT 4
#endif
enum { LINKS = 2 * EXTENT * EXTENT };

static gf_handle action;

static void *work(void *argument) {
  int number = *(int *)argument;
  double links[LINKS][2], force[LINKS][2], first[LINKS][2];
  for (int i = 0; i < LINKS; i++) links[i][0] = i % (number + 2) ? 0.6 : 1.0, links[i][1] = i % (number + 2) ? 0.8 : 0.0;
  gf_field u = {.data = links, .precision = 64, .colours = 1, .configurations = 1, .dimensions = 2, .extents = {EXTENT, EXTENT}};
  gf_field f = u;
  f.data = force;
  for (int k = 0; k < ROUNDS; k++) {
    if (gf_force(action, &u, &f) != GF_OK || *gf_message()) return "force";
    if (k == 0) memcpy(first, force, sizeof force);
    if (memcmp(first, force, sizeof force)) return "another force";
    char expected[32];
    snprintf(expected, sizeof expected, "got %d", 1000000 + number);
    if (gf_close(1000000 + number) != GF_BAD_HANDLE || !strstr(gf_message(), expected)) return "message";
    gf_handle own;
    if (gf_wilson(1.0, 0.0, &own) != GF_OK || gf_close(own) != GF_OK) return "handle";
  }
  return NULL;
}

int main(void) {
  pthread_t threads[2];
  int numbers[2] = {0, 1}, failures = 0;
  if (gf_wilson(2.0, 0.0, &action) != GF_OK) return 1;
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, work, &numbers[i]);
  for (int i = 0; i < 2; i++) {
    void *failed;
    pthread_join(threads[i], &failed);
    if (failed) failures++, printf("thread %d: %s: %s\n", i, (char *)failed, gf_message());
  }
  return failures;
}
