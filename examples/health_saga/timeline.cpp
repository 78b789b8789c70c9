#include "timeline.hpp"

#include <bus/suoke_saga_generated.h>

#include <cstdio>
#include <set>

namespace {

namespace saga = suoke::saga;

std::string in_words(bus::Duration time) {
  char text[32];
  const auto ms = std::chrono::duration<double, std::milli>(time).count();
  std::snprintf(text, sizeof text, ms < 1000 ? "%.0f ms" : "%.1f s", ms < 1000 ? ms : ms / 1000);
  return text;
}

std::string text_of(const flatbuffers::String* text) { return text != nullptr ? text->str() : std::string(); }

// "refused: told to fail"
template <typename Table>
std::string why(const Table* event) {
  const auto code = text_of(event->code()), error = text_of(event->error());
  return code.empty() ? error : code + ": " + error;
}

class Timeline {
 public:
  // What there is to say of an event; nothing, if it says nothing new.
  std::string line(const bus::Event& event) {
    const auto type = event.type().substr(event.type().rfind('.') + 1);
    if (type == "SagaStarted") return started(event.as<saga::SagaStarted>().value());
    if (type == "StepStarted") return attempt(event.as<saga::StepStarted>().value(), false);
    if (type == "StepCompensationStarted") return attempt(event.as<saga::StepCompensationStarted>().value(), true);
    if (type == "StepAttemptFailed") return attempt_failed(event.as<saga::StepAttemptFailed>().value());
    if (type == "StepReply") return reply(event.as<saga::StepReply>().value());
    if (type == "SagaTimerSet") return timer(event.as<saga::SagaTimerSet>().value(), event.time());
    if (type == "StepCompleted") return completed(event.as<saga::StepCompleted>().value());
    if (type == "StepFailed") return failed(event.as<saga::StepFailed>().value());
    if (type == "CompensationStarted") return undoing(event.as<saga::CompensationStarted>().value());
    if (type == "StepCompensated") return undone(event.as<saga::StepCompensated>().value()->step_id(), "undone");
    if (type == "StepCompensationFailed") return undo_failed(event.as<saga::StepCompensationFailed>().value());
    if (type == "SagaCompleted") return ended(event.as<saga::SagaCompleted>().value()->duration_ns(), 0, "completed");
    if (type == "SagaFailed") return saga_failed(event.as<saga::SagaFailed>().value());
    return "";
  }
  // 0, 3 or 4 once it has ended.
  int exit_code() const { return exit_code_; }

 private:
  std::string started(const saga::SagaStarted* event) {
    return "saga " + event->saga_id()->str() + " begins: " + std::to_string(event->steps_count()) + " steps, for " + text_of(event->user_id());
  }
  template <typename Table>
  std::string attempt(const Table* event, bool undo) {
    open_ = {event->step_id()->str(), event->attempt(), undo};
    return std::get<0>(open_) + ": attempt " + std::to_string(event->attempt()) + (undo ? " at undoing it begins" : " begins");
  }
  std::string attempt_failed(const saga::StepAttemptFailed* event) {
    open_ = {};
    return event->step_id()->str() + ": attempt " + std::to_string(event->attempt()) + " failed: " + why(event);
  }
  // What comes of the attempt that is open is said by the event that follows.
  std::string reply(const saga::StepReply* event) const {
    if (open_ == Attempt{event->step_id()->str(), event->attempt(), event->compensation()}) return "";
    return event->step_id()->str() + ": a late reply to attempt " + std::to_string(event->attempt()) + ": " + (event->failed() ? why(event) : "done");
  }
  static std::string timer(const saga::SagaTimerSet* event, bus::WallTime now) {
    if (event->kind() != saga::TimerKind::retry) return "";
    return event->step_id()->str() + ": again in " + in_words(bus::wall_time(event->due_at()) - now);
  }
  std::string completed(const saga::StepCompleted* event) {
    open_ = {};
    return event->step_id()->str() + ": done after " + in_words(bus::Duration(event->duration_ns())) + ": " + text_of(event->result());
  }
  std::string failed(const saga::StepFailed* event) {
    open_ = {};
    return event->step_id()->str() + ": FAILED for good after " + std::to_string(event->retry_count()) + (event->retry_count() == 1 ? " attempt: " : " attempts: ") + why(event) +
           (event->uncertain() ? "; its effect may be there" : "");
  }
  static std::string undoing(const saga::CompensationStarted* event) {
    if (event->steps_to_compensate() == 0) return "there is nothing to undo";
    return "now " + std::to_string(event->steps_to_compensate()) + (event->steps_to_compensate() == 1 ? " step is" : " steps are") + " undone, the last one first";
  }
  std::string undone(const flatbuffers::String* step, const std::string& what) {
    open_ = {};
    return step->str() + ": " + what;
  }
  std::string undo_failed(const saga::StepCompensationFailed* event) { return undone(event->step_id(), "could NOT be undone: " + text_of(event->error())); }
  std::string saga_failed(const saga::SagaFailed* event) {
    const bool all = event->outcome() == saga::Outcome::compensated;
    return ended(event->duration_ns(), all ? 3 : 4, (all ? "undone, because of " : "undone in part, because of ") + text_of(event->error()));
  }
  std::string ended(std::int64_t duration_ns, int exit_code, const std::string& how) {
    exit_code_ = exit_code;
    return "saga " + how + " (" + in_words(bus::Duration(duration_ns)) + ")";
  }

  using Attempt = std::tuple<std::string, std::uint32_t, bool>;
  Attempt open_;                         // this saga has one step after the other
  int exit_code_ = -1;
};

}  // namespace

int follow(bus::Client& client, const std::string& saga_id) {
  bus::ReplayOptions options;
  options.filter.keys = {saga_id};
  options.to = {};                       // follows the log
  Timeline timeline;
  std::optional<bus::WallTime> begun;
  auto events = client.replay(options);
  while (timeline.exit_code() < 0) {
    const auto event = events.read().value();
    if (!begun) begun = event->committed_at();
    const auto line = timeline.line(*event);
    if (line.empty()) continue;
    std::printf("%8.3f s  %s\n", std::chrono::duration<double>(event->committed_at() - *begun).count(), line.c_str());
    std::fflush(stdout);
  }
  return timeline.exit_code();
}
