// A worker has two subscriptions: in one it decides what follows from what has come to an instance, in the other it runs the functions of local
// steps. Each event is settled in the transaction that has what follows from it, so nothing follows twice.
#include <algorithm>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

#include "bus/saga_worker.hpp"
#include "bus/transaction.hpp"
#include "libbus/saga/effects.hpp"
#include "libbus/saga/registration.hpp"
#include "libbus/saga/state_cache.hpp"

namespace bus::saga {

namespace {

constexpr Duration again_after = 1s;
constexpr Duration extend_every = 5s;

WallTime wall_now() { return std::chrono::system_clock::now(); }

// Of an attempt that is run here.
class LocalContext : public Context {
 public:
  LocalContext(std::shared_ptr<const Cached> cached, const Step& step, std::uint32_t attempt, bool compensation, WallTime began)
      : cached_(std::move(cached)), step_(step.name()), attempt_(attempt), key_(saga::idempotency_key(cached_->state.saga_id, step_, compensation)),
        deadline_(deadline_of(cached_->state, step_)) {
    // Its own timer comes behind it in the log, and may not be known here yet.
    if (step.attempt_timeout()) deadline_ = std::min(deadline_.value_or(WallTime::max()), began + *step.attempt_timeout());
    if (step.timeout() && attempt == 1 && !compensation) deadline_ = std::min(deadline_.value_or(WallTime::max()), began + *step.timeout());
  }

  std::string_view saga_id() const override { return cached_->state.saga_id; }
  std::string_view step() const override { return step_; }
  std::uint32_t attempt() const override { return attempt_; }
  std::string_view idempotency_key() const override { return key_; }
  const Value& input() const override { return cached_->state.input; }
  const Value* result(std::string_view step) const override {
    const auto* one = cached_->state.find(step);
    const bool has_one = one != nullptr && std::find(cached_->state.completed.begin(), cached_->state.completed.end(), step) != cached_->state.completed.end();
    if (has_one) return &one->result;
    const auto signal = cached_->state.signals.find(step);
    return signal == cached_->state.signals.end() ? nullptr : &signal->second;
  }
  std::optional<WallTime> deadline() const override { return deadline_; }

 private:
  std::shared_ptr<const Cached> cached_;
  std::string step_;
  std::uint32_t attempt_;
  std::string key_;
  std::optional<WallTime> deadline_;
};

std::variant<Value, Failed> run_action(const Action& action, const Context& context) try {
  return action(context);
} catch (const std::exception& error) {
  return Failed{"", error.what()};
} catch (...) {
  return Failed{"", "an exception that is none of std"};
}

}  // namespace

struct Worker::Impl {
  Impl(Client& client, Definition definition, WorkerOptions options)
      : client_(client), definition_(std::move(definition)), hash_(definition_.hash()), options_(std::move(options)), cache_(options_.cached_states) {}
  ~Impl() { close(); }

  Result<void> start();
  void close();

 private:
  Result<std::shared_ptr<const Cached>> load(const std::string& key, const Event& event);
  void decide_on(Subscription& subscription, const Event& event);
  Result<void> decide_once(Subscription& subscription, const Event& event, bool with_cancels);
  void keep(const std::string& key, std::shared_ptr<Cached> next, const std::vector<NewEvent>& events, const std::vector<Receipt>& receipts);
  void act_on(Subscription& subscription, const Event& event);
  void reply(Subscription& subscription, const Event& event, StepReplyT reply);
  void extend_running();
  void give_back(Subscription& subscription, const Event& event, const Error& why);

  Client& client_;
  Definition definition_;
  std::string hash_;
  WorkerOptions options_;
  StateCache cache_;
  std::optional<Subscription> decisions_, actions_;
  // Attempts that run: their time to acknowledge begins anew while they do.
  std::mutex mutex_;
  std::condition_variable ended_;
  bool is_closing_ = false;
  std::map<std::pair<Position, std::uint32_t>, std::pair<Subscription, Event>> running_;
  std::thread extender_;
};

Result<void> Worker::Impl::start() {
  if (auto registered = register_definition(client_, definition_); !registered) return registered;
  extender_ = std::thread([this] { extend_running(); });
  SubscribeOptions decisions;
  decisions.group = decisions_group(definition_);
  decisions.ack = AckMode::manual;
  decisions.concurrency = options_.decisions;
  decisions.credit_events = 16 * options_.decisions;
  auto subscribed = client_.subscribe(decisions, [this](Subscription& subscription, const Event& event) { decide_on(subscription, event); });
  if (!subscribed) return subscribed.error();
  decisions_ = std::move(*subscribed);
  SubscribeOptions actions;
  actions.group = actions_group(definition_);
  actions.ack = AckMode::manual;
  actions.concurrency = options_.actions;
  actions.credit_events = options_.actions;  // what waits here, another worker could do
  subscribed = client_.subscribe(actions, [this](Subscription& subscription, const Event& event) { act_on(subscription, event); });
  if (!subscribed) return subscribed.error();
  actions_ = std::move(*subscribed);
  return {};
}

void Worker::Impl::close() {
  if (actions_) actions_->close();
  if (decisions_) decisions_->close();
  {
    const std::lock_guard lock(mutex_);
    is_closing_ = true;
  }
  ended_.notify_all();
  if (extender_.joinable()) extender_.join();
}

// The state as of the event at least.
Result<std::shared_ptr<const Cached>> Worker::Impl::load(const std::string& key, const Event& event) {
  auto known = cache_.find(key);
  if (known != nullptr && known->version >= event.version()) return known;
  auto folded = known != nullptr ? std::make_shared<Cached>(*known) : std::make_shared<Cached>();
  const auto fold = [&](const Event& one) {
    if (const auto fact = fact_of(one.type(), one.payload())) folded->state.apply(*fact, one.time());
    folded->version = one.version();
  };
  if (folded->version + 1 == event.version()) {
    fold(event);
  } else {
    const auto head = client_.fold_key(key, fold, folded->version + 1);
    if (!head) return head.error();
  }
  cache_.put(key, folded);
  return std::shared_ptr<const Cached>(std::move(folded));
}

void Worker::Impl::decide_on(Subscription& subscription, const Event& event) {
  bool with_cancels = true;
  for (;;) {
    const auto decided = decide_once(subscription, event, with_cancels);
    const auto code = decided ? Code::ok : decided.error().code;
    switch (code) {
      case Code::conflict: continue;     // what it had seen was not the head
      case Code::not_scheduled: with_cancels = false; continue;  // a timer that is of no use any more was due
      case Code::ok:
      case Code::stale_ack:              // somebody else has it by now
      case Code::not_delivered:
      case Code::unknown_subscription: return;
      default: return give_back(subscription, event, decided.error());
    }
  }
}

// Errors: those of load() and of Client::transact().
Result<void> Worker::Impl::decide_once(Subscription& subscription, const Event& event, bool with_cancels) {
  const std::string key(event.key());
  const auto loaded = load(key, event);
  if (!loaded) return loaded.error();
  auto next = std::make_shared<Cached>(**loaded);
  const auto now = wall_now();
  const auto facts = next->state.hash == hash_ ? advance(definition_, next->state, now) : std::vector<Fact>();
  if (facts.empty()) return subscription.ack(event), Result<void>();
  Transaction step;
  step.require(Condition::at((*loaded)->version, key)).ack(subscription, event);
  const auto events = effects(definition_, next->state, facts, now);
  for (auto one : events) {
    one.causation_id = event.id();
    step.publish(std::move(one));
  }
  std::erase_if(next->schedule_ids, [&](const auto& one) {
    if (next->state.is_wanted(one.first)) return false;
    if (with_cancels) step.cancel(one.second);
    return true;
  });
  const auto receipts = client_.transact(step).get();
  if (!receipts) {
    cache_.erase(key);
    return receipts.error();
  }
  keep(key, std::move(next), events, *receipts);
  return {};
}

void Worker::Impl::keep(const std::string& key, std::shared_ptr<Cached> next, const std::vector<NewEvent>& events, const std::vector<Receipt>& receipts) {
  for (std::size_t at = 0; at < events.size(); ++at) {
    if (events[at].key == key) next->version = std::max(next->version, receipts[at].version);
    if (!events[at].deliver_at) continue;
    // It was due by then, and came to the log at once: the state does not have it yet.
    if (receipts[at].schedule_id.empty()) return cache_.erase(key);
    const auto timer = std::get<SagaTimerT>(*fact_of(events[at].type, events[at].payload));
    next->schedule_ids.emplace_back(Timer{timer.kind, timer.step_id, timer.attempt, timer.compensation, *events[at].deliver_at}, receipts[at].schedule_id);
  }
  cache_.put(key, std::move(next));
}

void Worker::Impl::act_on(Subscription& subscription, const Event& event) {
  const auto fact = fact_of(event.type(), event.payload());
  const auto* started = fact ? std::get_if<StepStartedT>(&*fact) : nullptr;
  const auto* undo = fact ? std::get_if<StepCompensationStartedT>(&*fact) : nullptr;
  if (started == nullptr && undo == nullptr) return subscription.ack(event);
  const auto& name = started != nullptr ? started->step_id : undo->step_id;
  const auto attempt = started != nullptr ? started->attempt : undo->attempt;
  const Step* step = definition_.find(name);
  const bool is_local = step != nullptr && (started != nullptr ? step->kind() == Step::Kind::local : step->compensation().kind == Compensation::Kind::local);
  if (!is_local) return subscription.ack(event);
  const auto loaded = load(std::string(event.key()), event);
  if (!loaded) return give_back(subscription, event, loaded.error());
  const auto* one = (*loaded)->state.find(name);
  const bool is_wanted = one != nullptr && one->is_open && one->attempt == attempt && !one->outcome && (*loaded)->state.hash == hash_ &&
                         (one->status == StepStatus::running) == (started != nullptr);
  if (!is_wanted) return subscription.ack(event);
  const auto place = std::pair(event.position(), event.attempt());
  {
    const std::lock_guard lock(mutex_);
    running_.emplace(place, std::pair(subscription, event));
  }
  const auto outcome = run_action(started != nullptr ? step->action() : step->compensation().action, LocalContext(*loaded, *step, attempt, undo != nullptr, event.time()));
  {
    const std::lock_guard lock(mutex_);
    running_.erase(place);
  }
  StepReplyT reply;
  reply.saga_id = (*loaded)->state.saga_id;
  reply.step_id = name;
  reply.attempt = attempt;
  reply.compensation = undo != nullptr;
  if (const auto* failed = std::get_if<Failed>(&outcome)) {
    reply.failed = true;
    reply.code = failed->code;
    reply.error = failed->error;
  } else if (const auto& value = std::get<Value>(outcome); started != nullptr && !step->result().empty() && value.type != step->result()) {
    reply.failed = true;
    reply.code = "bad_result";
    reply.error = "the result is a '" + value.type + "', and the definition says " + step->result();
  } else {
    reply.value = to_wire(value);
  }
  this->reply(subscription, event, std::move(reply));
}

// With it the attempt is over, for whoever else may have the event by now, too.
void Worker::Impl::reply(Subscription& subscription, const Event& event, StepReplyT reply) {
  auto answer = event_of(Fact(std::move(reply)), definition_.name(), hash_, wall_now());
  answer.causation_id = event.id();
  Transaction step;
  step.publish(std::move(answer)).ack(subscription, event);
  const auto done = client_.transact(step).get();
  const auto code = done ? Code::ok : done.error().code;
  if (code == Code::ok || code == Code::stale_ack || code == Code::not_delivered || code == Code::unknown_subscription) return;
  give_back(subscription, event, done.error());
}

void Worker::Impl::give_back(Subscription& subscription, const Event& event, const Error& why) {
  subscription.nack(event, again_after, describe(why));
  if (options_.on_trouble) options_.on_trouble(why);
}

void Worker::Impl::extend_running() {
  std::unique_lock lock(mutex_);
  while (!ended_.wait_for(lock, extend_every, [this] { return is_closing_; })) {
    for (auto& [place, one] : running_) one.first.extend(one.second);
  }
}

Result<Worker> Worker::start(Client& client, Definition definition, WorkerOptions options) {
  if (options.decisions == 0 || options.actions == 0 || options.cached_states == 0) return Error{Code::bad_argument, "a worker has at least one thread for decisions, one for actions, and room for one state"};
  auto impl = std::make_unique<Impl>(client, std::move(definition), std::move(options));
  if (auto started = impl->start(); !started) return started.error();
  return Worker(std::move(impl));
}

Worker::Worker(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Worker::Worker(Worker&&) noexcept = default;
Worker& Worker::operator=(Worker&&) noexcept = default;
Worker::~Worker() = default;
void Worker::close() {
  if (impl_) impl_->close();
}

}  // namespace bus::saga
