
/** Initialises an edge_report_str from a string literal: `edge_report_str id = EDGE_REPORT_STR("node-7-000001");` */
#define EDGE_REPORT_STR(literal) {"" literal, sizeof("" literal) - 1}

/** Memory that is enough for edge_report_courier_new_ram with reports of so many bytes, for an array of static size. */
#define EDGE_REPORT_COURIER_RAM(report_bytes) ((size_t)EDGE_REPORT_COURIER_RAM_SIZE + 5 * (size_t)(report_bytes))

/** A view of a string that ends with NUL; an absent text for NULL. */
static inline edge_report_str edge_report_str_of(const char *text) {
  edge_report_str view = {text, 0};
  while (text != NULL && text[view.len] != '\0') view.len++;
  return view;
}
