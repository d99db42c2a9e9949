// What the C and C++ peers share: the workloads, and the rounds.
#pragma once

#include <algorithm>
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

// Nanoseconds of one call: the best of three turns of some milliseconds, lest another process is what is measured.
template <class Run> double timed(Run run, size_t &times) {
    auto turn = [&] {
        auto start = std::chrono::steady_clock::now();
        for (size_t n = 0; n < times; n++) run();
        return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
    };
    double time = turn();
    for (; time < 2e6; time = turn()) times *= 2;
    return std::min({time, turn(), turn()}) / double(times);
}

// A peer has a name, and is made with the most bytes it will meet; what `encode` gives lives until its next call. One that has no
// `read` is not asked to.
template <class Peer> void race(const std::string &workload, const Report &report, const std::string &json, int rounds) {
    Peer peer(json.size() * 2 + 4096);
    auto line = [&](const char *what, double nanos) {
        std::printf("%s\t%s\t%s\t%zu\t%.2f\n", what, workload.c_str(), Peer::name, json.size(), nanos);
    };
    auto encode = [&] { used(&report), used(peer.encode(report).data()); };
    size_t times = 1;
    timed(encode, times);
    for (int round = 0; round < rounds; round++) line("encode", timed(encode, times));
    if constexpr (requires { peer.read(json); }) {
        if (workload != "W1" && workload != "W3" && workload != "W7") return;
        auto read = [&] { used(json.data()), peer.read(json); };
        times = 1;
        timed(read, times);
        for (int round = 0; round < rounds; round++) line("check", timed(read, times));
    }
}

// Given a directory with workloads, then a number of rounds, or the workload to encode to standard output.
template <class... Peers> int peer_main(int argc, char **argv) {
    if (argc != 3) fail("usage: peer DIRECTORY ROUNDS|WORKLOAD");
    std::string directory = argv[1], what = argv[2];
    if (what[0] == 'W') {
        std::string fields = load(directory + "/" + what + ".fields");
        Report report = Fields(fields).report();
        std::vector<std::string> all{std::string(Peers(fields.size() * 2 + 4096).encode(report))...};
        for (const std::string &bytes : all)
            if (bytes != all[0]) fail("the encoders differ");
        std::fwrite(all[0].data(), 1, all[0].size(), stdout);
        return 0;
    }
    for (std::string workload : {"W1", "W2", "W3", "W4", "W5", "W6", "W7"}) {
        std::string fields = load(directory + "/" + workload + ".fields");
        std::string json = load(directory + "/" + workload + ".json");
        // Some readers look behind the end.
        json.reserve(json.size() + 64);
        Report report = Fields(fields).report();
        (race<Peers>(workload, report, json, std::stoi(what)), ...);
    }
    return 0;
}
