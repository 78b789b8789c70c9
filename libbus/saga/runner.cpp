#include "libbus/saga/runner.hpp"

#include <algorithm>

#include "libbus/saga/command.hpp"
#include "libbus/saga/effects.hpp"

namespace bus::saga {

namespace {

// What a transaction takes at most here. What follows from one event may be more: then the last of several acknowledges it.
constexpr std::size_t events_at_once = 512, bytes_at_once = 512 * 1024;

// Of an attempt that is run here.
class LocalContext : public Context {
 public:
  LocalContext(std::shared_ptr<const Cached> cached, const Step& step, std::uint32_t attempt, bool compensation)
      : cached_(std::move(cached)), step_(step.name()), attempt_(attempt), key_(saga::idempotency_key(cached_->state.saga_id, step_, compensation)),
        deadline_(deadline_of(cached_->state, step)) {}

  std::string_view saga_id() const override { return cached_->state.saga_id; }
  std::string_view step() const override { return step_; }
  std::uint32_t attempt() const override { return attempt_; }
  std::string_view idempotency_key() const override { return key_; }
  const Value& input() const override { return cached_->state.input; }
  const Value* result(std::string_view step) const override {
    const auto* one = cached_->state.find(step);
    const auto& completed = cached_->state.completed;
    if (one != nullptr && std::find(completed.begin(), completed.end(), step) != completed.end()) return &one->result;
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

bool is_lost(Code code) { return code == Code::stale_ack || code == Code::not_delivered || code == Code::unknown_subscription; }

std::size_t bytes_in(const std::vector<NewEvent>& events) {
  std::size_t bytes = 0;
  for (const NewEvent& event : events) bytes += event.payload.size();
  return bytes;
}

}  // namespace

Result<std::shared_ptr<const Cached>> Runner::load(const Event& event, UpTo up_to, Bus& bus) {
  const std::string key(event.key());
  auto known = cache_.find(key);
  if (up_to == UpTo::event && known != nullptr && known->version >= event.version()) return known;
  auto folded = known != nullptr ? std::make_shared<Cached>(*known) : std::make_shared<Cached>();
  const auto fold = [&](const Event& one) {
    if (const auto fact = fact_of(one.type(), one.payload())) folded->state.apply(*fact, one.time());
    folded->version = one.version();
  };
  if (up_to == UpTo::event && folded->version + 1 == event.version()) {
    fold(event);
  } else {
    const auto read = bus.fold_key(key, folded->version + 1, fold);
    if (!read) return read.error();
  }
  cache_.put(key, folded);
  return std::shared_ptr<const Cached>(std::move(folded));
}

Result<void> Runner::decide_on(const Event& event, Bus& bus) {
  for (Try how;;) {
    const auto decided = decide_once(event, how, bus);
    if (decided || is_lost(decided.error().code)) return {};
    if (decided.error().code == Code::conflict) how.up_to = UpTo::head;                               // what it had seen was not all
    else if (decided.error().code == Code::not_scheduled && how.cancels) how.cancels = false;         // a timer was due by then
    else return decided;
  }
}

// Errors: those of the bus; conflict: there is more to see now.
Result<void> Runner::decide_once(const Event& event, Try how, Bus& bus) {
  const std::string key(event.key());
  const auto loaded = load(event, how.up_to, bus);
  if (!loaded) return loaded.error();
  auto next = std::make_shared<Cached>(**loaded);
  const auto now = bus.now();
  if (next->state.hash != hash_) return bus.ack(event), Result<void>();
  for (bool is_last = false; !is_last;) {
    FollowUp what;
    what.condition = Condition::at(next->version, key);
    is_last = true;
    while (auto fact = decide(definition_, next->state, now)) {
      is_last = what.events.size() < events_at_once && bytes_in(what.events) < bytes_at_once;
      if (!is_last) break;
      next->state.apply(*fact, now);
      add_effects(what.events, definition_, next->state, *fact, now);
    }
    if (what.events.empty()) return bus.ack(event), Result<void>();
    for (auto& one : what.events) one.causation_id = event.id();
    what.settles = is_last;
    std::erase_if(next->schedule_ids, [&](const auto& one) {
      if (!is_last || next->state.is_wanted(one.first)) return false;
      if (how.cancels) what.cancels.push_back(one.second);
      return true;
    });
    const auto receipts = bus.transact(event, what);
    if (!receipts) {
      cache_.erase(key);
      return receipts.error();
    }
    if (!keep(key, *next, what.events, *receipts)) {
      cache_.erase(key);
      if (!is_last) return Error{Code::conflict, "a timer was due at once"};
      return {};
    }
  }
  cache_.put(key, std::move(next));
  return {};
}

// False: a timer was due by then, and came to the log at once: the state does not have it yet.
bool Runner::keep(const std::string& key, Cached& next, const std::vector<NewEvent>& events, const std::vector<Receipt>& receipts) {
  for (std::size_t at = 0; at < events.size(); ++at) {
    if (events[at].key == key) next.version = std::max(next.version, receipts[at].version);
    if (!events[at].deliver_at) continue;
    if (receipts[at].schedule_id.empty()) return false;
    const auto timer = std::get<SagaTimerT>(*fact_of(events[at].type, events[at].payload));
    next.schedule_ids.emplace_back(Timer{timer.kind, timer.step_id, timer.attempt, timer.compensation, *events[at].deliver_at}, receipts[at].schedule_id);
  }
  return true;
}

Result<std::optional<Runner::Attempt>> Runner::begin(const Event& event, Bus& bus) {
  const auto fact = fact_of(event.type(), event.payload());
  const auto* started = fact ? std::get_if<StepStartedT>(&*fact) : nullptr;
  const auto* undo = fact ? std::get_if<StepCompensationStartedT>(&*fact) : nullptr;
  const auto done_with = [&] { return bus.ack(event), std::optional<Attempt>(); };
  if (started == nullptr && undo == nullptr) return done_with();
  const auto& name = started != nullptr ? started->step_id : undo->step_id;
  Attempt attempt{nullptr, definition_.find(name), started != nullptr ? started->attempt : undo->attempt, undo != nullptr};
  const bool is_local = attempt.step != nullptr && (attempt.is_undo ? attempt.step->compensation().kind == Compensation::Kind::local : attempt.step->kind() == Step::Kind::local);
  if (!is_local) return done_with();
  auto loaded = load(event, UpTo::event, bus);
  if (!loaded) return loaded.error();
  attempt.saga = std::move(*loaded);
  const State& saga = attempt.saga->state;
  const auto* one = saga.find(name);
  const bool is_wanted = one != nullptr && one->is_open && one->attempt == attempt.number && !one->outcome && saga.hash == hash_ &&
                         (one->status == StepStatus::running) == !attempt.is_undo;
  return is_wanted ? std::optional(std::move(attempt)) : done_with();
}

Done Runner::run(const Attempt& attempt) {
  const Action& action = attempt.is_undo ? attempt.step->compensation().action : attempt.step->action();
  return run_action(action, LocalContext(attempt.saga, *attempt.step, attempt.number, attempt.is_undo));
}

Result<bool> Runner::reply(const Event& event, const Attempt& attempt, const Done& outcome, Bus& bus) const {
  StepReplyT reply = reply_of(outcome);
  reply.saga_id = attempt.saga->state.saga_id;
  reply.step_id = attempt.step->name();
  reply.attempt = attempt.number;
  reply.compensation = attempt.is_undo;
  FollowUp what;
  what.events.push_back(event_of(Fact(std::move(reply)), definition_.name(), hash_, bus.now()));
  what.events.back().causation_id = event.id();
  const auto done = bus.transact(event, what);
  if (done || is_lost(done.error().code)) return done.ok();
  if (done.error().code == Code::event_too_large) return this->reply(event, attempt, too_large(), bus);
  return done.error();
}

}  // namespace bus::saga
