/* Programs whose size and stack tests/c/footprint/run measures: each calls one part of the library, and all of that part. */
#ifndef FOOTPRINT_H
#define FOOTPRINT_H

#include <stddef.h>

#include "board.h"
#include "edge_report.h"

extern uint32_t deepest;

/* Makes a call with the library, and keeps how deep the stack was used below the caller. */
#define CALL(call) (board_stack_paint(), keep_depth((call), board_stack_used()))

static inline int keep_depth(int result, uint32_t used) {
  if (used > deepest) deepest = used;
  return result;
}

/* What a program does; 0 if all went as it should. */
int work(void);

/* The documented sample, and its encoded form. */
extern const edge_report_report sample;
extern char body[512];
extern size_t body_len;

int encode_sample(void);

#endif
