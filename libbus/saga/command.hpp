// A command and its answer, as a service sees them; and how a function of a step is called.
#pragma once

#include <map>
#include <string>

#include "libbus/saga/facts.hpp"

namespace bus::saga {

// What a command says. It must outlive this.
class CommandContext : public Context {
 public:
  explicit CommandContext(const StepCommandT& command);
  std::string_view saga_id() const override { return command_.saga_id; }
  std::string_view step() const override { return command_.step_id; }
  std::uint32_t attempt() const override { return command_.attempt; }
  std::string_view idempotency_key() const override { return command_.idempotency_key; }
  const Value& input() const override { return input_; }
  const Value* result(std::string_view step) const override;
  std::optional<WallTime> deadline() const override;

 private:
  const StepCommandT& command_;
  Value input_;
  std::map<std::string, Value, std::less<>> results_;
};

// An exception is a failure without a code.
std::variant<Value, Failed> run_action(const Action& action, const Context& context);

// In the place of a result that no event can carry.
Failed too_large();
// A command that came after its deadline is not done, as the saga has gone on; what undoes is, as it is due whenever it comes. Whether an earlier
// delivery had its effect nobody knows. Nothing: it is in time.
std::optional<Failed> too_late(const StepCommandT& command, WallTime now);

// Says what came of it; whose attempt it was is not filled in.
StepReplyT reply_of(const std::variant<Value, Failed>& outcome);
// The event that answers a command.
NewEvent answer_to(const StepCommandT& command, const std::variant<Value, Failed>& outcome, std::string_view causation_id, WallTime now);

}  // namespace bus::saga
