#include "tests/sim/keeper.hpp"

namespace bus::sim {

namespace {

const std::vector<std::string> held_keys = {"", "k1", "k2", "k3", "w1"};

}  // namespace

template <typename T>
void SimKeeper::ask(T what) {
  wire::RequestT request;
  request.request = next_request_++;
  request.ask.Set(std::move(what));
  waiting_[request.request] = request.ask.type;
  send(request);
}

void SimKeeper::work() {
  const bool is_calm = last_asked_ && !last_ended_ && waiting_.empty();
  if (is_calm && changes_ > 0) {
    --changes_;
    const auto dice = env_.random.below(3);
    return dice == 0 ? set_policy() : dice == 1 ? remove_policy() : change_hold();
  }
  if (is_calm) return last_began_ ? ask(wire::RetentionRequestT()) : ask(wire::RetentionRunT());
  if (env_.calm || waiting_.size() >= 3 || !env_.random.percent(eager_)) return;
  const auto dice = env_.random.below(100);
  if (dice < 40) return set_policy();
  if (dice < 50) return remove_policy();
  if (dice < 65) return change_hold();
  if (dice < 70) return ask(wire::RetentionRequestT());
  wire::RetentionRunT run;
  run.dry_run = dice < 75;
  if (run.dry_run && env_.random.percent(50)) run.policy = any_policy();
  ask(std::move(run));
}

std::unique_ptr<wire::RetentionPolicyT> SimKeeper::any_policy() {
  auto policy = std::make_unique<wire::RetentionPolicyT>();
  policy->pattern = env_.random.pick(patterns_);
  if (env_.random.percent(40)) policy->max_age_ms = env_.random.between(100, 20'000);
  if (env_.random.percent(30)) policy->max_events = env_.random.between(1, 60);
  if (env_.random.percent(20)) policy->max_bytes = env_.random.between(500, 20'000);
  policy->latest_per_key = env_.random.percent(40);
  if (env_.random.percent(30)) policy->latest_after_ms = env_.random.below(5'000);  // refused without latest_per_key
  policy->past_groups = env_.random.percent(40);
  return policy;
}

void SimKeeper::set_policy() {
  wire::RetentionSetT set;
  set.policy = any_policy();
  ask(std::move(set));
}

void SimKeeper::remove_policy() {
  wire::RetentionRemoveT remove;
  remove.pattern = env_.random.pick(patterns_);
  ask(std::move(remove));
}

void SimKeeper::change_hold() {
  if (env_.random.percent(60)) {
    wire::LegalHoldReleaseT release;
    release.pattern = env_.random.pick(patterns_);
    release.key = env_.random.pick(held_keys);
    return ask(std::move(release));
  }
  wire::LegalHoldSetT set;
  set.hold = std::make_unique<wire::LegalHoldT>();
  set.hold->pattern = env_.random.pick(patterns_);
  set.hold->key = env_.random.pick(held_keys);
  if (env_.random.percent(90)) set.hold->reason = "a case";  // refused without one
  ask(std::move(set));
}

void SimKeeper::take(const wire::Message& message, Bytes) {
  if (const auto* reply = message.body_as_Reply()) {
    require(waiting_.erase(reply->request()) == 1, name_ + " got an answer to no question");
    if (const auto* state = reply->answer_as_RetentionReply()) take_state(*state);
  }
  const auto* failure = message.body_as_Failure();
  if (failure == nullptr || failure->request() == 0) return;
  const auto asked = waiting_.extract(failure->request());
  require(!asked.empty(), name_ + " got a Failure for no question");
  const Code code = failure->code();
  const bool is_run = asked.mapped() == wire::Ask::RetentionRun;
  const bool is_set = asked.mapped() == wire::Ask::RetentionSet || asked.mapped() == wire::Ask::LegalHoldSet;
  const bool expected = (code == Code::busy && is_run) || (code == Code::bad_settings && (is_set || is_run)) || (code == Code::not_found && !is_run && !is_set);
  require(expected, name_ + " got " + EnumNameCode(code) + ": " + failure->detail()->str());
}

// Only a run that has begun since then has seen everything.
void SimKeeper::take_state(const wire::RetentionReply& state) {
  const auto& run = *state.run();
  if (!last_asked_ || run.dry_run() || run.began_at() < nanoseconds(*last_asked_)) return;
  last_began_ = true;
  if (run.running()) return;
  const auto trouble = flatbuffers::GetString(run.trouble());
  require(trouble.empty(), "the last run of retention is in trouble: " + trouble);
  last_ended_ = true;
}

}  // namespace bus::sim
