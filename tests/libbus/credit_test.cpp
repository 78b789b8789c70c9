// Goal: a subscription gives back the credit it was given, neither less nor more, whatever is consumed when and however
// often the connection breaks.
// Method: a ClientCore by hand; the test is the broker.
#include <gtest/gtest.h>

#include "src/client_core.hpp"
#include "tests/support/events.hpp"

namespace bus {
namespace {

using namespace std::chrono_literals;

class CreditListener : public SubscriptionListener {
 public:
  void started(const Subscription::Started&) override {}
  void resumed() override {}
  void delivered(std::vector<Event> events) override {
    for (Event& event : events) held.push_back(std::move(event));
  }
  void caught_up(Position) override {}
  void trimmed(std::uint64_t, Position) override {}
  void stale(std::size_t) override {}
  void interrupted() override {}
  void ended(Result<void>) override {}
  std::deque<Event> held;
};

constexpr std::uint32_t credit_events = 100, credit_bytes = 1000;

class CreditTest : public ::testing::Test {
 protected:
  CreditTest() {
    wire::SubscribeT what;
    what.credit_events = credit_events;
    what.credit_bytes = credit_bytes;
    id_ = core.subscribe(std::move(what), listener);
    connect();
  }
  // A new session; counts what its Subscribe gives.
  void connect() {
    now.steady += 1s;
    core.tick(now);
    EXPECT_EQ(core.take_action(), ClientCore::Action::connect);
    core.take_outgoing();
    wire::WelcomeT welcome;
    welcome.protocol = wire::protocol_version;
    welcome.session = 1;
    welcome.log_id.assign(16, 1);
    welcome.epoch = 1;
    welcome.heartbeat_ms = 5000;
    welcome.timeout_ms = 15000;
    hear(welcome);
    wire::SubscribedT subscribed;
    subscribed.subscription = id_;
    subscribed.next = position_ + 1;
    hear(subscribed);
    given_events = given_bytes = 0;
    count();
  }
  void lose() {
    core.lost({Code::disconnected, "by the test"}, now.steady);
    core.take_action();
  }
  void deliver(std::size_t text_bytes = 300) {
    auto event = test::event();
    event.payload = test::notification(std::string(text_bytes, 'x'));
    Buffer body = test::encode(event);
    event_bytes = body.size();
    wire::DeliverT message;
    message.subscription = id_;
    message.deliveries.emplace_back(++position_, 0, 0, 1, 0, 0);
    message.publishers = {"p"};
    core.receive({Frame::of(wire::encode(message)), Frame::of(std::move(body))}, now);
  }
  void consume() {
    core.consumed(id_, 1, listener->held.front().bytes().size());
    listener->held.pop_front();
    core.tick(now);
    count();
  }
  template <typename T>
  void hear(const T& message) {
    core.receive({Frame::of(wire::encode(message))}, now);
    core.tick(now);
  }
  void count() {
    for (const auto& message : core.take_outgoing()) {
      const auto* parsed = wire::parse(message.header.bytes).value();
      if (const auto* subscribe = parsed->body_as_Subscribe()) {
        given_events += subscribe->credit_events();
        given_bytes += subscribe->credit_bytes();
      }
      if (const auto* credit = parsed->body_as_Credit()) {
        given_events += credit->events();
        given_bytes += credit->bytes();
      }
    }
  }
  ClientCore core{{.name = "test", .backoff_min = 1ms, .backoff_max = 1ms},
                  {[](const wire::WelcomeT&) {}, [](const Batch&) {}, [](const Error&) {}}};
  std::shared_ptr<CreditListener> listener = std::make_shared<CreditListener>();
  Now now{wall_time(1), SteadyTime{1h}};
  std::uint64_t given_events = 0, given_bytes = 0;  // in this session
  std::size_t event_bytes = 0;

 private:
  ClientCore::SubscriptionId id_ = 0;
  std::uint64_t position_ = 0;
};

TEST_F(CreditTest, ComesBackAsEventsAreConsumed) {
  EXPECT_EQ(given_events, credit_events);
  EXPECT_EQ(given_bytes, credit_bytes);
  for (int event = 0; event < 50; ++event) {
    deliver();
    consume();  // each is more than a quarter of the bytes
  }
  EXPECT_EQ(given_events, credit_events + 50);
  EXPECT_EQ(given_bytes, credit_bytes + 50 * event_bytes);
}

TEST_F(CreditTest, IsLessInTheNextSessionByWhatIsHeld) {
  deliver();
  lose();
  connect();
  EXPECT_EQ(given_events, credit_events - 1);
  EXPECT_EQ(given_bytes, credit_bytes - event_bytes);
  consume();
  EXPECT_EQ(given_bytes, credit_bytes);
}

TEST_F(CreditTest, IsNotGivenTwiceForWhatWasConsumedInBetween) {
  deliver();
  lose();
  consume();
  connect();
  EXPECT_EQ(given_events, credit_events);
  EXPECT_EQ(given_bytes, credit_bytes);
}

// The last event may overdraw; when the connection breaks then, the debt goes along.
TEST_F(CreditTest, KeepsADebtAcrossSessions) {
  deliver();
  deliver(2 * credit_bytes);
  lose();
  connect();
  EXPECT_EQ(given_bytes, 0u);
  EXPECT_EQ(given_events, credit_events - 2);
  consume();
  consume();
  EXPECT_EQ(given_bytes, credit_bytes) << "and not what had been overdrawn";
  EXPECT_EQ(given_events, credit_events);
}

}  // namespace
}  // namespace bus
