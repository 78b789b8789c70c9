// Goal: what a policy does not keep is removed and nothing else; legal holds and groups keep theirs; whoever was to get what is gone
// is told; and figures, positions and versions stay true, across crashes.
// Method: the core on a real store, policies set and runs asked for as an operator does it.
#include "tests/support/retention_case.hpp"
#include "tests/support/results.hpp"

namespace bus::broker {
namespace {

using namespace std::chrono_literals;

using RetentionTest = RetentionCase;

TEST_F(RetentionTest, RemovesWhatIsTooOld) {
  publish("a", 3);
  advance(10min);
  publish("a", 2);
  ASSERT_EQ(set(not_older("a", 5min)), std::nullopt);
  const auto reply = run();
  EXPECT_EQ(left(), range(4, 5));
  ASSERT_EQ(reply.policies.size(), 1u);
  EXPECT_EQ(reply.policies[0]->events, 2u);
  EXPECT_EQ(reply.policies[0]->removed_events, 3u);
  EXPECT_EQ(reply.policies[0]->first, 4u);
  EXPECT_EQ(topic("a").first, 4u);
  EXPECT_EQ(topic("a").retention, "a");
}

// Nobody has to ask for it.
TEST_F(RetentionTest, RunsByItself) {
  ASSERT_EQ(set(not_older("a", 5min)), std::nullopt);
  publish("a", 3);
  advance(5min - 1s);
  bus.run();
  EXPECT_EQ(left().size(), 3u);
  advance(1s + limits::retention_interval);
  bus.run();
  EXPECT_EQ(left().size(), 0u);
}

// What was set by mistake can be taken back.
TEST_F(RetentionTest, RemovesNothingAtOnce) {
  publish("a", 3);
  ASSERT_EQ(set(at_most("a", 1)), std::nullopt);
  bus.run();
  wire::RetentionRemoveT remove;
  remove.pattern = "a";
  ASSERT_EQ(refused(remove), std::nullopt);
  advance(2 * limits::retention_interval);
  EXPECT_EQ(left().size(), 3u);
}

TEST_F(RetentionTest, KeepsTheLastOnesOfAllTopicsOfAPolicy) {
  publish("t.a", 4);  // 1 to 4
  publish("t.b", 4);
  publish("other", 2);
  publish("t.a", 2);
  ASSERT_EQ(set(at_most("t.*", 5)), std::nullopt);
  run();
  EXPECT_EQ(left(), range(6, 12));
  EXPECT_EQ(topic("t.a").events, 2u);
  EXPECT_EQ(topic("t.a").removed_events, 4u);
  EXPECT_EQ(topic("t.b").first, 6u);
  EXPECT_EQ(topic("other").removed_events, 0u);
}

// Of a batch that is sent again each event has its own answer: what nobody knows any more hides nothing of what is known.
TEST_F(RetentionTest, AResendIsAnsweredAsFarAsItIsKnown) {
  auto later = test::event("a");
  later.deliver_at = nanoseconds(bus.now.wall + 24h);
  later.payload = test::notification("later");
  auto once = test::event("a");
  once.payload = test::notification("once");
  const std::vector<Buffer> first = {test::encode(once), test::encode(later), test::encode(once)};
  bus.publish("p", next_, first);  // positions 1, 2
  next_ += 3;
  bus.run();
  bus.take<wire::PublishResultT>("p");
  publish("a", 1);                 // 3
  publish("b", 1);                 // 4
  ASSERT_EQ(set(at_most("a", 1)), std::nullopt);
  run();
  bus.restart();
  greet();
  run();
  ASSERT_EQ(topic("a").removed_events, 2u);
  ASSERT_EQ(state().trimmed_to, 2u) << "or the test shows nothing";
  auto all = first;
  all.insert(all.end(), {test::encode(once), test::encode(once), test::encode(once)});
  bus.publish("p", 1, all);
  bus.run();
  const auto results = bus.take<wire::PublishResultT>("p");
  ASSERT_EQ(results.size(), 1u);
  const auto& result = results[0];
  std::map<std::uint64_t, Code> refused;
  for (const auto& refusal : result.refusals) refused[refusal->sequence] = refusal->code;
  EXPECT_EQ(refused, (std::map<std::uint64_t, Code>{{1, Code::trimmed}, {3, Code::trimmed}}));
  EXPECT_TRUE(result.receipts.at(1).scheduled());
  EXPECT_TRUE(result.receipts.at(1).duplicate());
  EXPECT_EQ(result.receipts.at(3).position(), 3u);
  EXPECT_EQ(result.receipts.at(4).position(), 4u);
  EXPECT_EQ(result.receipts.at(5).position(), 5u) << "the new one";
}

TEST_F(RetentionTest, KeepsSoManyBytes) {
  publish("a", 10, "", std::string(1000, 'x'));
  const auto bytes = topic("a").bytes;
  auto one = policy("a");
  one.max_bytes = bytes / 2;
  ASSERT_EQ(set(one), std::nullopt);
  run();
  EXPECT_EQ(left(), range(6, 10));
  EXPECT_EQ(topic("a").bytes, bytes / 2);
  one.max_bytes -= 1;
  ASSERT_EQ(set(one), std::nullopt);
  run();
  EXPECT_EQ(left(), range(7, 10));
}

TEST_F(RetentionTest, KeepsTheLastEventOfEachKey) {
  publish("a", 3, "k1");       // 1 to 3
  publish("a", 2, "k2");       // 4, 5
  publish("a", 1);             // 6, of no key
  publish("other", 1, "k1");   // 7, of another policy
  ASSERT_EQ(set(latest("a")), std::nullopt);
  run();
  EXPECT_EQ(left(), (std::vector<std::uint64_t>{3, 5, 6, 7}));
  publish("a", 1, "k1");       // 8
  run();
  EXPECT_EQ(left(), (std::vector<std::uint64_t>{5, 6, 7, 8}));
}

// Until then all of them are there.
TEST_F(RetentionTest, KeepsTheLastEventOfEachKeyAfterAWhile) {
  publish("a", 2, "k");
  advance(1h);
  publish("a", 1, "k");
  ASSERT_EQ(set(latest("a", 30min)), std::nullopt);
  run();
  EXPECT_EQ(left(), range(2, 3));
  advance(31min);
  run();
  EXPECT_EQ(left(), range(3, 3));
}

TEST_F(RetentionTest, TakesTheWordOfThePatternThatSaysMost) {
  publish("a.b.c", 2);
  publish("a.b.d", 2);
  publish("a.x.c", 2);
  publish("z", 2);
  ASSERT_EQ(set(at_most(">", 1)), std::nullopt);
  ASSERT_EQ(set(policy("a.b.c")), std::nullopt);  // all of it
  ASSERT_EQ(set(at_most("a.b.*", 1)), std::nullopt);
  run();
  EXPECT_EQ(left(), (std::vector<std::uint64_t>{1, 2, 4, 8}));
  wire::RetentionRemoveT remove;
  remove.pattern = "a.b.*";
  EXPECT_EQ(refused(remove), std::nullopt);
  EXPECT_EQ(refused(remove), Code::not_found);
  run();
  EXPECT_EQ(left(), (std::vector<std::uint64_t>{1, 2, 8}));
}

TEST_F(RetentionTest, PatternsSayMoreOrLess) {
  EXPECT_TRUE(says_more("a.b", "a.*"));
  EXPECT_TRUE(says_more("a.*", "a.>"));
  EXPECT_TRUE(says_more("a.>", "*.b"));
  EXPECT_TRUE(says_more("*.b", "*.*"));
  EXPECT_TRUE(says_more("*", ">"));
  EXPECT_FALSE(says_more("a", "a"));
  EXPECT_FALSE(says_more(">", "a"));
}

TEST_F(RetentionTest, RemovesNothingThatIsHeld) {
  publish("a", 2, "k1");
  publish("a", 2, "k2");
  publish("b", 2, "k1");
  ASSERT_EQ(hold("a", "k2"), std::nullopt);
  ASSERT_EQ(hold("b"), std::nullopt);
  ASSERT_EQ(set(not_older(">", 1ms)), std::nullopt);
  advance(1s);
  const auto reply = run();
  EXPECT_EQ(left(), range(3, 6));
  EXPECT_EQ(reply.run->results.at(0)->held, 4u);
  ASSERT_EQ(reply.holds.size(), 2u);
  EXPECT_EQ(release("b", "k1"), Code::not_found);
  EXPECT_EQ(release("b"), std::nullopt);
  bus.crash();
  greet();
  run();
  EXPECT_EQ(left(), range(3, 4));
  EXPECT_EQ(release("a", "k2"), std::nullopt);
  run();
  EXPECT_TRUE(left().empty());
}

TEST_F(RetentionTest, WaitsForGroups) {
  join("slow", "a");
  publish("a", 4);
  publish("b", 1);
  EXPECT_EQ(delivered(), range(1, 4));
  settle(1, wire::Verdict::ack);
  ASSERT_EQ(set(not_older(">", 1ms)), std::nullopt);
  advance(1s);
  const auto reply = run();
  EXPECT_EQ(left(), range(2, 4));
  EXPECT_EQ(reply.run->results.at(0)->kept_for_groups, 3u);
  EXPECT_EQ(reply.run->results.at(0)->group, "slow");
  for (const std::uint64_t position : {2, 3, 4}) settle(position, wire::Verdict::ack);
  run();
  EXPECT_TRUE(left().empty());
}

TEST_F(RetentionTest, KeepsDeadLetters) {
  join("g", "a");
  publish("a", 3);
  delivered();
  settle(1, wire::Verdict::ack);
  settle(2, wire::Verdict::reject);
  settle(3, wire::Verdict::ack);
  ASSERT_EQ(set(not_older(">", 1ms)), std::nullopt);
  advance(1s);
  run();
  EXPECT_EQ(left(), range(2, 2));
}

TEST_F(RetentionTest, PassesGroupsIfToldTo) {
  join("slow", "a");
  publish("a", 4);
  EXPECT_EQ(delivered().size(), 4u);
  settle(1, wire::Verdict::ack);
  bus.core->gone("m");
  auto one = at_most("a", 1);
  one.past_groups = true;
  ASSERT_EQ(set(one), std::nullopt);
  run();
  EXPECT_EQ(left(), range(4, 4));
  // Who joins gets what is left, and is told of the rest.
  bus.hello("m");
  bus.send("m", test::subscribe(1, "slow"));
  wire::CreditT credit;
  credit.subscription = 1;
  credit.events = 100;
  credit.bytes = 100'000;
  bus.send("m", credit);
  bus.run();
  const auto delivers = bus.take<wire::DeliverT>("m");
  ASSERT_EQ(delivers.size(), 1u);
  ASSERT_EQ(delivers[0].deliveries.size(), 1u);
  EXPECT_EQ(delivers[0].deliveries[0].position(), 4u);
  EXPECT_EQ(delivers[0].trimmed_events, 2u);
  EXPECT_EQ(delivers[0].trimmed_to, 3u);
}

TEST_F(RetentionTest, TellsPlainSubscriptionsWhatIsGone) {
  publish("a", 3);
  publish("b", 2);
  publish("a", 1);
  ASSERT_EQ(set(at_most("a", 1)), std::nullopt);
  run();
  auto seen = read("a");
  EXPECT_EQ(seen.positions, range(6, 6));
  EXPECT_EQ(seen.trimmed_events, 3u);
  EXPECT_EQ(seen.trimmed_to, 3u);
  seen = read("b");
  EXPECT_EQ(seen.positions, range(4, 5));
  EXPECT_EQ(seen.trimmed_events, 0u);
  EXPECT_EQ(seen.trimmed_to, 0u);
}

TEST_F(RetentionTest, CountsWithoutRemoving) {
  publish("a", 5, "k");
  ASSERT_EQ(hold("a", "other"), std::nullopt);
  join("g", "a");
  delivered();
  for (const std::uint64_t position : {1, 2, 3}) settle(position, wire::Verdict::ack);
  ASSERT_EQ(set(latest("a")), std::nullopt);
  settle_down();
  publish("a", 5, "k2");
  const auto before = left();
  const auto dry = run(true);
  EXPECT_TRUE(dry.run->dry_run);
  EXPECT_EQ(left(), before);
  const auto done = run();
  EXPECT_FALSE(done.run->dry_run);
  EXPECT_EQ(dry.run->results.at(0)->events, done.run->results.at(0)->events);
  EXPECT_EQ(dry.run->results.at(0)->bytes, done.run->results.at(0)->bytes);
  EXPECT_EQ(dry.run->results.at(0)->kept_for_groups, done.run->results.at(0)->kept_for_groups);
}

// Before it is set.
TEST_F(RetentionTest, TriesAPolicy) {
  publish("a", 5);
  ASSERT_EQ(set(at_most("a", 4)), std::nullopt);
  run();
  wire::RetentionRunT ask;
  ask.policy = std::make_unique<wire::RetentionPolicyT>(at_most("a", 1));
  EXPECT_EQ(refused(ask), Code::bad_request);
  ask.dry_run = true;
  EXPECT_EQ(refused(ask), std::nullopt);
  settle_down();
  EXPECT_EQ(state().run->results.at(0)->events, 3u);
  ask.policy->pattern = "";
  EXPECT_EQ(refused(ask), Code::bad_pattern);
  advance(1h);
  run();
  EXPECT_EQ(left(), range(2, 5));
}

// Only once a start does not read them any more.
TEST_F(RetentionTest, DeletesTheOldestRecords) {
  for (int commit = 0; commit < 10; ++commit) publish("a", 5, "k");
  publish("b", 1);
  bus.restart();
  greet();
  ASSERT_EQ(set(at_most("a", 12)), std::nullopt);
  const auto reply = run();
  EXPECT_EQ(reply.trimmed_to, 35u);
  EXPECT_EQ(left("a"), range(39, 50));
  const auto seen = read("a");
  EXPECT_EQ(seen.trimmed_events, 3u);  // of those in records that are gone nobody knows
  EXPECT_EQ(seen.trimmed_to, 38u);
  for (int life = 0; life < 2; ++life) {
    const auto stat = answer<wire::LogStatReplyT>(wire::LogStatRequestT{});
    EXPECT_EQ(stat.first, 36u);
    EXPECT_EQ(state().trimmed_to, 35u);
    EXPECT_EQ(topic("a").events, 12u);
    wire::KeyHeadsT heads;
    heads.keys = {"k"};
    EXPECT_EQ(answer<wire::KeyHeadsReplyT>(std::move(heads)).heads.at(0).version(), 50u);
    bus.crash();
    greet();
  }
  // All of it: the last record stays, though empty.
  ASSERT_EQ(set(not_older(">", 1ms)), std::nullopt);
  wire::RetentionRemoveT remove;
  remove.pattern = "a";
  ASSERT_EQ(refused(remove), std::nullopt);
  advance(1s);
  run();
  EXPECT_TRUE(left().empty());
  next_ = 52;
  publish("a", 2, "k");
  EXPECT_EQ(left(), range(52, 53));
}

// The commit is durable, but nobody has been told when the broker dies.
TEST_F(RetentionTest, CountsTheSameAfterACrash) {
  for (int commit = 0; commit < 4; ++commit) publish("a", 5, "", std::string(500, 'x'));
  ASSERT_EQ(set(at_most("a", 7)), std::nullopt);
  advance(1s);  // nobody else is at work any more
  int crashes = 0;
  while (topic("a").events > 7 && crashes < 10) {
    bus.ask("op", wire::RetentionRunT());
    for (bool is_written = false; !is_written; is_written = bus.write()) {
      bus.core->tick(bus.now);
      ASSERT_TRUE(bus.read());
    }
    bus.crash();
    greet();
    ++crashes;
  }
  EXPECT_GE(crashes, 3);
  EXPECT_EQ(left(), range(14, 20));
  EXPECT_EQ(topic("a").events, 7u);
  EXPECT_EQ(topic("a").removed_events, 13u);
  EXPECT_EQ(topic("a").bytes * 13, topic("a").removed_bytes * 7);
  wire::LogVerifyT verify;
  const auto reply = answer<wire::VerifyReplyT>(std::move(verify));
  EXPECT_TRUE(reply.faults.empty());
  EXPECT_EQ(reply.removed, 13u);
}

TEST_F(RetentionTest, AResendOfWhatWasRemovedIsADuplicate) {
  publish("a", 3);
  ASSERT_EQ(set(at_most("a", 1)), std::nullopt);
  run();
  bus.take<wire::PublishResultT>("p");
  bus.publish("p", 2, {test::encode(test::event("a"))});
  bus.run();
  const auto results = bus.take<wire::PublishResultT>("p");
  ASSERT_EQ(results.size(), 1u);
  EXPECT_TRUE(results[0].receipts.at(0).duplicate());
  EXPECT_EQ(results[0].receipts.at(0).position(), 2u);
}

TEST_F(RetentionTest, ReadsOfWhatWasRemovedSaySo) {
  publish("a", 5, "k");
  ASSERT_EQ(set(at_most("a", 2)), std::nullopt);
  run();
  wire::EventGetT get;
  get.position = 3;
  EXPECT_EQ(refused(get), Code::trimmed);
  get.position = 4;
  EXPECT_EQ(refused(get), std::nullopt);
  wire::KeyReadT read;
  read.key = "k";
  EXPECT_EQ(refused(read), Code::trimmed);
  read.from = 4;
  EXPECT_EQ(refused(read), std::nullopt);
  read.from = 0;
  read.skip_trimmed = true;
  const auto reply = answer<wire::KeyReadReplyT>(read);
  EXPECT_EQ(reply.deliveries.size(), 2u);
  EXPECT_EQ(reply.trimmed, 3u);
  EXPECT_EQ(reply.head->version(), 5u);
}

}  // namespace
}  // namespace bus::broker
