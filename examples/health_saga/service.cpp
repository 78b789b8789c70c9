// One of the four services: does its step of the saga, or undoes it, and keeps what it has done in a file. Kill it whenever you like: no effect is lost,
// and none is there twice.
//
//   health_saga_service STEP FILE [--fail N|always] [--fail-undo N|always] [--slow TIME] [--die-after N]
//
//   STEP         validate_user, save_health_data, update_blockchain or trigger_ai_analysis
//   --fail       the first N attempts at the step fail; --fail-undo: those at undoing it
//   --slow       each attempt at the step takes so long, "300ms" or "2s"
//   --die-after  it ends after its Nth effect, before it has replied
#include <bus/saga_service.hpp>
#include <bus/suoke_health_generated.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "health_saga.hpp"
#include "ledger.hpp"

namespace {

using bus::saga::Context;
using bus::saga::Done;
using bus::saga::Failed;
using bus::saga::Value;

class HealthService {
 public:
  HealthService(std::string step, const std::string& file, const Options& options)
      : step_(std::move(step)), ledger_(file), failing_(options.count("--fail", 0)), failing_undo_(options.count("--fail-undo", 0)),
        left_to_live_(options.count("--die-after", ~0ul)), slow_(options.time("--slow", bus::Duration(0))) {}

  Done run(const Context& command) {
    std::this_thread::sleep_for(slow_);
    if (command.attempt() <= failing_) return Failed{"refused", "told to fail"};
    // An attempt that comes after the undo must not have its effect. There is one process for each ledger, so nothing comes in between.
    if (ledger_.find(std::string(command.idempotency_key()) + ":undo")) return Failed{"undone", "it has been undone"};
    const auto update = command.input().as<suoke::health::HealthDataUpdate>();
    if (!update) return Failed{"bad_input", describe(update.error())};
    const auto made = make(command, **update);
    if (const auto* text = std::get_if<std::string>(&made)) return effect(command.idempotency_key(), *text);
    return std::get<Failed>(made);
  }
  Done undo(const Context& command) {
    if (command.attempt() <= failing_undo_) return Failed{"refused", "told to fail"};
    const std::string_view key = command.idempotency_key();
    const auto done = ledger_.find(key.substr(0, key.rfind(":undo")));
    return effect(key, done ? "without " + *done : "there was nothing to undo");
  }

 private:
  std::variant<std::string, Failed> make(const Context& command, const suoke::health::HealthDataUpdate& update) const {
    const std::string user = update.user_id()->str(), record = "record " + update.record_id()->str();
    if (step_ == "save_health_data") return record;
    if (step_ == "update_blockchain") return "a block with " + command.result("save_health_data")->text;
    if (step_ == "trigger_ai_analysis") return "an analysis of " + command.result("save_health_data")->text;
    if (!user.starts_with("user-")) return Failed{"unknown_user", user + " is not known"};
    return user + " is known";
  }
  Value effect(std::string_view key, const std::string& text) {
    Value done{"", {}, ledger_.once(key, text)};
    if (--left_to_live_ == 0) _exit(9);
    return done;
  }

  const std::string step_;
  Ledger ledger_;
  const unsigned long failing_, failing_undo_;
  std::atomic<unsigned long> left_to_live_;
  const bus::Duration slow_;
};

constexpr const char* service_usage =
    "health_saga_service STEP FILE [--fail N|always] [--fail-undo N|always] [--slow TIME] [--die-after N]";

}  // namespace

int main(int argc, char** argv) {
  return run_program(service_usage, [&] {
    if (argc < 3 || !topics.contains(argv[1])) throw std::invalid_argument("it takes a step and a file");
    const std::string step = argv[1];
    HealthService service(step, argv[2], Options(argc, argv, 3, {"--fail", "--fail-undo", "--slow", "--die-after"}));
    auto client = bus::Client::connect({.publisher = "health-saga-" + step}).value();
    auto commands = bus::saga::Service::start(client, topics.at(step), {{step, {.run = [&](const Context& command) { return service.run(command); },
                                                                                .undo = [&](const Context& command) { return service.undo(command); }}}}).value();
    commands.wait().value();
    return 0;
  });
}
