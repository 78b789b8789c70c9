#include "libbus/saga/rehearsal/party.hpp"

#include <atomic>
#include <stdexcept>

#include "base/limits.hpp"

namespace bus::saga {

namespace {

std::atomic<std::uint64_t> processes = 0;

}  // namespace

// What was delivered, until it is taken.
class Party::Inbox : public SubscriptionListener {
 public:
  void started(const Subscription::Started&) override {}
  void resumed() override {}
  void delivered(std::vector<Event> events) override {
    for (Event& event : events) waiting.push_back(std::move(event));
  }
  void caught_up(Position) override {}
  void trimmed(std::uint64_t, Position) override {}
  void stale(std::size_t) override {}
  void interrupted() override { waiting.clear(); }
  void ended(Result<void> why) override {
    if (!why && why.error().code != Code::closed) throw std::runtime_error("a subscription has ended: " + describe(why.error()));
  }

  std::deque<Event> waiting;
};

Party::Party(OwnBroker& broker, std::string name, Now now)
    : broker_(broker), name_(std::move(name)), process_(++processes),
      core_({name_, name_, std::chrono::milliseconds(50), std::chrono::seconds(5), 1},
            {[this](const wire::WelcomeT& welcome) {
               if (is_open_) return;
               is_open_ = true;
               outbox_.open({16 * limits::MiB, 4096}, welcome.last_sequence);
             },
             [this](const Batch& batch) { outbox_.answered(batch); },
             [](const Error& why) { throw std::runtime_error("the bus is of no use any more: " + describe(why)); }}),
      deaths_seen_(broker.deaths()), due_(now.steady) {}

Party::~Party() {
  if (!peer_.empty()) broker_.gone(peer_);
}

bool Party::turn(Now now) {
  bool is_busy = !arrived_.empty();
  if (deaths_seen_ != broker_.deaths()) {
    deaths_seen_ = broker_.deaths();
    arrived_.clear();
    if (!peer_.empty()) core_.lost({Code::disconnected, "the broker has died"}, now.steady);
    peer_.clear();
  }
  for (; !arrived_.empty(); arrived_.pop_front()) {
    std::vector<Frame> frames = std::move(arrived_.front());
    if (frames.back().bytes.empty()) frames.pop_back();
    core_.receive(frames, now);
  }
  if (is_open_) {
    while (auto batch = outbox_.take(now.steady, Duration(0))) core_.publish(std::move(*batch));
  }
  due_ = core_.tick(now);
  const auto action = core_.take_action();
  if (action != ClientCore::Action::none && !peer_.empty()) broker_.gone(std::exchange(peer_, {}));
  if (action == ClientCore::Action::connect) peer_ = name_ + "#" + std::to_string(process_) + "." + std::to_string(++connections_);
  for (auto& message : core_.take_outgoing()) {
    if (peer_.empty()) continue;
    std::vector<Frame> frames{message.header};
    if (!message.body.bytes.empty()) frames.push_back(message.body);
    broker_.receive(peer_, frames, now);
    is_busy = true;
  }
  return is_busy || due_ <= now.steady;
}

Party::Subscribed Party::subscribe(const std::string& group, std::unique_ptr<wire::FilterT> filter, std::unique_ptr<wire::GroupSettingsT> settings) {
  wire::SubscribeT what;
  what.group = group;
  what.filter = std::move(filter);
  what.settings = std::move(settings);
  what.credit_events = 1024;
  what.credit_bytes = limits::credit_bytes_max;
  auto inbox = std::make_shared<Inbox>();
  const auto id = core_.subscribe(std::move(what), inbox);
  inboxes_.emplace(id, std::move(inbox));
  return id;
}

bool Party::has_next(Subscribed subscribed) const { return !inboxes_.at(subscribed)->waiting.empty(); }

std::optional<Event> Party::next(Subscribed subscribed) {
  auto& waiting = inboxes_.at(subscribed)->waiting;
  if (waiting.empty()) return std::nullopt;
  Event event = std::move(waiting.front());
  waiting.pop_front();
  core_.consumed(subscribed, 1, event.bytes().size());
  return event;
}

void Party::settle(Subscribed subscribed, const Event& event, wire::Verdict verdict, Duration delay) {
  const auto milliseconds = static_cast<std::uint32_t>(std::chrono::ceil<std::chrono::milliseconds>(delay).count());
  core_.settle(subscribed, event.epoch(), {number(event.position()), event.attempt(), milliseconds, verdict});
}

void Party::transact(const StepParts& parts, const std::vector<std::string>& cancels, Acks acks, Now now, StepReceipts::Done done) {
  BatchStep with;
  if (acks.event != nullptr) {
    auto& settle = with.settles.emplace_back();
    settle.subscription = acks.subscribed;
    settle.epoch = acks.event->epoch();
    settle.settlements.emplace_back(number(acks.event->position()), acks.event->attempt(), 0, wire::Verdict::ack);
  }
  auto ids = schedule_ids(cancels);
  if (!ids) return done(ids.error());
  with.cancels = std::move(*ids);
  if (auto good = check_step(parts); !good) return done(good.error());
  auto encoded = encode_step(parts, std::move(with), now.wall);
  if (!encoded) return done(encoded.error());
  auto receipts = std::make_shared<StepReceipts>(parts, std::move(done));
  // The views in it are of the parts, which are the caller's; so it is added at once.
  if (!is_open_) throw std::logic_error("a party publishes before it has met the broker");
  outbox_.add_step(encoded->items, std::move(encoded->with), [receipts](Result<Receipt> receipt) { receipts->tell(std::move(receipt)); }, now.steady);
}

}  // namespace bus::saga
