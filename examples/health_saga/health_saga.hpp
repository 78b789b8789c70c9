// What the programs of this folder have in common: the saga, and how they are told what to do.
#pragma once

#include <bus/saga.hpp>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>

// The command line: "--name value" for each of `names`.
class Options {
 public:
  Options(int argc, char** argv, int first, std::initializer_list<const char*> names) {
    for (const char* name : names) values_[name];
    for (int at = first; at < argc; at += 2) {
      const auto known = values_.find(argv[at]);
      if (known == values_.end() || at + 1 == argc) throw std::invalid_argument(std::string("what is ") + argv[at] + "?");
      known->second = argv[at + 1];
    }
  }
  std::string text(const std::string& name, const std::string& otherwise) const { return values_.at(name).empty() ? otherwise : values_.at(name); }
  // "300ms" or "2s".
  bus::Duration time(const std::string& name, bus::Duration otherwise) const {
    const std::string& value = values_.at(name);
    if (value.empty()) return otherwise;
    char* unit = nullptr;
    const long count = std::strtol(value.c_str(), &unit, 10);
    if (count > 0 && unit == std::string("ms")) return std::chrono::milliseconds(count);
    if (count > 0 && unit == std::string("s")) return std::chrono::seconds(count);
    throw std::invalid_argument(name + ": " + value + " is no time like 300ms or 2s");
  }
  // "3", or "always", which is more than there will be.
  unsigned long count(const std::string& name, unsigned long otherwise) const {
    const std::string& value = values_.at(name);
    if (value.empty()) return otherwise;
    if (value == "always") return ~0ul;
    char* end = nullptr;
    const auto count = std::strtoul(value.c_str(), &end, 10);
    if (*end != '\0') throw std::invalid_argument(name + ": " + value + " is neither a number nor 'always'");
    return count;
  }

 private:
  std::map<std::string, std::string> values_;
};

// Where each service takes its commands from.
inline const std::map<std::string, std::string, std::less<>> topics = {{"validate_user", "user.commands"},
                                                                       {"save_health_data", "health_data.commands"},
                                                                       {"update_blockchain", "blockchain.commands"},
                                                                       {"trigger_ai_analysis", "analysis.commands"}};

// Worker and starter have to be given the same: a definition with other times is another one.
inline bus::saga::Definition health_data_entry(bus::Duration retry_after, bus::Duration attempt_timeout) {
  bus::saga::RetryPolicy retry;          // three times, after retry_after, and twice and four times that
  retry.first = retry_after;
  retry.not_retried = {"unknown_user"};
  bus::saga::RetryPolicy undo = retry;   // what is to be undone is tried for longer
  undo.retries = 10;
  undo.cap = 8 * retry_after;
  const auto step = [&](const std::string& name) {
    bus::saga::Step made(name);
    return made.command(topics.at(name)).retry(retry).attempt_timeout(attempt_timeout);
  };
  const auto with_undo = [&](const std::string& name) { return step(name).compensate_by_command(topics.at(name)).retry_compensation(undo); };
  return bus::saga::Definition("health_data_entry")
      .input("suoke.health.HealthDataUpdate")
      .step(step("validate_user").no_compensation())
      .step(with_undo("save_health_data"))
      .step(with_undo("update_blockchain"))
      .step(with_undo("trigger_ai_analysis"));
}

inline bus::saga::Definition health_data_entry(const Options& options) {
  return health_data_entry(options.time("--retry-after", std::chrono::seconds(1)), options.time("--attempt-timeout", std::chrono::seconds(10)));
}

// Runs a program; what went wrong is its last line, and 1 or 2 its exit code.
template <typename Program>
int run_program(const char* usage, Program program) try {
  return program();
} catch (const std::invalid_argument& wrong) {
  std::fprintf(stderr, "%s\nusage: %s\n", wrong.what(), usage);
  return 2;
} catch (const std::exception& failed) {
  std::fprintf(stderr, "%s\n", failed.what());
  return 1;
}
