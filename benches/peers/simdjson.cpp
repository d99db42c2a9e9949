// simdjson: its string builder, kept from call to call, and its DOM parser, which chooses its instructions at run time.
#include "peer.hpp"
#include "simdjson.h"

class Simdjson {
    simdjson::builder::string_builder out;
    simdjson::dom::parser parser;

    void member(Text key, Text value) {
        out.append_raw(key);
        out.escape_and_append_with_quotes(value);
    }

  public:
    explicit Simdjson(size_t most) : out(most) {}

    Text encode(const Report &report) {
        out.clear();
        out.append_raw(Text("{\"jobs\":["));
        bool first = true;
        for (const Job &job : report.jobs) {
            if (!first) out.append(',');
            first = false;
            if (job.job_id) {
                out.append_raw(Text("{\"job_id\":"));
                out.append(*job.job_id);
                member(",\"status\":", job.status);
            } else {
                member("{\"status\":", job.status);
            }
            out.append_raw(Text(",\"create_time\":"));
            out.append(job.create_time);
            if (job.exceptions) member(",\"exceptions\":", *job.exceptions);
            if (job.detail) {
                member(",\"exceptions\":{\"error_id\":", job.detail->error_id);
                member(",\"error_type\":", job.detail->error_type);
                member(",\"error_cause\":", job.detail->error_cause);
                member(",\"exception\":", job.detail->exception);
                member(",\"error_time\":", job.detail->error_time);
                out.append('}');
            }
            if (job.metrics) member(",\"metrics\":", *job.metrics);
            if (job.plan) member(",\"plan\":", *job.plan);
            out.append('}');
        }
        out.append(']');
        if (report.msg_confirm_topic) member(",\"msg_confirm_topic\":", *report.msg_confirm_topic);
        member(",\"message_id\":", report.message_id);
        out.append('}');
        Text written;
        if (out.view().get(written)) fail("simdjson wrote no UTF-8");
        return written;
    }

    // It reads behind the end, where there is room.
    void read(const std::string &json) {
        simdjson::dom::element root;
        if (parser.parse(json.data(), json.size(), false).get(root)) fail("simdjson reads no JSON");
        used(&root);
    }
};

int main(int argc, char **argv) { return peer_main<Simdjson>("simdjson " SIMDJSON_VERSION, argc, argv); }
