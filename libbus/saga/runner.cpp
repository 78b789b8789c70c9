#include "libbus/saga/runner.hpp"

#include <algorithm>
#include <exception>

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

std::variant<Value, Failed> run_action(const Action& action, const Context& context) try {
  return action(context);
} catch (const std::exception& error) {
  return Failed{"", error.what()};
} catch (...) {
  return Failed{"", "an exception that is none of std"};
}

StepReplyT reply_of(const std::variant<Value, Failed>& outcome, const std::string& result_type) {
  StepReplyT reply;
  if (const auto* failed = std::get_if<Failed>(&outcome)) {
    reply.failed = true;
    reply.code = failed->code;
    reply.error = failed->error;
    return reply;
  }
  const auto& value = std::get<Value>(outcome);
  if (!result_type.empty() && value.type != result_type) {
    reply.failed = true;
    reply.code = "bad_result";
    reply.error = "the result is " + (value.type.empty() ? "of no type" : "a " + value.type) + ", and the definition says " + result_type;
    return reply;
  }
  reply.value = to_wire(value);
  return reply;
}

bool is_lost(Code code) { return code == Code::stale_ack || code == Code::not_delivered || code == Code::unknown_subscription; }

std::size_t bytes_in(const std::vector<NewEvent>& events) {
  std::size_t bytes = 0;
  for (const NewEvent& event : events) bytes += event.payload.size();
  return bytes;
}

}  // namespace

// The state as of the event at least.
Result<std::shared_ptr<const Cached>> Runner::load(const Event& event, Bus& bus) {
  const std::string key(event.key());
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
    const auto read = bus.fold_key(key, folded->version + 1, fold);
    if (!read) return read.error();
  }
  cache_.put(key, folded);
  return std::shared_ptr<const Cached>(std::move(folded));
}

Result<void> Runner::decide_on(const Event& event, Bus& bus) {
  for (Cancels cancels = Cancels::all;;) {
    const auto decided = decide_once(event, bus, cancels);
    if (decided || is_lost(decided.error().code)) return {};
    if (decided.error().code == Code::not_scheduled && cancels == Cancels::all) cancels = Cancels::none;  // a timer that is of no use any more was due
    else if (decided.error().code != Code::conflict) return decided;                                      // conflict: what it had seen was not the head
  }
}

// Errors: those of the bus; conflict: there is more to see now.
Result<void> Runner::decide_once(const Event& event, Bus& bus, Cancels cancels) {
  const std::string key(event.key());
  const auto loaded = load(event, bus);
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
      if (cancels == Cancels::all) what.cancels.push_back(one.second);
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

Result<void> Runner::act_on(const Event& event, Bus& bus) {
  const auto fact = fact_of(event.type(), event.payload());
  const auto* started = fact ? std::get_if<StepStartedT>(&*fact) : nullptr;
  const auto* undo = fact ? std::get_if<StepCompensationStartedT>(&*fact) : nullptr;
  if (started == nullptr && undo == nullptr) return bus.ack(event), Result<void>();
  const auto& name = started != nullptr ? started->step_id : undo->step_id;
  const auto attempt = started != nullptr ? started->attempt : undo->attempt;
  const Step* step = definition_.find(name);
  const bool is_local = step != nullptr && (started != nullptr ? step->kind() == Step::Kind::local : step->compensation().kind == Compensation::Kind::local);
  if (!is_local) return bus.ack(event), Result<void>();
  const auto loaded = load(event, bus);
  if (!loaded) return loaded.error();
  const auto* one = (*loaded)->state.find(name);
  const bool is_wanted = one != nullptr && one->is_open && one->attempt == attempt && !one->outcome && (*loaded)->state.hash == hash_ &&
                         (one->status == StepStatus::running) == (started != nullptr);
  if (!is_wanted) return bus.ack(event), Result<void>();
  const auto outcome = run_action(started != nullptr ? step->action() : step->compensation().action, LocalContext(*loaded, *step, attempt, undo != nullptr));
  StepReplyT reply = reply_of(outcome, started != nullptr ? step->result() : "");
  reply.saga_id = (*loaded)->state.saga_id;
  reply.step_id = name;
  reply.attempt = attempt;
  reply.compensation = undo != nullptr;
  FollowUp what;
  what.events.push_back(event_of(Fact(std::move(reply)), definition_.name(), hash_, bus.now()));
  what.events.back().causation_id = event.id();
  // With it the attempt is over, for whoever else may have the event by now, too.
  const auto done = bus.transact(event, what);
  if (done || is_lost(done.error().code)) return {};
  return done.error();
}

}  // namespace bus::saga
