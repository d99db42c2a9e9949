// RapidJSON with SSE2: its writer over a buffer that is kept, and its DOM, checking UTF-8.
#define RAPIDJSON_SSE2
#include "peer.hpp"
#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

class RapidJson {
    rapidjson::StringBuffer out;

    template <size_t N> static void key(rapidjson::Writer<rapidjson::StringBuffer> &writer, const char (&key)[N]) {
        writer.Key(key, N - 1);
    }

    template <size_t N>
    static void member(rapidjson::Writer<rapidjson::StringBuffer> &writer, const char (&name)[N], Text value) {
        key(writer, name);
        writer.String(value.data(), rapidjson::SizeType(value.size()));
    }

  public:
    static constexpr const char *name = "RapidJSON " RAPIDJSON_VERSION_STRING;

    explicit RapidJson(size_t) {}

    Text encode(const Report &report) {
        out.Clear();
        rapidjson::Writer<rapidjson::StringBuffer> writer(out);
        writer.StartObject();
        key(writer, "jobs");
        writer.StartArray();
        for (const Job &job : report.jobs) {
            writer.StartObject();
            if (job.job_id) {
                key(writer, "job_id");
                writer.Int64(*job.job_id);
            }
            member(writer, "status", job.status);
            key(writer, "create_time");
            writer.Int64(job.create_time);
            if (job.exceptions) member(writer, "exceptions", *job.exceptions);
            if (job.detail) {
                key(writer, "exceptions");
                writer.StartObject();
                member(writer, "error_id", job.detail->error_id);
                member(writer, "error_type", job.detail->error_type);
                member(writer, "error_cause", job.detail->error_cause);
                member(writer, "exception", job.detail->exception);
                member(writer, "error_time", job.detail->error_time);
                writer.EndObject();
            }
            if (job.metrics) member(writer, "metrics", *job.metrics);
            if (job.plan) member(writer, "plan", *job.plan);
            writer.EndObject();
        }
        writer.EndArray();
        if (report.msg_confirm_topic) member(writer, "msg_confirm_topic", *report.msg_confirm_topic);
        member(writer, "message_id", report.message_id);
        writer.EndObject();
        return {out.GetString(), out.GetSize()};
    }

    void read(const std::string &json) {
        rapidjson::Document document;
        document.Parse<rapidjson::kParseValidateEncodingFlag>(json.data(), json.size());
        if (document.HasParseError()) fail("RapidJSON reads no JSON");
        used(&document);
    }
};

int main(int argc, char **argv) { return peer_main<RapidJson>(argc, argv); }
