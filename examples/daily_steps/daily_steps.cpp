// Total steps per user and day, kept in a file from one run to the next. Kill it whenever you like: no reading is lost from the
// totals, and none is counted twice.
//
//   daily_steps FILE [--rebuild] [--follow]     --rebuild: from the start of the log; --follow: goes on until it is killed
#include <bus/projection.hpp>
#include <bus/suoke_health_generated.h>

#include <cstdio>
#include <cstring>
#include <ctime>

namespace {

// The day on the person's wall: "2016-04-12".
std::string day_of(const suoke::health::HealthDataUpdate& reading) {
  constexpr std::int64_t second = 1'000'000'000;
  const std::time_t seconds = reading.measured_at_ns() / second + reading.utc_offset_minutes().value_or(0) * 60;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d", &parts)};
}

// Depends on the event and the state only, and changes nothing but the state: that is all a fold has to keep to.
void add_steps(const bus::Event& event, bus::Projection::State& state) {
  const auto* reading = event.as<suoke::health::HealthDataUpdate>().value();
  if (reading->data_type() != suoke::health::DataType::steps) return;
  state.add<double>(reading->user_id()->str() + "/" + day_of(*reading), reading->value()->number().value_or(0));
}

void show(const bus::Projection::Progress& progress) {
  std::fprintf(stderr, "%s position %llu of %llu, %.0f events/s", progress.rebuilding ? "rebuilding:" : "folding:",
               static_cast<unsigned long long>(number(progress.position)), static_cast<unsigned long long>(number(progress.head)), progress.events_per_second);
  if (progress.left) std::fprintf(stderr, ", %.0f s left", std::chrono::duration<double>(*progress.left).count());
  std::fputs("\n", stderr);
}

void print_totals(const bus::Projection::Snapshot& totals) {
  std::printf("as of position %llu\n", static_cast<unsigned long long>(number(totals.position())));
  totals.scan("", [](std::string_view key, std::string_view value) {
    const auto slash = key.find('/');
    const auto steps = bus::Projection::Snapshot::load<double>(key, value).value();
    std::printf("%.*s\t%s\t%.0f\n", static_cast<int>(slash), key.data(), std::string(key.substr(slash + 1)).c_str(), *steps);
    return true;
  }).value();
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) try {
  bool rebuild = false, follow = false;
  for (int at = 2; at < argc; ++at) {
    rebuild = rebuild || std::strcmp(argv[at], "--rebuild") == 0;
    follow = follow || std::strcmp(argv[at], "--follow") == 0;
  }
  if (argc < 2 || argc != 2 + rebuild + follow) return std::fprintf(stderr, "usage: daily_steps FILE [--rebuild] [--follow]\n"), 2;
  auto client = bus::Client::connect().value();

  bus::Projection::Options options;
  options.name = "daily-steps";
  options.file = argv[1];
  options.filter.types = {"suoke.health.HealthDataUpdate"};
  options.version = 1;                   // another one whenever add_steps counts otherwise
  options.rebuild_if_changed = true;
  options.progress = show;
  auto projection = bus::Projection::open(client, options, add_steps).value();
  if (rebuild) projection.rebuild().value();
  projection.catch_up(std::chrono::minutes(10)).value();
  print_totals(projection.read().value());
  if (follow) projection.wait().value();
  projection.close().value();
} catch (const bus::Failed& failed) {
  std::fprintf(stderr, "daily_steps: %s\n", failed.what());
  return 1;
}
