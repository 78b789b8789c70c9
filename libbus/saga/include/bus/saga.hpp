// Sagas: a transaction over several services, as steps of which each can be undone.
//
//   auto entry = bus::saga::Definition("health_data_entry")
//                    .step(bus::saga::Step("validate_user").run(validate).no_compensation())
//                    .step(bus::saga::Step("save_health_data").run(save).compensate(remove))
//                    .step(bus::saga::Step("update_blockchain").command("blockchain.commands").compensate_by_command("blockchain.commands").pivot())
//                    .step(bus::saga::Step("trigger_ai_analysis").run(analyse).no_compensation())
//                    .timeout(1h);
//   entry.check().value();
//
// A definition says what a saga is; it is a value, and does nothing by itself.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "bus/event.hpp"
#include "bus/result.hpp"
#include "bus/types.hpp"

namespace bus::saga {

using namespace std::chrono_literals;

// A typed value on its way between steps: the input of a saga, what a step has made, or what came with a signal.
struct Value {
  std::string type;                      // full name of the root table; empty: there is no value, or it is plain text
  std::vector<std::uint8_t> bytes;       // a finished FlatBuffer of that type
  std::string text;                      // for people, and for values that need no type, such as the id of a record

  // Of an object of the generated API: Value::of(update).
  template <typename Object>
  static Value of(const Object& object) {
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(Object::TableType::Pack(builder, &object));
    return {Object::TableType::GetFullyQualifiedName(), {builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize()}, ""};
  }
  // And back: value.as<suoke::health::HealthDataUpdate>(). It lives as long as the value. Errors: bad_payload, if it is of another type, or its bytes
  // are none of that type: the broker looks at the event that they are in, not at them.
  template <typename Table>
  Result<const Table*> as() const {
    if (type != Table::GetFullyQualifiedName()) return Error{Code::bad_payload, "the value is a '" + type + "', not a " + Table::GetFullyQualifiedName()};
    flatbuffers::Verifier verifier(bytes.data(), bytes.size());
    if (!verifier.VerifyBuffer<Table>(nullptr)) return Error{Code::bad_payload, "the bytes of the value are no " + type};
    return flatbuffers::GetRoot<Table>(bytes.data());
  }
};

// Why an attempt failed. `code` is the service's own word, which a retry policy may name.
struct Failed {
  std::string code;
  std::string error;
};

// What an attempt is told: who it is of, and what is known by then. Views live as long as the call.
class BUS_API Context {
 public:
  virtual ~Context() = default;
  virtual std::string_view saga_id() const = 0;
  virtual std::string_view step() const = 0;
  virtual std::uint32_t attempt() const = 0;                   // from 1
  // "SAGA:STEP", and for a compensation "SAGA:STEP:undo": the same for every attempt, so that a service that remembers it does
  // its work once.
  virtual std::string_view idempotency_key() const = 0;
  virtual const Value& input() const = 0;
  // Of a step that is complete, or a signal that came. Null: there is none of that name by now.
  virtual const Value* result(std::string_view step) const = 0;
  // Until then the attempt must have ended; what comes later counts as failed.
  virtual std::optional<WallTime> deadline() const = 0;
};

// What an attempt came to.
using Done = std::variant<Value, Failed>;

// Does the work of one attempt, on a thread of the worker. It may be called again with the same idempotency key, after a crash also
// without having failed. An exception is a failure without a code.
using Action = std::function<Done(const Context&)>;

// When a failed attempt is tried again. What the plan of the platform asks for is what stands here: 3 retries, after 1, 2 and 4 s.
struct BUS_API RetryPolicy {
  enum class Kind : std::uint8_t { fixed, linear, exponential };
  Kind kind = Kind::exponential;
  std::uint32_t retries = 3;
  Duration first = 1s;                   // before the first retry; then the same, twice, three times …, or twice, four times …
  Duration cap = {};                     // no delay is longer; 0: none is cut
  double jitter = 0;                     // up to this part of a delay is left out, 0 to 1
  std::vector<std::string> not_retried;  // codes of failures that no retry would mend

  static RetryPolicy none() { return {Kind::fixed, 0, 0s, {}, 0, {}}; }

  // Before attempt `failed` + 1, when so many have failed with that code; nothing: there is no such attempt. `salt` decides about the
  // jitter: the same for the same salt, also on another machine.
  std::optional<Duration> delay(std::uint32_t failed, std::string_view code, std::uint64_t salt) const;
};

// How a step that has been done is undone when a later one fails.
struct Compensation {
  enum class Kind : std::uint8_t { unsaid, none, local, remote };
  enum class OnFailure : std::uint8_t {
    go_on,                               // the others are undone; the saga ends as compensation_failed
    park                                 // it stands still until a person decides
  };
  Kind kind = Kind::unsaid;
  Action action;                         // local
  std::string topic;                     // remote: where its command goes
  RetryPolicy retry;
  OnFailure on_failure = OnFailure::go_on;
};

// One step. It is what is done with it last that counts: run(), command() or wait_for().
class BUS_API Step {
 public:
  enum class Kind : std::uint8_t { unsaid, local, remote, signal };

  // 1 to 64 letters, digits, '-' and '_', unique within the saga.
  explicit Step(std::string name) : name_(std::move(name)) {}

  Step& run(Action action);                              // in a worker
  Step& command(std::string topic);                      // a StepCommand goes to the topic, a StepReply comes back
  Step& wait_for(std::string signal);                    // until somebody sends it; its value is the result of the step
  Step& compensate(Action action);
  Step& compensate_by_command(std::string topic);
  Step& no_compensation();                               // there is nothing to undo
  Step& on_compensation_failure(Compensation::OnFailure what);
  Step& retry(RetryPolicy policy);
  Step& retry_compensation(RetryPolicy policy);
  Step& attempt_timeout(Duration time);                  // of each attempt, and each of its compensation
  Step& timeout(Duration time);                          // of all attempts together, with the delays between them
  Step& result(std::string type);                        // full name of the type that its result has to have
  // Once this step is done the saga only goes forward: what fails after it is not compensated, but parked.
  Step& pivot();

  const std::string& name() const { return name_; }
  Kind kind() const { return kind_; }
  const Action& action() const { return action_; }
  const std::string& topic() const { return topic_; }
  const std::string& signal() const { return signal_; }
  const Compensation& compensation() const { return compensation_; }
  const RetryPolicy& retry() const { return retry_; }
  std::optional<Duration> attempt_timeout() const { return attempt_timeout_; }
  std::optional<Duration> timeout() const { return timeout_; }
  const std::string& result() const { return result_; }
  bool is_pivot() const { return is_pivot_; }

 private:
  std::string name_, topic_, signal_, result_;
  Kind kind_ = Kind::unsaid;
  Action action_;
  Compensation compensation_;
  RetryPolicy retry_;
  std::optional<Duration> attempt_timeout_, timeout_;
  bool is_pivot_ = false;
};

// What a saga of this name is. Steps are done one after the other; those of a parallel group at once, and all of them have to succeed
// before what follows begins. What completed is undone in reverse order, the steps of a group and, where it is asked for, all of
// them at once.
class BUS_API Definition {
 public:
  // 1 to 64 letters, digits, '-' and '_'.
  explicit Definition(std::string name) : name_(std::move(name)) {}

  Definition& step(Step step);
  Definition& parallel(std::vector<Step> steps);
  Definition& input(std::string type);                   // full name of the type that the input has to have; else any, or none
  Definition& timeout(Duration time);                    // of the whole: then it is compensated
  Definition& compensate_in_parallel();

  // Errors: bad_argument, naming the step and what is wrong with it: no steps, two of one name, a step that does nothing or does not say
  // how it is undone, two that wait for one signal, a second pivot or one in a group, a policy or time that makes no sense, a limit.
  Result<void> check() const;

  const std::string& name() const { return name_; }
  // In their order; those of one group have the same stage.
  const std::vector<Step>& steps() const { return steps_; }
  std::size_t stages() const { return stages_.empty() ? 0 : stages_.back() + 1; }
  std::size_t stage_of(std::size_t step) const { return stages_[step]; }
  const Step* find(std::string_view step) const;
  const std::string& input_type() const { return input_type_; }
  std::optional<Duration> timeout() const { return timeout_; }
  bool compensates_in_parallel() const { return compensates_in_parallel_; }
  // All that it says, but for what its functions do: 32 hexadecimal digits. An instance is run by workers of the same hash only.
  std::string hash() const;

 private:
  std::string name_, input_type_;
  std::vector<Step> steps_;
  std::vector<std::size_t> stages_;      // of each step
  std::optional<Duration> timeout_;
  bool compensates_in_parallel_ = false;
};

inline constexpr std::size_t name_bytes_max = 64;
inline constexpr std::size_t steps_max = 256;
// Input, results and signals of an instance together: a command takes all of them along. A result that is one byte too much is a failure with
// code too_large, which is not tried again.
inline constexpr std::size_t values_bytes_max = 512 * 1024;

}  // namespace bus::saga
