// A service is a group of members that share the commands of a topic. Each command is settled in the transaction that has its reply.
#include "bus/saga_service.hpp"

#include <optional>

#include "bus/transaction.hpp"
#include "libbus/saga/command.hpp"
#include "libbus/saga/extender.hpp"
#include "libbus/saga/unanswered.hpp"

namespace bus::saga {

namespace {

constexpr Duration answer_again_after = 1s;

Result<void> check(const ServiceSteps& steps, const ServiceOptions& options) {
  if (steps.empty()) return Error{Code::bad_argument, "a service does at least one step"};
  for (const auto& [name, step] : steps) {
    if (!step.run) return Error{Code::bad_argument, "step '" + name + "' of the service has no function: give it one as ServiceStep::run"};
  }
  if (options.concurrency == 0) return Error{Code::bad_argument, "a service has a concurrency of 1 or more"};
  if (options.ack_wait < 100ms || options.ack_wait > 24h) return Error{Code::bad_argument, "the ack_wait of a service is 100 ms to 24 h"};
  return {};
}

}  // namespace

struct Service::Impl {
  Impl(Client& client, ServiceSteps steps, ServiceOptions options)
      : client_(client), steps_(std::move(steps)), options_(std::move(options)), extender_(options_.ack_wait / 4) {}
  ~Impl() { close(); }

  Result<void> start(const std::string& topic);
  Result<void> wait() { return commands_->wait(); }
  void close() {
    if (commands_) commands_->close();
  }

 private:
  void take(Subscription& subscription, const Event& event);
  Done work(const StepCommandT& command) const;
  void answer(Subscription& subscription, const Event& event, const StepCommandT& command, const Done& done);
  Code reply(Subscription& subscription, const Event& event, const StepCommandT& command, const Done& done);
  void tell(const Error& error) const {
    if (options_.on_trouble) options_.on_trouble(error);
  }

  Client& client_;
  const ServiceSteps steps_;
  const ServiceOptions options_;
  Unanswered unanswered_;
  Extender extender_;
  std::optional<Subscription> commands_;
};

Result<void> Service::Impl::start(const std::string& topic) {
  SubscribeOptions commands;
  commands.patterns = {topic};
  commands.types = {::suoke::saga::StepCommand::GetFullyQualifiedName()};
  commands.group = options_.group.empty() ? topic : options_.group;
  commands.ack = AckMode::manual;
  commands.concurrency = options_.concurrency;
  commands.credit_events = options_.concurrency;  // what waits here, another process could do
  commands.settings.sharing = wire::Sharing::key_ordered;
  commands.settings.attempts_max = GroupSettings::unlimited;
  commands.settings.ack_wait = options_.ack_wait;
  auto subscribed = client_.subscribe(commands, [this](Subscription& subscription, const Event& event) { take(subscription, event); });
  if (!subscribed) return subscribed.error();
  commands_ = std::move(*subscribed);
  return {};
}

void Service::Impl::take(Subscription& subscription, const Event& event) {
  StepCommandT command;
  event.as<::suoke::saga::StepCommand>().value()->UnPackTo(&command);
  const auto done = [&] {
    const auto hold = extender_.hold(subscription, event);
    return unanswered_.once(event.position(), [&] { return work(command); });
  }();
  answer(subscription, event, command, done);
}

Done Service::Impl::work(const StepCommandT& command) const {
  const auto step = steps_.find(command.step_id);
  if (step == steps_.end()) return Failed{"unknown_step", "the service has no function for step '" + command.step_id + "'"};
  const Action& action = command.compensation ? step->second.undo : step->second.run;
  if (!action) return Failed{"unknown_step", "the service has no function to undo step '" + command.step_id + "'"};
  if (const auto late = too_late(command, std::chrono::system_clock::now())) return *late;
  return run_action(action, CommandContext(command));
}

void Service::Impl::answer(Subscription& subscription, const Event& event, const StepCommandT& command, const Done& done) {
  Code code = reply(subscription, event, command, done);
  if (code == Code::event_too_large) code = reply(subscription, event, command, too_large());
  // After stale_ack and the like it is with somebody else, or comes again: then what came of it is still known here.
  if (code == Code::ok) unanswered_.forget(event.position());
}

// How the reply ended. What does not end well by itself comes again, or becomes a dead letter.
Code Service::Impl::reply(Subscription& subscription, const Event& event, const StepCommandT& command, const Done& done) {
  Transaction step;
  step.publish(answer_to(command, done, event.id(), std::chrono::system_clock::now())).ack(subscription, event);
  const auto stored = client_.transact(step).get();
  if (stored) return Code::ok;
  switch (const Error& error = stored.error(); error.code) {
    case Code::stale_ack:
    case Code::not_delivered:
    case Code::unknown_subscription:
    case Code::event_too_large: break;
    case Code::bad_event:
    case Code::bad_topic:
    case Code::bad_key:
    case Code::unknown_topic:
    case Code::type_not_admitted:
      subscription.reject(event, "the command cannot be answered: " + describe(error));
      tell(error);
      break;
    default:
      subscription.nack(event, answer_again_after, describe(error));
      tell(error);
  }
  return stored.error().code;
}

Result<Service> Service::start(Client& client, const std::string& topic, ServiceSteps steps, ServiceOptions options) {
  if (auto good = check(steps, options); !good) return good.error();
  auto impl = std::make_unique<Impl>(client, std::move(steps), std::move(options));
  if (auto started = impl->start(topic); !started) return started.error();
  return Service(std::move(impl));
}

Service::Service(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Service::Service(Service&&) noexcept = default;
Service& Service::operator=(Service&&) noexcept = default;
Service::~Service() = default;
Result<void> Service::wait() { return impl_->wait(); }
void Service::close() {
  if (impl_) impl_->close();
}

}  // namespace bus::saga
