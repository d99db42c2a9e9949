
/** Initialises an edge_report_str from a string literal: `edge_report_str id = EDGE_REPORT_STR("node-7-000001");` */
#define EDGE_REPORT_STR(literal) {"" literal, sizeof("" literal) - 1}

/** Memory that is enough for edge_report_courier_new_ram with reports of so many bytes, for an array of static size. */
#define EDGE_REPORT_COURIER_RAM(report_bytes) ((size_t)EDGE_REPORT_COURIER_RAM_SIZE + 5 * (size_t)(report_bytes))

/** Memory that is enough for edge_report_flink_new with room for so many jobs, and so many bytes of texts. */
#define EDGE_REPORT_FLINK_MEMORY(jobs, text_bytes) \
  ((size_t)EDGE_REPORT_FLINK_SIZE + (size_t)EDGE_REPORT_FLINK_SLOT_SIZE * (size_t)(jobs) + (size_t)(text_bytes))

/** A buffer that is enough for any report of a watch with so many bytes of texts. */
#define EDGE_REPORT_FLINK_REPORT(text_bytes) (6144 + 6 * (size_t)(text_bytes))

/** A view of a string that ends with NUL; an absent text for NULL. */
static inline edge_report_str edge_report_str_of(const char *text) {
  edge_report_str view = {text, 0};
  while (text != NULL && text[view.len] != '\0') view.len++;
  return view;
}
