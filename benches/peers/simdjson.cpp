// simdjson: its string builder, kept from call to call, and its DOM parser, which chooses its instructions at run time.
#include "peer.hpp"
#include "simdjson.h"

using Builder = simdjson::builder::string_builder;

static Text written(const Builder &out) {
    Text text;
    if (out.view().get(text)) fail("simdjson has written nothing");
    return text;
}

// With the builder's members of objects.
class Members {
    Builder out;
    simdjson::dom::parser parser;

    template <class Value> void next(const char *key, Value value) {
        out.append_comma();
        out.append_key_value(key, value);
    }

  public:
    static constexpr const char *name = "simdjson " SIMDJSON_VERSION;

    explicit Members(size_t most) : out(most) {}

    Text encode(const Report &report) {
        out.clear();
        out.start_object();
        out.escape_and_append_with_quotes("jobs");
        out.append_colon();
        out.start_array();
        bool first = true;
        for (const Job &job : report.jobs) {
            if (!first) out.append_comma();
            first = false;
            out.start_object();
            if (job.job_id) {
                out.append_key_value("job_id", *job.job_id);
                out.append_comma();
            }
            out.append_key_value("status", job.status);
            next("create_time", job.create_time);
            if (job.exceptions) next("exceptions", *job.exceptions);
            if (job.detail) {
                out.append_comma();
                out.escape_and_append_with_quotes("exceptions");
                out.append_colon();
                out.start_object();
                out.append_key_value("error_id", job.detail->error_id);
                next("error_type", job.detail->error_type);
                next("error_cause", job.detail->error_cause);
                next("exception", job.detail->exception);
                next("error_time", job.detail->error_time);
                out.end_object();
            }
            if (job.metrics) next("metrics", *job.metrics);
            if (job.plan) next("plan", *job.plan);
            out.end_object();
        }
        out.end_array();
        if (report.msg_confirm_topic) next("msg_confirm_topic", *report.msg_confirm_topic);
        next("message_id", report.message_id);
        out.end_object();
        return written(out);
    }

    // It looks behind the end, where there is room.
    void read(const std::string &json) {
        simdjson::dom::element root;
        if (parser.parse(json.data(), json.size(), false).get(root)) fail("simdjson reads no JSON");
        used(&root);
    }
};

// The JSON around the strings and numbers written by hand.
class ByHand {
    Builder out;

    void member(Text key, Text value) {
        out.append_raw(key);
        out.escape_and_append_with_quotes(value);
    }

  public:
    static constexpr const char *name = "simdjson " SIMDJSON_VERSION ", by hand";

    explicit ByHand(size_t most) : out(most) {}

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
        return written(out);
    }
};

int main(int argc, char **argv) { return peer_main<Members, ByHand>(argc, argv); }
