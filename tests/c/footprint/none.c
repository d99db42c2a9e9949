/* What the program is without the library. */
#include "footprint.h"

int work(void) { return 0; }
