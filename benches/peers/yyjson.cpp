// yyjson: documents in a pool that is emptied for each call.
#include "peer.hpp"
#include "yyjson.h"

class Yyjson {
    std::vector<char> memory;

    yyjson_alc pool() {
        yyjson_alc alc;
        yyjson_alc_pool_init(&alc, memory.data(), memory.size());
        return alc;
    }

    static void member(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, Text value) {
        yyjson_mut_obj_add_strn(doc, object, key, value.data(), value.size());
    }

  public:
    static constexpr const char *name = "yyjson " YYJSON_VERSION_STRING;

    explicit Yyjson(size_t most) : memory(16 * most + (1 << 20)) {}

    Text encode(const Report &report) {
        yyjson_alc alc = pool();
        yyjson_mut_doc *doc = yyjson_mut_doc_new(&alc);
        yyjson_mut_val *root = yyjson_mut_obj(doc);
        yyjson_mut_doc_set_root(doc, root);
        yyjson_mut_val *jobs = yyjson_mut_obj_add_arr(doc, root, "jobs");
        for (const Job &job : report.jobs) {
            yyjson_mut_val *object = yyjson_mut_arr_add_obj(doc, jobs);
            if (job.job_id) yyjson_mut_obj_add_int(doc, object, "job_id", *job.job_id);
            member(doc, object, "status", job.status);
            yyjson_mut_obj_add_int(doc, object, "create_time", job.create_time);
            if (job.exceptions) member(doc, object, "exceptions", *job.exceptions);
            if (job.detail) {
                yyjson_mut_val *detail = yyjson_mut_obj_add_obj(doc, object, "exceptions");
                member(doc, detail, "error_id", job.detail->error_id);
                member(doc, detail, "error_type", job.detail->error_type);
                member(doc, detail, "error_cause", job.detail->error_cause);
                member(doc, detail, "exception", job.detail->exception);
                member(doc, detail, "error_time", job.detail->error_time);
            }
            if (job.metrics) member(doc, object, "metrics", *job.metrics);
            if (job.plan) member(doc, object, "plan", *job.plan);
        }
        if (report.msg_confirm_topic) member(doc, root, "msg_confirm_topic", *report.msg_confirm_topic);
        member(doc, root, "message_id", report.message_id);
        size_t size = 0;
        const char *bytes = yyjson_mut_write_opts(doc, 0, &alc, &size, nullptr);
        if (!bytes) fail("yyjson wrote nothing");
        return {bytes, size};
    }

    void read(const std::string &json) {
        yyjson_alc alc = pool();
        yyjson_doc *doc = yyjson_read_opts(const_cast<char *>(json.data()), json.size(), 0, &alc, nullptr);
        if (!doc) fail("yyjson reads no JSON");
        used(doc);
    }
};

int main(int argc, char **argv) { return peer_main<Yyjson>(argc, argv); }
