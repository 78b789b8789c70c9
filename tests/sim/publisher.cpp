#include "tests/sim/publisher.hpp"

#include <algorithm>

#include "tests/support/events.hpp"

namespace bus::sim {

namespace {

const std::vector<std::string> topics = {"sim.a.x", "sim.a.y", "sim.b.x", "sim.b.y", "other"};
const std::vector<std::string> keys = {"", "", "k1", "k2", "k3", "k4", "k5"};

Buffer good(const wire::EventT& event) { return test::encode(event); }

// The ways to be wrong, and what each is refused with.
SentEvent bad_event(wire::EventT event, Random& random) {
  switch (random.below(7)) {
    case 0: return {"", "", test::skipped(), Code::skipped};
    case 1: event.topic = "sim.*"; return {"", "", good(event), Code::bad_topic};
    case 2: event.key = std::string(256, 'k'); return {"", "", good(event), Code::bad_key};
    case 3: event.type = "sim.Unknown"; return {"", "", good(event), Code::unknown_type};
    case 4: event.id = std::string(65, 'i'); return {"", "", good(event), Code::bad_event};
    case 5: event.payload.assign(24, 0xff); return {"", "", good(event), Code::bad_payload};
    default: break;
  }
  Buffer garbage = good(event);
  std::fill(garbage.begin() + 4, garbage.end(), std::uint8_t{0xee});
  return {"", "", std::move(garbage), Code::bad_event};
}

SentEvent make_event(const std::string& id, Env& env) {
  Random& random = env.random;
  const auto now = env.now.wall;
  wire::EventT event = test::event(random.pick(topics), random.pick(keys));
  event.id = id;
  event.priority = static_cast<wire::Priority>(random.below(3));
  if (random.percent(5)) return bad_event(std::move(event), random);
  // Few are large: a record then holds one of them, and a batch several records.
  const auto size = random.percent(1) ? random.between(50'000, 200'000) : random.between(1, 300);
  event.payload = test::notification(std::string(size, static_cast<char>('a' + random.below(26))));
  if (random.percent(10)) event.deliver_at = nanoseconds(now + std::chrono::milliseconds(random.below(random.percent(50) ? 8000 : 3000)));
  if (random.percent(5)) event.expires_at = std::max(event.deliver_at, nanoseconds(now)) + 1 + static_cast<std::int64_t>(random.below(3'000'000'000));
  const bool is_unique = event.deliver_at == 0 && random.percent(20);
  if (is_unique) any_id(event, env);
  SentEvent sent{event.topic, event.key, good(event), Code::ok, {}, event.deliver_at, event.expires_at, event.priority};
  if (is_unique) sent.unique_id = event.source + "/" + event.id;
  return sent;
}

}  // namespace

std::string SimPublisher::state() const {
  return name_ + " waits for sequence " + std::to_string(first_unanswered()) + " of " + std::to_string(events_.size());
}

std::uint64_t SimPublisher::first_unanswered() const {
  const auto at = std::find(answered_.begin(), answered_.end(), false) - answered_.begin();
  return static_cast<std::uint64_t>(at) + 1;
}

void SimPublisher::begin(const wire::Welcome& welcome) {
  fence_ = welcome.fence();
  used_ = welcome.last_sequence();
  next_ = first_unanswered();
  if (env_.random.percent(30)) next_ -= env_.random.below(std::min<std::uint64_t>(next_, 10));
}

void SimPublisher::make_events() {
  if (env_.calm) return;
  const auto window = events_.size() - (first_unanswered() - 1);
  for (auto count = env_.random.between(1, 8); count > 0 && events_.size() < quota_ && window < 64; --count) {
    const auto sequence = events_.size() + 1;
    SentEvent event = make_event(name_ + "-" + std::to_string(sequence), env_);
    event.sender = name_;
    events_.push_back(event.bytes);
    unique_.push_back(!event.unique_id.empty());
    answered_.push_back(false);
    env_.ledger.sent(name_, sequence, std::move(event));
  }
}

void SimPublisher::work() {
  if (env_.random.percent(60)) make_events();
  if (env_.now.steady >= pause_until_ && next_ <= events_.size()) send_batch();
}

void SimPublisher::send_batch() {
  wire::PublishT publish;
  publish.first_sequence = next_;
  publish.fence = fence_;
  Buffer body;
  for (auto most = env_.random.between(1, 12); most > 0 && next_ <= events_.size(); --most, ++next_, ++publish.count) {
    const Buffer& event = events_[next_ - 1];
    if (unique_[next_ - 1]) publish.conditions.emplace_back(0, publish.count, 0, wire::Expect::unique_id);
    body.insert(body.end(), event.begin(), event.end());
  }
  send_frames({wire::encode(publish), std::move(body)});
}

void SimPublisher::take(const wire::Message& message, Bytes) {
  if (const auto* result = message.body_as_PublishResult()) take_result(*result);
  if (const auto* failure = message.body_as_Failure()) take_failure(*failure);
}

void SimPublisher::take_result(const wire::PublishResult& result) {
  for (std::uint64_t at = 0; at < result.receipts()->size(); ++at) answered_.at(result.first_sequence() + at - 1) = true;
}

// A batch was not taken, and those behind it will not be either: all again, from the first without answer.
void SimPublisher::take_failure(const wire::Failure& failure) {
  const Code code = failure.code();
  const bool expected = code == Code::busy || code == Code::log_full || code == Code::sequence_gap ||
                        code == Code::shutting_down || code == Code::publisher_fenced;
  require(expected, name_ + " got " + EnumNameCode(code) + ": " + failure.detail()->str());
  require(failure.sequence() != 0, name_ + " got a Failure without the sequence it is about");
  next_ = std::min(next_, first_unanswered());
  pause_until_ = env_.now.steady + std::chrono::milliseconds(env_.random.below(50));
}

}  // namespace bus::sim
