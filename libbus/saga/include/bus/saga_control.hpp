// What services and people do with sagas from outside: start, look, signal, and change the course of one by hand.
//
//   bus::saga::Control control(client);
//   control.signal("order/17", "approval", {"", {}, "yes"}).value();
//   control.retry_step("order/17", "charge", {"the bank is back", "mia"}).value();
//   for (const auto& line : control.report("order/17").value().waits_for) std::cout << line << "\n";
//
// It needs no definition in C++: what workers have registered is on the bus. Every change is an event of the saga's key, with who wants it and
// why, and is stored only if the key is still where it was looked at: so no request is about another state than the one that it fits.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bus/client.hpp"
#include "bus/saga_worker.hpp"
#include "bus/suoke_saga_generated.h"

namespace bus::saga {

struct ByHand {
  std::string reason;                    // 1 to 1,024 bytes; of a signal it may be empty
  std::string by;                        // who wants it; at most 256 bytes, may be empty
};
inline constexpr std::size_t reason_bytes_max = 1024;
inline constexpr std::size_t by_bytes_max = 256;

// A definition as its workers have registered it.
struct Registered {
  std::shared_ptr<const ::suoke::saga::SagaDefinedT> definition;  // never null
  WallTime since;
};

struct StepReport {
  std::string name;
  std::uint32_t stage = 0;               // those of one stage run at once
  // pending, running, retrying, parked, completed, skipped, failed, compensating, compensation_retrying, compensation_parked, compensated or
  // compensation_failed
  std::string status;
  std::uint32_t attempt = 0;             // the last one that began: at the step, or at its compensation once there was one
  std::uint32_t failures = 0;            // of those attempts
  std::optional<WallTime> started_at;    // when the first attempt began; nothing: none has
  std::optional<WallTime> since;         // its status has been what it is
  Value result;
  std::string code, error;               // of the last failure
  bool is_uncertain = false;             // an attempt took too long, so its effect may be there
  std::string waits_for;                 // for people; empty: it has not begun, or has ended
};

struct TimerReport {
  std::string kind;                      // what is due then: retry (the next attempt), or the time of the attempt, step or saga is over
  std::string step;                      // empty: of the saga
  std::uint32_t attempt = 0;
  bool compensation = false;
  WallTime due;
};

// All that is known of one instance, as of one version of its key.
struct Report {
  std::string saga_id, name, hash, user_id;
  std::shared_ptr<const ::suoke::saga::SagaDefinedT> definition;  // null: it is not in the log any more
  std::string status;                    // running, compensating, completed, compensated or compensation_failed
  // Cancelled: somebody has asked for its end, and its pivot has not succeeded since.
  bool is_paused = false, is_parked = false, is_cancelled = false;
  WallTime since;                        // all of that has been what it is
  WallTime started_at;
  std::optional<WallTime> ended_at;
  Value input;
  std::string error;                     // why it was not, or will not be, completed
  std::uint64_t completed_steps = 0;     // completed or skipped, those that were undone since, too
  std::vector<StepReport> steps;         // in the order of the definition
  std::vector<TimerReport> timers;       // that are still of use
  std::uint64_t late_replies = 0;
  std::vector<std::string> waits_for;    // for people; empty: it has ended
  std::vector<std::string> fits;         // what may be done by hand now: "pause", "retry-step charge", "signal approval"
  std::uint64_t version = 0;             // of the saga's key
};

// A handle; the client must outlive it. Thread-safe. Each call waits for the broker, as the requests of Client do, and for a receipt as long as
// it is told here. Besides those named all have the errors of Client::read_key() and publish(), and not_found for a saga or definition that is not
// there. timed_out may also say that no receipt came: then it is not known whether the event is stored, and report() tells once the broker is back.
class BUS_API Control {
 public:
  // `patience` 0: for ever.
  explicit Control(Client& client, Duration patience = 30s) : client_(&client), patience_(patience) {}

  // As Starter::start(), with the definition of that name that was registered last.
  Result<Instance> start(const std::string& definition, const std::string& business_id, const Value& input = {}, const std::string& user_id = "");

  // Sends what a step waits for, or will wait for. It counts once: while the step has not ended, the first that came is kept, and whoever sends
  // another is told conflict, as one is once the step or saga has ended, or will not come to it. not_found: no step waits for it; the
  // detail names those signals there are. bad_argument: the value is of another type than the step's result.
  Result<Receipt> signal(const std::string& saga_id, const std::string& signal, const Value& value = {}, const ByHand& why = {});

  // Changes by hand. Errors: conflict, if it makes no sense now: the detail says what the saga is at, and what fits. bad_argument: no
  // reason, or a text that is too long. not_found: it has no such step.
  // Nothing new begins until it is resumed; what is under way ends.
  Result<Receipt> pause(const std::string& saga_id, const ByHand& why);
  Result<Receipt> resume(const std::string& saga_id, const ByHand& why);
  // What is at work ends, and all that was done is undone, unless the pivot, at work by then, succeeds: then the saga goes on, as if nobody had asked.
  // Of a saga that is paused once it is resumed. Not after the pivot.
  Result<Receipt> cancel(const std::string& saga_id, const ByHand& why);
  // Of a step that is parked, or whose compensation is: it is tried again, with all its retries and all its time.
  Result<Receipt> retry_step(const std::string& saga_id, const std::string& step, const ByHand& why);
  // A step that has begun and not ended counts as done, and one that is being undone as undone. `value` is what it would have made; if there is one,
  // it has the type of the step's result, else bad_argument.
  Result<Receipt> skip_step(const std::string& saga_id, const std::string& step, const ByHand& why, const Value& value = {});
  // Undoes a saga that is parked, also after its pivot.
  Result<Receipt> compensate(const std::string& saga_id, const ByHand& why);

  Result<Report> report(const std::string& saga_id);

  // The one of that name that was registered last; or with a hash, last with that.
  Result<Registered> definition(const std::string& name, const std::string& hash = "");
  // All that were registered under the name, the last one first.
  Result<std::vector<Registered>> versions(const std::string& name);
  // Of each name the one that was registered last, in the order of their names.
  Result<std::vector<Registered>> definitions();

 private:
  Client* client_;
  Duration patience_;
};

}  // namespace bus::saga
