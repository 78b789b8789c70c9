// Goal: publishers without a name of their own get one of few; nobody loses his name while he may come back, whatever
// became of the broker meanwhile; and no sequence of a name is ever used twice.
// Method: a broker without threads, Hellos as a client says them; leaving, vanishing, restarts and hours as the test says.
#include <gtest/gtest.h>

#include "tests/support/harness.hpp"

namespace bus::broker {
namespace {

using namespace std::chrono_literals;
using test::encode;
using test::event;
using test::Harness;

// What a client knows of itself, and of its last Welcome.
struct Visitor {
  Peer peer;
  std::uint64_t instance = 0;
  std::string name = {};
  std::uint64_t last_sequence = 0, fence = 0, attempt = 0;
};

class TransientTest : public ::testing::Test {
 protected:
  // Says Hello; true if welcomed. The visitor has the name it was given.
  bool greet(Visitor& who) {
    wire::HelloT hello;
    hello.protocol = wire::protocol_version;
    hello.publisher = who.name;
    hello.transient = true;
    hello.instance = who.instance;
    hello.attempt = ++who.attempt;
    hello.last_sequence = who.last_sequence;
    bus.send(who.peer, hello);
    bus.run();
    const auto& said = bus.received(who.peer);
    codes.clear();
    for (const auto& one : said) {
      if (const auto* failure = one.message->body.AsFailure()) codes.push_back(failure->code);
    }
    const auto welcomes = bus.take<wire::WelcomeT>(who.peer);
    if (welcomes.empty()) return false;
    who.name = welcomes[0].publisher;
    who.last_sequence = welcomes[0].last_sequence;
    who.fence = welcomes[0].fence;
    return true;
  }
  Visitor enter(const Peer& peer) {
    Visitor who{peer, next_instance_++};
    EXPECT_TRUE(greet(who)) << peer;
    return who;
  }
  wire::Receipt publish(const Visitor& who, std::uint64_t sequence) {
    send(who, sequence);
    bus.run();
    const auto results = bus.take<wire::PublishResultT>(who.peer);
    return results.empty() ? wire::Receipt() : results.back().receipts.at(0);
  }
  void send(const Visitor& who, std::uint64_t sequence) {
    wire::PublishT message;
    message.first_sequence = sequence;
    message.count = 1;
    message.fence = who.fence;
    bus.send(who.peer, message, encode(event("a.b")));
  }
  // A round: enter, publish, leave. Returns the name.
  std::string visit(const Peer& peer) {
    const Visitor who = enter(peer);
    EXPECT_NE(publish(who, who.last_sequence + 1).position(), 0u);
    bus.send(peer, wire::ByeT());
    return who.name;
  }
  void vanish(const Visitor& who) { bus.core->gone(who.peer); }
  std::uint32_t names() const { return bus.core->state().publishers.size(); }

  Harness bus;
  std::vector<Code> codes;  // what the last Hello was refused with

 private:
  std::uint64_t next_instance_ = 100;
};

TEST_F(TransientTest, AreToldTheirNames) {
  const Visitor one = enter("a"), two = enter("b");
  EXPECT_EQ(one.name, "anonymous-1-1");
  EXPECT_EQ(two.name, "anonymous-1-2");
  EXPECT_EQ(names(), 0u) << "a name that nobody has published under takes no row";
  wire::HelloT hello;
  hello.protocol = wire::protocol_version;
  hello.publisher = "alpha";
  bus.send("c", hello);
  EXPECT_EQ(bus.take<wire::WelcomeT>("c").at(0).publisher, "alpha");
}

TEST_F(TransientTest, ManyVisitsTakeOneName) {
  for (int round = 0; round < 50; ++round) EXPECT_EQ(visit("a" + std::to_string(round)), "anonymous-1-1");
  EXPECT_EQ(names(), 1u);
  EXPECT_EQ(number(bus.core->head()), 50u);
  EXPECT_EQ(enter("last").last_sequence, 50u) << "the sequence goes on";
}

TEST_F(TransientTest, TakeAsManyNamesAsThereAreAtATime) {
  for (int round = 0; round < 10; ++round) {
    const Visitor one = enter("a"), two = enter("b");
    EXPECT_NE(one.name, two.name);
    publish(one, one.last_sequence + 1);
    publish(two, two.last_sequence + 1);
    bus.send("b", wire::ByeT());
    bus.send("a", wire::ByeT());
  }
  EXPECT_EQ(names(), 2u);
}

TEST_F(TransientTest, AWelcomeToAUsedNameWaitsForWhatItsHolderHadStaged) {
  const Visitor one = enter("a");
  send(one, 1);
  ASSERT_TRUE(bus.take());
  bus.send("a", wire::ByeT());
  wire::HelloT hello;
  hello.protocol = wire::protocol_version;
  hello.transient = true;
  bus.send("b", hello);
  EXPECT_TRUE(bus.take<wire::WelcomeT>("b").empty());
  bus.commit();
  const auto welcome = std::move(bus.take<wire::WelcomeT>("b").at(0));
  EXPECT_EQ(welcome.publisher, one.name);
  EXPECT_EQ(welcome.last_sequence, 1u);
}

TEST_F(TransientTest, ANameIsHeldAnHourForWhoeverSaidNoBye) {
  const Visitor one = enter("a");
  publish(one, 1);
  vanish(one);
  bus.advance(limits::transient_hold - 1ns);
  EXPECT_NE(enter("b").name, one.name);
  bus.advance(1ns);
  EXPECT_EQ(enter("c").name, one.name);
}

TEST_F(TransientTest, ANameIsHeldAnHourAfterARestart) {
  const std::string name = visit("a");
  for (const bool clean : {false, true}) {
    clean ? bus.restart() : bus.crash();
    bus.advance(limits::transient_hold - 1ns);
    EXPECT_NE(enter("b").name, name);
    bus.advance(1ns);
    EXPECT_EQ(enter("c").name, name);
  }
}

TEST_F(TransientTest, ComeBackToTheirNames) {
  Visitor one = enter("a");
  publish(one, 1);
  const std::string name = one.name;
  one.peer = "a2";  // the old connection has not been noticed to be dead
  ASSERT_TRUE(greet(one));
  EXPECT_EQ(one.name, name);
  EXPECT_EQ(one.last_sequence, 1u);
  vanish(one);
  one.peer = "a3";
  ASSERT_TRUE(greet(one));
  EXPECT_EQ(one.name, name);
  EXPECT_TRUE(publish(one, 1).duplicate());
  EXPECT_EQ(publish(one, 2).position(), 2u);
}

TEST_F(TransientTest, AreFencedByWhoeverHasTheNameNow) {
  Visitor one = enter("a");
  publish(one, 1);
  vanish(one);
  bus.advance(limits::transient_hold);
  Visitor two = enter("b");
  ASSERT_EQ(two.name, one.name);
  EXPECT_FALSE(greet(one));
  EXPECT_EQ(codes, std::vector<Code>{Code::publisher_fenced});
  vanish(two);  // and it is held for the second one, who has stored nothing yet
  EXPECT_FALSE(greet(one));
  EXPECT_EQ(codes, std::vector<Code>{Code::publisher_fenced});
  EXPECT_TRUE(greet(two));
  EXPECT_EQ(publish(two, 2).position(), 2u);
}

TEST_F(TransientTest, NobodyTakesANameThatIsInUse) {
  const Visitor one = enter("a");
  for (const std::uint64_t next : {1, 2}) {  // without a row, and with one
    Visitor thief{"t", 999, one.name, next - 1};
    EXPECT_FALSE(greet(thief));
    EXPECT_EQ(codes, std::vector<Code>{Code::publisher_fenced});
    EXPECT_EQ(publish(one, next).position(), next) << "and it is as it was";
  }
}

TEST_F(TransientTest, ComeBackAfterARestartAndNothingIsStoredTwice) {
  for (const bool clean : {false, true}) {
    Visitor one = enter("a");
    const auto first = publish(one, 1);
    clean ? bus.restart() : bus.crash();
    Visitor thief{"t", 999, one.name};
    EXPECT_FALSE(greet(thief));
    EXPECT_EQ(codes, std::vector<Code>{Code::publisher_fenced});
    ASSERT_TRUE(greet(one));
    const auto again = publish(one, 1);
    EXPECT_TRUE(again.duplicate());
    EXPECT_EQ(again.position(), first.position());
    EXPECT_FALSE(publish(one, 2).duplicate());
  }
}

TEST_F(TransientTest, WhoNeverStoredAnythingComesBackAfterARestart) {
  Visitor one = enter("a");
  send(one, 1);
  ASSERT_TRUE(bus.take());  // not on disk when the broker dies
  bus.crash();
  EXPECT_NE(enter("b").name, one.name) << "a name without a row is given once";
  ASSERT_TRUE(greet(one));
  EXPECT_EQ(one.last_sequence, 0u);
  const auto receipt = publish(one, 1);
  EXPECT_FALSE(receipt.duplicate());
  EXPECT_EQ(receipt.position(), 1u);
}

TEST_F(TransientTest, WhoNeverStoredAnythingUnderAUsedNameComesBackAfterARestart) {
  for (const bool clean : {false, true}) {
    const std::string name = visit("a");
    Visitor two = enter("b");
    ASSERT_EQ(two.name, name);
    clean ? bus.restart() : bus.crash();
    const auto next = two.last_sequence + 1;
    ASSERT_TRUE(greet(two));
    EXPECT_EQ(two.last_sequence + 1, next);
    EXPECT_FALSE(publish(two, next).duplicate());
    bus.send("b", wire::ByeT());
    bus.advance(limits::transient_hold);
  }
}

TEST_F(TransientTest, WhoeverStoredLastIsKnownAfterARestart) {
  for (const bool clean : {false, true}) {
    Visitor one = enter("a");
    publish(one, one.last_sequence + 1);
    vanish(one);
    bus.advance(limits::transient_hold);
    Visitor two = enter("b");
    ASSERT_EQ(two.name, one.name);
    publish(two, two.last_sequence + 1);
    clean ? bus.restart() : bus.crash();
    EXPECT_FALSE(greet(one));
    EXPECT_EQ(codes, std::vector<Code>{Code::publisher_fenced});
    ASSERT_TRUE(greet(two));
    bus.send("b", wire::ByeT());
  }
}

TEST_F(TransientTest, NeedAnInstanceToComeBack) {
  Visitor one{"a", 0};
  ASSERT_TRUE(greet(one));
  publish(one, 1);
  one.last_sequence = 1;
  EXPECT_FALSE(greet(one));
  EXPECT_EQ(codes, std::vector<Code>{Code::publisher_fenced});
}

TEST_F(TransientTest, TheirNamesAreReserved) {
  wire::HelloT hello;
  hello.protocol = wire::protocol_version;
  hello.instance = 5;
  for (const bool transient : {false, true}) {
    hello.transient = transient;
    hello.publisher = transient ? "alpha" : "anonymous-1-1";
    bus.send("a", hello);
    EXPECT_EQ(bus.failures("a"), std::vector<Code>{Code::bad_publisher});
  }
  EXPECT_EQ(bus.core->sessions(), 0u);
}

TEST_F(TransientTest, ANameThatSomebodyMadeUpIsNotGivenOnceItIsInTheTable) {
  Visitor liar{"l", 5, "anonymous-1-2"};
  ASSERT_TRUE(greet(liar));
  publish(liar, 1);
  EXPECT_EQ(enter("a").name, "anonymous-1-1");
  EXPECT_EQ(enter("b").name, "anonymous-1-3");
}

// Filling in a million names by messages takes too long for a test.
TEST(TransientNamesOfAFullTable, AreStillGivenAndPublishedUnder) {
  State state;
  state.keys.set_complete(true);
  for (std::size_t at = 2; at < limits::publishers_max; ++at) state.publishers.add(std::to_string(at));
  const auto row = state.publishers.add("anonymous-1-1");
  state.publishers[row].transient = true;
  state.publishers[row].last_sequence = 5;
  TransientNames names(state, 2);
  const SteadyTime now{};
  names.start(now);
  Sessions sessions({1, 2});
  Staging staging(state, sessions, {});
  Reads reads;
  Schedule schedule(state, staging, reads);
  LogView log(reads, [] {});
  Delivery delivery(state, sessions, staging, reads, log, 1, 1);
  Snapshots snapshots(state, sessions, staging, reads, 1);
  TopicTable topics(state, true);
  Intake intake(state, sessions, staging, reads, schedule, delivery, snapshots, Harness::types(), topics, 1);
  const auto publish_as_next = [&](const Peer& peer, SteadyTime when) {
    Session& session = sessions.begin(peer, when);
    session.transient = true;
    session.publisher = names.next(when);
    names.taken(session.publisher);
    std::uint64_t batch = 0;
    const auto next = intake.claim(session, batch) + 1;
    const Buffer header = wire::encode(wire::Body::Publish, [&](auto& builder) {
      return wire::CreatePublish(builder, next, 1, session.fence).Union();
    });
    const auto done = intake.publish(session, *wire::parse(header).value()->body_as_Publish(), Frame::of(encode(event("a"))), Now{wall_time(1), when});
    return done ? Code::ok : done.error().code;
  };
  EXPECT_EQ(publish_as_next("a", now), Code::ok) << "the last new name";
  EXPECT_EQ(publish_as_next("b", now), Code::too_many_publishers) << "the one in the table is held";
  EXPECT_EQ(publish_as_next("c", now + limits::transient_hold), Code::ok);
  EXPECT_EQ(state.publishers[row].last_sequence, 6u);
}

TEST_F(TransientTest, ALateHelloFencesNobody) {
  Visitor one = enter("a");
  one.attempt += 2;
  one.peer = "a2";
  ASSERT_TRUE(greet(one));
  Visitor late = one;
  late.peer = "a3";
  late.attempt = 1;
  EXPECT_FALSE(greet(late));
  EXPECT_EQ(codes, std::vector<Code>{Code::unknown_session});
  EXPECT_NE(publish(one, 1).position(), 0u);
}

}  // namespace
}  // namespace bus::broker
