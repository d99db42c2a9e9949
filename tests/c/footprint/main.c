#include "footprint.h"

uint32_t deepest;

int main(void) {
  int result = work();
  board_print("stack ");
  board_print_number(deepest);
  board_print("\n");
  return result;
}
