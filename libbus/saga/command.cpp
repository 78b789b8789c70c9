#include "libbus/saga/command.hpp"

#include <exception>

#include "libbus/saga/state.hpp"

namespace bus::saga {

CommandContext::CommandContext(const StepCommandT& command) : command_(command), input_(value_of(command.input)) {
  for (const auto& one : command.results) results_.emplace(one->name, value_of(one->value));
}

const Value* CommandContext::result(std::string_view step) const {
  const auto it = results_.find(step);
  return it == results_.end() ? nullptr : &it->second;
}

std::optional<WallTime> CommandContext::deadline() const {
  return command_.deadline == 0 ? std::nullopt : std::optional(wall_time(command_.deadline));
}

std::variant<Value, Failed> run_action(const Action& action, const Context& context) try {
  return action(context);
} catch (const std::exception& error) {
  return Failed{"", error.what()};
} catch (...) {
  return Failed{"", "an exception that is none of std"};
}

Failed too_large() { return {too_large_code, "its result is too large for an event"}; }

std::optional<Failed> too_late(const StepCommandT& command, WallTime now) {
  if (command.compensation || command.deadline == 0 || now <= wall_time(command.deadline)) return std::nullopt;
  const auto late = std::chrono::duration_cast<std::chrono::milliseconds>(now - wall_time(command.deadline));
  return Failed{timeout_code, "the command came " + std::to_string(late.count()) + " ms after its deadline, and was not done"};
}

StepReplyT reply_of(const std::variant<Value, Failed>& outcome) {
  StepReplyT reply;
  if (const auto* failed = std::get_if<Failed>(&outcome)) {
    reply.failed = true;
    reply.code = failed->code;
    reply.error = failed->error;
  } else {
    reply.value = to_wire(std::get<Value>(outcome));
  }
  return reply;
}

NewEvent answer_to(const StepCommandT& command, const std::variant<Value, Failed>& outcome, std::string_view causation_id, WallTime now) {
  StepReplyT reply = reply_of(outcome);
  reply.saga_id = command.saga_id;
  reply.step_id = command.step_id;
  reply.attempt = command.attempt;
  reply.compensation = command.compensation;
  auto answer = event_of(Fact(std::move(reply)), command.definition, command.definition_hash, now);
  answer.topic = command.reply_topic;
  answer.causation_id = causation_id;
  return answer;
}

}  // namespace bus::saga
