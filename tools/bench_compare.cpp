// A result beside one from before, for scripts that want to know what a change has cost.
#include <fstream>

#include "tools/bench.hpp"
#include "tools/cli.hpp"

namespace bus::tools {

namespace {

// What has to be the same for two results to be comparable.
constexpr const char* conditions[] = {"bench", "events", "event_bytes", "keys", "topics", "in_flight", "rate", "publishers", "subscribers"};

struct Figure {
  const char* path;
  bool less_is_better;
};
constexpr Figure figures[] = {
  {"/events_per_second", false}, {"/deliveries_per_second", false}, {"/receipt_us/p50", true}, {"/receipt_us/p99", true},
  {"/delivery_us/p50", true},    {"/delivery_us/p99", true},           {"/log_bytes_per_event", true},
};

Json read_base(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) fail(Code::not_found, "cannot read " + path.string());
  auto base = Json::parse(file, nullptr, false);
  if (!base.is_object()) fail(Code::bad_argument, path.string() + " is not what `bus-cli bench … -o json` prints");
  return base;
}

void check_conditions(const std::filesystem::path& path, const Json& base, const Json& result) {
  for (const char* name : conditions) {
    const auto have = result.value(name, Json()), want = base.value(name, Json());
    if (have != want) fail(Code::bad_argument, std::string(name) + " is " + dump(have) + " here and " + dump(want) + " in " + path.string() + ": measure both alike");
  }
}

// How much worse, in percent; below 0: better.
double regress(const Figure& figure, double base, double now) { return figure.less_is_better ? (now / base - 1) * 100 : (base / now - 1) * 100; }

}  // namespace

Exit report(Format format, const BenchOptions& options, Json result) {
  if (options.base.empty()) return print_object(format, result), Exit::ok;
  const auto base = read_base(options.base);
  check_conditions(options.base, base, result);
  Json compared = Json::object();
  std::vector<std::string> worse;
  for (const Figure& figure : figures) {
    const Json::json_pointer path(figure.path);
    if (!result.contains(path) || !base.contains(path) || !result[path].is_number() || !base[path].is_number()) continue;
    const auto before = base[path].get<double>(), now = result[path].get<double>();
    if (!(before > 0 && now > 0)) continue;
    const auto percent = regress(figure, before, now);
    compared[std::string(figure.path + 1)] = {{"base", before}, {"now", now}, {"regress_percent", rounded(percent)}};
    if (percent > options.max_regress) worse.emplace_back(figure.path + 1);
  }
  if (compared.empty()) fail(Code::bad_argument, options.base.string() + " has no figure in common with this result");
  result["compared"] = std::move(compared);
  print_object(format, result);
  for (const auto& name : worse) {
    warn(name + " is worse than in " + options.base.string() + " by more than " + dump(Json(options.max_regress)) + " %");
  }
  return worse.empty() ? Exit::ok : Exit::failed;
}

}  // namespace bus::tools
