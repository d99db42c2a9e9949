/* The header alone, twice, as C and as C++; two of these make one program. */
#include <edge_report.h>
#include <edge_report.h>

#ifdef __cplusplus
extern "C"
#endif
int another(void);

#ifndef ANOTHER
static char memory[EDGE_REPORT_COURIER_RAM(512)];
int main(void) {
  edge_report_str text = EDGE_REPORT_STR("ab");
  return another() == 2 && text.len == 2 && edge_report_str_of(0).ptr == 0 && sizeof memory > 5 * 512 && memory[0] == 0 ? 0 : 1;
}
#else
int another(void) { return (int)edge_report_str_of("ab").len; }
#endif
