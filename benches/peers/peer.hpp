// What the C and C++ peers share: the workloads, and the rounds. A peer has a name, encodes a report and reads one.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

using Text = std::string_view;

struct Detail {
    Text error_id, error_type, error_cause, exception, error_time;
};

struct Job {
    std::optional<int64_t> job_id;
    Text status;
    int64_t create_time;
    std::optional<Text> exceptions;
    std::optional<Detail> detail;
    std::optional<Text> metrics, plan;
};

struct Report {
    std::vector<Job> jobs;
    std::optional<Text> msg_confirm_topic;
    Text message_id;
};

[[noreturn]] inline void fail(const std::string &why) {
    std::fprintf(stderr, "%s\n", why.c_str());
    std::exit(1);
}

inline std::string load(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) fail("cannot read " + path);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Reads what `edge-report-bench-encode fields` writes; borrows from it.
class Fields {
    Text rest;

  public:
    explicit Fields(Text all) : rest(all) {}

    std::optional<Text> next() {
        size_t line = rest.find('\n');
        if (line == Text::npos) fail("fields are cut");
        Text length = rest.substr(0, line);
        rest.remove_prefix(line + 1);
        if (length == "-") return {};
        size_t size = std::stoul(std::string(length));
        Text text = rest.substr(0, size);
        rest.remove_prefix(size + 1);
        return text;
    }

    Text text() { return next().value(); }

    std::optional<int64_t> integer() {
        auto digits = next();
        if (!digits) return {};
        return std::stoll(std::string(*digits));
    }

    Report report() {
        Report report;
        report.msg_confirm_topic = next();
        report.message_id = text();
        report.jobs.resize(integer().value());
        for (Job &job : report.jobs) {
            job.job_id = integer();
            job.status = text();
            job.create_time = integer().value();
            job.exceptions = next();
            std::optional<Text> parts[5];
            for (auto &part : parts) part = next();
            if (parts[0]) job.detail = Detail{*parts[0], *parts[1], *parts[2], *parts[3], *parts[4]};
            job.metrics = next();
            job.plan = next();
        }
        return report;
    }
};

// So that what is measured is neither left out nor moved out of the loop.
inline void used(const void *memory) { asm volatile("" : : "r"(memory) : "memory"); }

// Nanoseconds of one call, from a turn that takes some milliseconds.
template <class Run> double timed(Run run, size_t &times) {
    for (;; times *= 2) {
        auto start = std::chrono::steady_clock::now();
        for (size_t n = 0; n < times; n++) run();
        std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - start;
        if (time.count() >= 2e6) return time.count() / double(times);
    }
}

// Where the workloads are, then a number of rounds, or the workload to encode to standard output.
// `Peer` is made with the most bytes it will meet; `encode(report)` gives bytes that live until the next call.
template <class Peer> int peer_main(const char *name, int argc, char **argv) {
    if (argc != 3) fail("usage: peer DIRECTORY ROUNDS|WORKLOAD");
    std::string directory = argv[1];
    if (argv[2][0] == 'W') {
        std::string fields = load(directory + "/" + argv[2] + ".fields");
        Peer peer(fields.size() * 2 + 4096);
        Report report = Fields(fields).report();
        Text bytes = peer.encode(report);
        std::fwrite(bytes.data(), 1, bytes.size(), stdout);
        return 0;
    }
    for (const char *workload : {"W1", "W2", "W3", "W4", "W5", "W6", "W7"}) {
        std::string fields = load(directory + "/" + workload + ".fields");
        std::string json = load(directory + "/" + workload + ".json");
        json.reserve(json.size() + 64);
        Report report = Fields(fields).report();
        Peer peer(json.size() * 2 + 4096);
        bool is_read = std::strstr("W1 W3 W7", workload);
        size_t encodes = 1, reads = 1;
        auto encode = [&] { used(&report), used(peer.encode(report).data()); };
        auto read = [&] { used(json.data()), peer.read(json); };
        timed(encode, encodes);
        if (is_read) timed(read, reads);
        for (int round = std::atoi(argv[2]); round > 0; round--) {
            std::printf("encode\t%s\t%s\t%zu\t%.2f\n", workload, name, json.size(), timed(encode, encodes));
            if (is_read) std::printf("check\t%s\t%s\t%zu\t%.2f\n", workload, name, json.size(), timed(read, reads));
        }
    }
    return 0;
}
