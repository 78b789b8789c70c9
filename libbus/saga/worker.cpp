// A worker has two subscriptions: in one it decides what follows from what has come to an instance, in the other it runs the functions of local
// steps. Each event is settled in the transaction that has what follows from it, so nothing follows twice.
#include "bus/saga_worker.hpp"
#include "bus/transaction.hpp"
#include "libbus/saga/extender.hpp"
#include "libbus/saga/registration.hpp"
#include "libbus/saga/runner.hpp"
#include "libbus/saga/unanswered.hpp"

namespace bus::saga {

namespace {

constexpr Duration again_after = 1s;
constexpr Duration extend_every = 5s;

class ClientBus : public Bus {
 public:
  ClientBus(Client& client, Subscription& subscription) : client_(client), subscription_(subscription) {}
  WallTime now() override { return std::chrono::system_clock::now(); }
  Result<void> fold_key(const std::string& key, std::uint64_t from, const std::function<void(const Event&)>& fold) override {
    const auto head = client_.fold_key(key, fold, from);
    return head ? Result<void>() : head.error();
  }
  Result<std::vector<Receipt>> transact(const Event& event, const FollowUp& what) override {
    Transaction step;
    if (what.condition) step.require(*what.condition);
    for (const auto& one : what.events) step.publish(one);
    for (const auto& one : what.cancels) step.cancel(one);
    if (what.settles) step.ack(subscription_, event);
    return client_.transact(step).get();
  }
  void ack(const Event& event) override { subscription_.ack(event); }

 private:
  Client& client_;
  Subscription& subscription_;
};

}  // namespace

struct Worker::Impl {
  Impl(Client& client, Definition definition, WorkerOptions options)
      : client_(client), options_(std::move(options)), runner_(std::move(definition), options_.cached_bytes) {}
  ~Impl() { close(); }

  Result<void> start();
  Result<void> wait();
  void close();

 private:
  void decide_on(Subscription& subscription, const Event& event);
  void act_on(Subscription& subscription, const Event& event);
  void give_back(Subscription& subscription, const Event& event, const Error& why);
  Result<void> tell_left_alone();

  Client& client_;
  WorkerOptions options_;
  Runner runner_;
  Unanswered unanswered_;
  Extender extender_{extend_every};
  std::optional<Subscription> decisions_, actions_;
};

Result<void> Worker::Impl::start() {
  const Definition& definition = runner_.definition();
  if (auto registered = register_definition(client_, definition); !registered) return registered;
  if (auto told = tell_left_alone(); !told) return told;
  SubscribeOptions decisions;
  decisions.group = decisions_group(definition);
  decisions.ack = AckMode::manual;
  decisions.concurrency = options_.decisions;
  decisions.credit_events = 16 * options_.decisions;
  auto subscribed = client_.subscribe(decisions, [this](Subscription& subscription, const Event& event) { decide_on(subscription, event); });
  if (!subscribed) return subscribed.error();
  decisions_ = std::move(*subscribed);
  SubscribeOptions actions;
  actions.group = actions_group(definition);
  actions.ack = AckMode::manual;
  actions.concurrency = options_.actions;
  actions.credit_events = options_.actions;  // what waits here, another worker could do
  subscribed = client_.subscribe(actions, [this](Subscription& subscription, const Event& event) { act_on(subscription, event); });
  if (!subscribed) return subscribed.error();
  actions_ = std::move(*subscribed);
  return {};
}

// Groups of the definition's name but another hash, which have no members, and have not looked at all there is.
Result<void> Worker::Impl::tell_left_alone() {
  if (!options_.on_left_alone) return {};
  const std::string prefix = "saga." + runner_.definition().name() + ".", own = decisions_group(runner_.definition());
  wire::GroupsRequestT question;
  question.after = prefix;
  for (;;) {
    wire::AskUnion ask;
    ask.Set(wire::GroupsRequestT(question));
    const auto answer = client_.request(std::move(ask));
    if (!answer) return answer.error();
    const auto* reply = answer->reply->answer.AsGroupsReply();
    if (reply == nullptr) return Error{Code::malformed, "the broker's answer to a request for groups is of another kind"};
    for (const auto& group : reply->groups) {
      if (!group->name.starts_with(prefix)) return {};
      const std::string hash = group->name.substr(prefix.size());
      if (group->name == own || hash.find('.') != std::string::npos || group->members > 0 || group->lag == 0) continue;
      options_.on_left_alone({runner_.definition().name(), hash});
    }
    if (reply->more.empty()) return {};
    question.after = reply->more;
  }
}

Result<void> Worker::Impl::wait() {
  // Where one has ended with an error the worker is of no use, and the other one ends, too.
  auto ended = decisions_->wait();
  actions_->close();
  return ended ? actions_->wait() : ended;
}

void Worker::Impl::close() {
  if (actions_) actions_->close();
  if (decisions_) decisions_->close();
}

void Worker::Impl::decide_on(Subscription& subscription, const Event& event) {
  ClientBus bus(client_, subscription);
  const auto decided = runner_.decide_on(event, bus);
  if (!decided) give_back(subscription, event, decided.error());
}

void Worker::Impl::act_on(Subscription& subscription, const Event& event) {
  const auto hold = extender_.hold(subscription, event);
  ClientBus bus(client_, subscription);
  const auto attempt = runner_.begin(event, bus);
  if (!attempt) return give_back(subscription, event, attempt.error());
  if (!*attempt) return;
  const Done done = unanswered_.once(event.position(), [&] { return Runner::run(**attempt); });
  const auto replied = runner_.reply(event, **attempt, done, bus);
  if (!replied) return give_back(subscription, event, replied.error());
  if (*replied) unanswered_.forget(event.position());
}

void Worker::Impl::give_back(Subscription& subscription, const Event& event, const Error& why) {
  subscription.nack(event, again_after, describe(why));
  if (options_.on_trouble) options_.on_trouble(why);
}

Result<Worker> Worker::start(Client& client, Definition definition, WorkerOptions options) {
  if (options.decisions == 0 || options.actions == 0 || options.cached_bytes < values_bytes_max) return Error{Code::bad_argument, "a worker has at least one thread for decisions, one for actions, and " + std::to_string(values_bytes_max) + " bytes for states"};
  auto impl = std::make_unique<Impl>(client, std::move(definition), std::move(options));
  if (auto started = impl->start(); !started) return started.error();
  return Worker(std::move(impl));
}

Worker::Worker(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Worker::Worker(Worker&&) noexcept = default;
Worker& Worker::operator=(Worker&&) noexcept = default;
Worker::~Worker() = default;
Result<void> Worker::wait() { return impl_->wait(); }
void Worker::close() {
  if (impl_) impl_->close();
}

}  // namespace bus::saga
