/* Start-up code, semihosting, and a painted stack. Nothing here is edge-report's. */
#include "board.h"

int main(void);

/* From board.ld. */
extern uint32_t board_data_load[], board_data[], board_data_end[], board_bss[], board_bss_end[], board_stack_top[], board_flash_end[];

#define PAINT 0xa5a5a5a5u

enum { SYS_WRITE0 = 0x04, SYS_EXIT_EXTENDED = 0x20 };

static void semihosting(uint32_t operation, const void *argument) {
  register uint32_t r0 __asm__("r0") = operation;
  register const void *r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static _Noreturn void leave(uint32_t status) {
  const uint32_t arguments[2] = {0x20026 /* ADP_Stopped_ApplicationExit */, status};
  for (;;) semihosting(SYS_EXIT_EXTENDED, arguments);
}

_Noreturn void board_start(void) {
  *(volatile uint32_t *)0xe000ed88 |= 0xfu << 20; /* CPACR: the FPU on */
  const uint32_t *from = board_data_load;
  for (volatile uint32_t *to = board_data; to < board_data_end; to++) *to = *from++;
  for (volatile uint32_t *to = board_bss; to < board_bss_end; to++) *to = 0;
  leave((uint32_t)main());
}

static _Noreturn void fault(void) {
  board_print("fault\n");
  leave(255);
}

/* Initial stack pointer, reset, and the faults: NMI, hard, memory, bus, usage. */
__attribute__((section(".vectors"), used)) static const void *const vectors[] = {
    board_stack_top, (void *)board_start, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
};

void board_print(const char *text) { semihosting(SYS_WRITE0, text); }

void board_print_bytes(const char *bytes, size_t len) {
  char text[2] = {0, 0};
  for (size_t i = 0; i < len; i++) {
    text[0] = bytes[i];
    board_print(text);
  }
}

void board_print_number(uint32_t number) {
  char text[11], *at = text + sizeof text - 1;
  *at = 0;
  do *--at = (char)('0' + number % 10);
  while (number /= 10);
  board_print(at);
}

static volatile uint32_t *frame(void) { return (volatile uint32_t *)__builtin_frame_address(0); }

__attribute__((noinline)) void board_stack_paint(void) {
  volatile uint32_t *top = frame() - 16; /* this very frame stays */
  for (volatile uint32_t *word = board_bss_end; word < top; word++) *word = PAINT;
}

__attribute__((noinline)) uint32_t board_stack_used(void) {
  volatile uint32_t *word = board_bss_end;
  while (*word == PAINT) word++;
  return (uint32_t)((uintptr_t)frame() - (uintptr_t)word);
}

uint32_t board_flash_size(void) {
  return (uint32_t)((uintptr_t)board_flash_end + ((uintptr_t)board_data_end - (uintptr_t)board_data));
}

uint32_t board_static_size(void) { return (uint32_t)((uintptr_t)board_bss_end - (uintptr_t)board_data); }
