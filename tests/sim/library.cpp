#include "tests/sim/library.hpp"

#include <algorithm>

#include "tests/support/events.hpp"

namespace bus::sim {

using namespace std::chrono_literals;

// One subscription's events, until they are used.
class SimLibrary::Reading : public SubscriptionListener {
 public:
  void started(const Subscription::Started&) override {}
  void delivered(std::vector<Event> events) override {
    for (Event& event : events) waiting.push_back(std::move(event));
  }
  void resumed() override {}
  void caught_up(Position) override {}
  void trimmed(std::uint64_t, Position) override {}
  void stale(std::size_t) override {}
  void interrupted() override {
    if (!waiting.empty() && !waiting.front().group().empty()) waiting.clear();
  }
  void ended(Result<void> why) override {
    require(false, "a subscription of libbus ended: " + (why.ok() ? "as if by itself" : describe(why.error())));
  }

  ClientCore::SubscriptionId id = 0;
  std::deque<Event> waiting;
};

SimLibrary::SimLibrary(Env& env, std::string name, std::uint64_t quota, bool transient)
    : env_(env),
      name_(std::move(name)),
      quota_(quota),
      core_({name_, transient ? "" : name_, 20ms, 500ms, env.random.below(1 << 30)},
            {[this](const wire::WelcomeT& welcome) {
               if (!publisher_.empty()) return;
               outbox_.open({200'000, 64}, welcome.last_sequence);
               publisher_ = welcome.publisher;
               before_ = welcome.last_sequence;
             },
             [this](const Batch& batch) { outbox_.answered(batch); },
             [](const Error& why) { require(false, "libbus gave up: " + describe(why)); }}),
      link_(env, name_),
      plain_(std::make_shared<Reading>()),
      member_(std::make_shared<Reading>()) {
  wire::SubscribeT what;
  what.filter = std::make_unique<wire::FilterT>();
  what.filter->patterns = {">"};
  what.from = wire::Start::start;
  what.credit_events = static_cast<std::uint32_t>(env.random.between(1, 100));
  what.credit_bytes = 100'000;
  plain_->id = core_.subscribe(what, plain_);
  what.group = name_;
  member_->id = core_.subscribe(what, member_);
}

bool SimLibrary::done() const {
  const bool all_answered = std::find(answered_.begin(), answered_.end(), false) == answered_.end();
  return all_answered && env_.ledger.are_removed(last_position_ + 1, env_.ledger.head()) && plain_->waiting.empty() && member_->waiting.empty() && asked_ == replied_;
}

std::string SimLibrary::state() const {
  return name_ + " has read up to " + std::to_string(last_position_) + " and waits for " +
         std::to_string(std::count(answered_.begin(), answered_.end(), false)) + " receipts";
}

void SimLibrary::act() {
  link_.receive(core_);
  if (env_.random.percent(40)) publish();
  if (env_.calm || env_.random.percent(60)) use_events();
  if (!env_.calm && env_.random.percent(2)) ask();
  link_.turn(core_, outbox_);
}

void SimLibrary::publish() {
  if (publisher_.empty() || env_.calm || answered_.size() >= quota_) return;
  wire::EventT event = test::event("lib.x", env_.random.percent(50) ? "k1" : "");
  event.id = name_ + "-" + std::to_string(answered_.size() + 1);
  event.payload = test::notification(std::string(env_.random.between(1, 300), 'l'));
  if (env_.random.percent(10)) event.deliver_at = nanoseconds(env_.now.wall + std::chrono::milliseconds(env_.random.below(3000)));
  const Buffer bytes = test::encode(event);
  if (!outbox_.has_room(bytes.size())) return;
  const auto sequence = before_ + answered_.size() + 1;
  ReceiptCallback done = [this, at = answered_.size()](const Result<Receipt>& receipt) { answered(at, receipt); };
  const auto added = outbox_.add({bytes}, done, std::nullopt, env_.now.steady);
  require(added.ok() && *added == sequence, "the outbox counts otherwise");
  answered_.push_back(false);
  env_.ledger.sent(publisher_, sequence, {event.topic, event.key, bytes, Code::ok, name_, event.deliver_at});
}

void SimLibrary::answered(std::size_t at, const Result<Receipt>& receipt) {
  if (!receipt) require(false, "libbus was told of its event " + std::to_string(at) + ": " + describe(receipt.error()));
  require(!answered_.at(at), "a second answer for one event");
  answered_[at] = true;
  if (!receipt->schedule_id.empty()) {
    const auto id = publisher_ + "/" + std::to_string(before_ + at + 1);
    return require(receipt->schedule_id == id, "a receipt names another scheduled event");
  }
  const LogEvent& stored = env_.ledger.at(number(receipt->position));
  require(stored.sent->sender == name_ && stored.sequence == before_ + at + 1, "a receipt names another event");
}

void SimLibrary::use_events() {
  for (auto count = env_.random.between(1, 20); count > 0 && !plain_->waiting.empty(); --count) {
    const Event event = std::move(plain_->waiting.front());
    plain_->waiting.pop_front();
    const bool is_next = number(event.position()) > last_position_ && env_.ledger.are_removed(last_position_ + 1, number(event.position()) - 1);
    require(is_next, "libbus delivered " + std::to_string(number(event.position())) + " after " +
                                                                std::to_string(last_position_));
    last_position_ = number(event.position());
    core_.consumed(plain_->id, 1, event.bytes().size());
  }
  for (auto count = env_.random.between(1, 20); count > 0 && !member_->waiting.empty(); --count) {
    const Event event = std::move(member_->waiting.front());
    member_->waiting.pop_front();
    const auto verdict = !env_.calm && env_.random.percent(10) ? wire::Verdict::nack : wire::Verdict::ack;
    core_.settle(member_->id, event.epoch(), {number(event.position()), event.attempt(), 10, verdict});
    core_.consumed(member_->id, 1, event.bytes().size());
  }
}

void SimLibrary::ask() {
  ++asked_;
  wire::AskUnion ask;
  ask.Set(wire::StatusRequestT());
  core_.request(std::move(ask), [this](const Result<Client::Answer>&) { ++replied_; });
}

}  // namespace bus::sim
