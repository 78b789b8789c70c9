#include "tests/sim/visitor.hpp"

#include <algorithm>

#include "tests/support/events.hpp"

namespace bus::sim {

using namespace std::chrono_literals;

// ---- one client

SimVisitor::Visit::Visit(Env& env, std::string name, bool may_be_fenced)
    : env_(env),
      name_(std::move(name)),
      may_be_fenced_(may_be_fenced),
      core_({name_, "", 20ms, 500ms, env.random.below(1'000'000'000)},
            {[this](const wire::WelcomeT& welcome) {
               if (publisher_.empty()) {
                 outbox_.open({200'000, 64}, welcome.last_sequence);
                 publisher_ = welcome.publisher;
                 before_ = welcome.last_sequence;
               }
               require(welcome.publisher == publisher_, name_ + " was " + publisher_ + " and is now " + welcome.publisher);
             },
             [this](const Batch& batch) { outbox_.answered(batch); },
             [this](const Error& why) {
               const bool lost_its_name = may_be_fenced_ && why.code == Code::publisher_fenced;
               require(lost_its_name, name_ + ", published as " + publisher_ + ", gave up: " + describe(why));
             }}),
      link_(env, name_) {}

void SimVisitor::Visit::act() {
  link_.receive(core_);
  link_.turn(core_, outbox_);
}

void SimVisitor::Visit::publish() {
  if (publisher_.empty() || leaving()) return;
  const bool bad = env_.random.percent(10);
  wire::EventT event = test::event(bad ? "visit..x" : "visit.x", env_.random.percent(50) ? "k1" : "");
  event.id = name_ + "-" + std::to_string(answered_.size() + 1);
  event.payload = test::notification(std::string(env_.random.between(1, 300), 'v'));
  const Buffer bytes = test::encode(event);
  if (!outbox_.has_room(bytes.size())) return;
  const Code refusal = bad ? Code::bad_topic : Code::ok;
  ReceiptCallback done = [this, at = answered_.size(), refusal](const Result<Receipt>& receipt) { answered(at, refusal, receipt); };
  const auto sequence = before_ + answered_.size() + 1;
  const auto added = outbox_.add({bytes}, done, std::nullopt, env_.now.steady);
  require(added.ok() && *added == sequence, "the outbox counts otherwise");
  answered_.push_back(false);
  env_.ledger.sent(publisher_, sequence, {event.topic, event.key, bytes, refusal, name_});
}

void SimVisitor::Visit::answered(std::size_t at, Code refusal, const Result<Receipt>& receipt) {
  require(!answered_.at(at), name_ + ": a second answer for one event");
  answered_[at] = true;
  if (receipt) {
    const LogEvent& stored = env_.ledger.at(number(receipt->position));
    require(stored.sent->sender == name_ && stored.sequence == before_ + at + 1, name_ + ": a receipt names another event");
    return;
  }
  const Code code = receipt.error().code;
  const bool unknown = code == Code::publisher_fenced && may_be_fenced_;
  const bool refused = refusal != Code::ok && (code == refusal || code == Code::refused_before);
  require(unknown || refused, name_ + " was told " + describe(receipt.error()));
}

void SimVisitor::Visit::leave() {
  core_.close();
  link_.send(core_);
}

std::size_t SimVisitor::Visit::unanswered() const {
  return static_cast<std::size_t>(std::count(answered_.begin(), answered_.end(), false));
}

// ---- one after the other

std::string SimVisitor::state() const {
  return name_ + " waits for " + std::to_string(visit_->unanswered()) + " answers in its visit " + std::to_string(visits_);
}

void SimVisitor::act() {
  if (!visit_) {
    if (env_.calm || published_ >= quota_) return;
    visit_ = std::make_unique<Visit>(env_, name_ + "." + std::to_string(++visits_), may_be_fenced_);
    stay_ = env_.random.below(12);
  }
  if (!env_.calm && visit_->published() < stay_ && env_.random.percent(40)) visit_->publish();
  visit_->act();
  const bool satisfied = visit_->published() >= stay_ && visit_->unanswered() == 0;
  if (satisfied && !visit_->leaving() && env_.random.percent(20)) visit_->leave();
  const bool vanishes = !env_.calm && env_.random.below(1000) < 5;
  if (!visit_->over() && !vanishes) return;
  visit_->vanish();
  published_ += std::max<std::size_t>(visit_->published(), 1);
  visit_.reset();
}

}  // namespace bus::sim
