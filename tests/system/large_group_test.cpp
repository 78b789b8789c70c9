// Goal: a group with a large backlog and 100,000 open events takes little memory, settles as cheaply as one with a small backlog, and
// is after SIGKILL exactly what it was: failures, returns, retry times and dead letters; what was in flight has returned.
// Method: a busd of the test's own and libbus; what operators see of the group before and after is compared event by event. With
// BUS_LONG the backlog is a million.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "bus/client.hpp"
#include "bus/suoke_realtime_generated.h"
#include "tests/support/broker_process.hpp"

namespace bus {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t open_each = 50'000, members = 2, open_all = members * open_each;

class LargeGroup : public ::testing::Test {
 protected:
  // Holds what it gets until it is told what to do with it.
  struct Member {
    explicit Member(Client its) : client(std::move(its)) {}
    Client client;
    std::optional<Subscription> subscription;
    std::mutex mutex;
    std::vector<Event> held;
    std::size_t count() {
      const std::lock_guard lock(mutex);
      return held.size();
    }
  };
  Client connect() {
    ClientOptions options;
    options.server = broker.endpoint();
    options.connect_timeout = options.request_timeout = options.publish_timeout = 60s;
    return Client::connect(std::move(options)).value();
  }
  void publish(std::uint64_t count) {
    auto client = connect();
    NewEvent event;
    event.topic = "t";
    event.type = "suoke.realtime.SystemNotification";
    flatbuffers::FlatBufferBuilder builder;
    suoke::realtime::SystemNotificationT payload;
    payload.notification_id = "n";
    payload.title = "t";
    builder.Finish(suoke::realtime::SystemNotification::Pack(builder, &payload));
    event.payload.assign(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
    std::atomic<std::uint64_t> stored = 0;
    for (std::uint64_t at = 0; at < count; ++at) {
      event.key = "k" + std::to_string(at % 200'000);
      client.publish(event, [&](const Result<Receipt>& receipt) { stored += receipt.ok(); });
    }
    client.flush(60s);
    ASSERT_EQ(stored, count);
  }
  std::vector<std::unique_ptr<Member>> join(const std::string& group, At from) {
    std::vector<std::unique_ptr<Member>> all;
    for (std::uint64_t at = 0; at < members; ++at) {
      auto& member = *all.emplace_back(std::make_unique<Member>(connect()));
      SubscribeOptions options;
      options.group = group;
      if (at == 0) options.from = from;
      options.ack = AckMode::manual;
      options.credit_events = open_each;
      options.credit_bytes = 16u << 20;
      options.settings.in_flight_max = 131'072;
      options.settings.member_in_flight_max = static_cast<std::uint32_t>(open_each);
      options.settings.ack_wait = 1h;
      member.subscription = member.client.subscribe(std::move(options), [&member](const Event& event) {
        const std::lock_guard lock(member.mutex);
        member.held.push_back(event);
      }).value();
    }
    return all;
  }
  template <typename Condition>
  static void wait_until(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + 120s;
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      std::this_thread::yield();
    }
  }
  static void fill(const std::vector<std::unique_ptr<Member>>& all) {
    for (const auto& member : all) wait_until([&] { return member->count() == open_each; });
  }
  // All but the first that each has; as many come again. Returns what the broker needed for that.
  double settle_all_but_one(const std::vector<std::unique_ptr<Member>>& all) {
    const auto begun = broker.cpu_seconds();
    for (const auto& member : all) {
      std::vector<Event> held;
      {
        const std::lock_guard lock(member->mutex);
        held.swap(member->held);
        member->held.push_back(held.front());
      }
      for (std::size_t at = 1; at < held.size(); ++at) member->subscription->ack(held[at]);
      EXPECT_TRUE(member->subscription->flush(60s).ok());
    }
    fill(all);
    return broker.cpu_seconds() - begun;
  }
  template <typename Reply, typename Ask>
  static Reply ask(Client& client, Ask question) {
    wire::AskUnion ask;
    ask.Set(std::move(question));
    auto answer = client.request(std::move(ask)).value();
    return std::move(*static_cast<Reply*>(answer.reply->answer.value));
  }
  static std::map<std::uint64_t, wire::PendingInfoT> pending(Client& client) {
    std::map<std::uint64_t, wire::PendingInfoT> all;
    wire::GroupPendingT question;
    question.name = "g";
    do {
      const auto reply = ask<wire::PendingReplyT>(client, wire::GroupPendingT(question));
      for (const auto& event : reply.events) all.emplace(event->position, *event);
      question.after = reply.more;
    } while (question.after != 0);
    return all;
  }
  static wire::GroupInfoT info(Client& client) {
    wire::GroupsRequestT question;
    question.name = "g";
    return std::move(*ask<wire::GroupsReplyT>(client, std::move(question)).groups.at(0));
  }

  test::BrokerProcess broker;
  const std::uint64_t backlog = std::getenv("BUS_LONG") != nullptr ? 1'000'000 : 300'000;
};

TEST_F(LargeGroup, IsSmallAndCheapAndComesBackAsItWas) {
  publish(backlog + 2 * open_all);
  std::uint64_t read = 0;  // so that what the broker keeps of the log for all is there before the group is
  for (auto reader = connect(); [[maybe_unused]] const Event& event : reader.replay()) ++read;
  ASSERT_EQ(read, backlog + 2 * open_all);
  const auto memory = broker.memory_kib();

  // Settling costs the same, whatever the backlog.
  auto all = join("g", At::start());
  fill(all);
  const auto grown = broker.memory_kib() - std::min(memory, broker.memory_kib());
  EXPECT_LE(grown, 32u * 1024);
  const auto far = settle_all_but_one(all);
  {
    auto near = join("near", At::last(2 * open_all + 1));
    fill(near);
    const auto cheap = settle_all_but_one(near);
    std::printf("the group takes %zu KiB; to settle %d events takes %.2f s of the processor before a backlog of %d, %.2f s before one of %d\n", grown,
                int(open_all), far, int(backlog), cheap, int(open_all));
    EXPECT_LT(far, cheap * 2 + 0.2);
  }

  // Failures, returns and dead letters of some.
  std::set<std::uint64_t> dead;
  for (const auto& member : all) {
    const std::lock_guard lock(member->mutex);
    for (std::size_t at = 0; at < 1000; ++at) {
      const Event& event = member->held[10 + at];
      switch (at % 4) {
        case 0: member->subscription->nack(event, std::chrono::hours(1 + static_cast<int>(at % 5)), "not now"); break;
        case 1: member->subscription->nack(event, std::chrono::hours(24)); break;
        case 2: member->subscription->ack(event); break;
        default: member->subscription->reject(event, "never"), dead.insert(number(event.position())); break;
      }
    }
    EXPECT_TRUE(member->subscription->flush(60s).ok());
  }
  auto client = connect();
  // What was settled is replaced; with that nothing moves any more.
  for (std::uint64_t before = 0, now = 1; before != now;) {
    before = std::exchange(now, info(client).in_flight);
  }
  publish(1);  // deliveries alone are durable with the next commit
  const auto was = pending(client);
  const auto counts = info(client);
  EXPECT_GE(was.size(), open_all);
  EXPECT_EQ(counts.dead_letters, dead.size());

  broker.kill();
  for (const auto& member : all) member->client.close(0s);
  all.clear();
  broker.start();
  auto again = connect();
  const auto is = pending(again);
  const auto counted = info(again);
  EXPECT_EQ(counted.floor, counts.floor);
  EXPECT_EQ(counted.acked, counts.acked);
  EXPECT_EQ(counted.dead_letters, counts.dead_letters);
  std::uint64_t wrong = 0;
  for (const auto& [position, before] : was) {
    const auto found = is.find(position);
    if (found == is.end()) {
      ADD_FAILURE() << "position " << position << " is lost";
      if (++wrong > 5) return;
      continue;
    }
    const auto& now = found->second;
    const bool was_in_flight = before.place == wire::PendingPlace::in_flight;
    const bool same = now.failures == before.failures && now.attempt == before.attempt && now.returns == before.returns + was_in_flight &&
                      now.place == (was_in_flight ? wire::PendingPlace::ready : before.place) &&
                      (was_in_flight || std::abs(now.due_at - before.due_at) < 1'000'000'000);
    if (!same && ++wrong < 5) ADD_FAILURE() << "position " << position << ": attempt " << before.attempt << " then " << now.attempt << ", failures " << before.failures
                                            << " then " << now.failures << ", returns " << before.returns << " then " << now.returns;
  }
  EXPECT_EQ(is.size(), was.size());
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace bus
