// Goal: messages for one session leave in order, whatever its socket takes; what waits is bounded.
// Method: drive Sessions by hand, with a socket that refuses when told to.
#include <gtest/gtest.h>
#include <malloc.h>

#include "tests/support/harness.hpp"

namespace bus::broker {
namespace {

Buffer bytes(std::size_t size, std::uint8_t with = 0) { return Buffer(size, with); }

class SessionsTest : public ::testing::Test {
 protected:
  // Hands everything to a socket that takes `room` messages; returns what it took, by first byte.
  std::vector<int> send(std::size_t room) {
    std::vector<int> taken;
    for (Outgoing& message : sessions.take()) {
      if (room == 0 || sessions.is_blocked(message.peer)) {
        sessions.blocked(std::move(message));
        continue;
      }
      taken.push_back(message.header.bytes[0]);
      --room;
    }
    return taken;
  }
  Sessions sessions{{1, 2}};
  SteadyTime now;
  SessionId id = sessions.begin("peer", now).id;
};

TEST(SessionTokens, DependOnBothSecretsAndDoNotRepeat) {
  const auto tokens = [](const Hash128& secret) {
    Sessions sessions(secret);
    std::vector<SessionId> all;
    for (int at = 0; at < 1000; ++at) all.push_back(sessions.begin("peer" + std::to_string(at), {}).id);
    return all;
  };
  EXPECT_EQ(tokens({1, 2}), tokens({1, 2}));
  std::set<SessionId> all = {0};
  for (const Hash128& secret : {Hash128{1, 2}, Hash128{1, 3}, Hash128{2, 2}}) {
    for (const SessionId token : tokens(secret)) EXPECT_TRUE(all.insert(token).second);
  }
}

TEST_F(SessionsTest, AreFoundByTokenAndByPeer) {
  EXPECT_EQ(sessions.find("peer")->id, id);
  EXPECT_EQ(sessions.find(id)->peer, "peer");
  sessions.end(id);
  EXPECT_EQ(sessions.find("peer"), nullptr);
  EXPECT_EQ(sessions.size(), 0u);
}

TEST_F(SessionsTest, SendNothingToThoseThatHaveEnded) {
  sessions.end(id);
  sessions.send(id, bytes(1));
  EXPECT_TRUE(sessions.take().empty());
}

TEST_F(SessionsTest, KeepOrderWhenTheSocketIsFull) {
  for (std::uint8_t at = 1; at <= 4; ++at) sessions.send(id, bytes(1, at));
  EXPECT_EQ(send(1), (std::vector<int>{1}));
  sessions.send(id, bytes(1, 5));
  EXPECT_EQ(send(100), (std::vector<int>{})) << "not before retry()";
  sessions.retry();
  sessions.send(id, bytes(1, 6));
  EXPECT_EQ(send(2), (std::vector<int>{2, 3}));
  sessions.retry();
  EXPECT_EQ(send(100), (std::vector<int>{4, 5, 6}));
}

TEST_F(SessionsTest, HaveRoomOnceEverythingHeldWasTaken) {
  sessions.send(id, bytes(1));
  EXPECT_TRUE(sessions.has_room(id));
  send(0);
  EXPECT_FALSE(sessions.has_room(id));
  EXPECT_TRUE(sessions.retry());
  EXPECT_FALSE(sessions.has_room(id)) << "with the socket, and not known to be taken";
  send(1);
  EXPECT_TRUE(sessions.retry());
  EXPECT_TRUE(sessions.has_room(id));
  EXPECT_FALSE(sessions.retry());
}

TEST_F(SessionsTest, HaveNoRoomBeyondOneRound) {
  sessions.send(id, bytes(limits::round_bytes_max - 1));
  EXPECT_TRUE(sessions.has_room(id));
  sessions.send(id, bytes(1));
  EXPECT_FALSE(sessions.has_room(id));
  EXPECT_TRUE(sessions.any_full());
  send(100);
  EXPECT_FALSE(sessions.any_full());
  EXPECT_TRUE(sessions.retry());
  EXPECT_TRUE(sessions.has_room(id));
}

TEST_F(SessionsTest, OverflowBeyondTheBytesOfAnOutbox) {
  sessions.send(id, bytes(1));
  send(0);
  sessions.send(id, bytes(limits::outbox_bytes_max - 1));
  EXPECT_TRUE(sessions.take_overflowed().empty());
  sessions.send(id, bytes(1));
  EXPECT_EQ(sessions.take_overflowed(), std::vector<SessionId>{id});
}

TEST_F(SessionsTest, OverflowBeyondTheMessagesOfAnOutbox) {
  sessions.send(id, bytes(1));
  send(0);
  for (std::size_t count = 1; count < limits::outbox_messages_max; ++count) sessions.send(id, bytes(1));
  EXPECT_TRUE(sessions.take_overflowed().empty());
  sessions.send(id, bytes(1));
  EXPECT_EQ(sessions.take_overflowed(), std::vector<SessionId>{id});
}

TEST_F(SessionsTest, ForgetWhatWaitsWhenTheyEnd) {
  sessions.send(id, bytes(1));
  send(0);
  sessions.end(id);
  EXPECT_FALSE(sessions.is_blocked("peer"));
  sessions.retry();
  EXPECT_TRUE(sessions.take().empty());
}

TEST_F(SessionsTest, DropABlockedAnswerToAPeerWithoutSession) {
  sessions.send_to_peer("stranger", bytes(1));
  EXPECT_TRUE(send(0).empty());
  sessions.retry();
  EXPECT_TRUE(sessions.take().empty());
}

// libzmq's own buffers come on top; bench/compare measures them together.
TEST(CoreMemory, IsLessThanTwoKibibytesAnIdleSession) {
  test::Harness bus;
  const auto begin = [&](int number) {
    wire::HelloT hello;
    hello.protocol = wire::protocol_version;
    hello.client = "a client with a long name";
    bus.send("peer-" + std::to_string(number), hello);
    bus.core->tick(bus.now);
    EXPECT_EQ(bus.core->take_outgoing().size(), 1u);
  };
  constexpr int sessions = 5000;
  begin(0);
  const auto before = mallinfo2().uordblks;
  for (int number = 1; number <= sessions; ++number) begin(number);
  EXPECT_EQ(bus.core->sessions(), static_cast<std::size_t>(sessions) + 1);
  EXPECT_LT((mallinfo2().uordblks - before) / sessions, 2048u);
}

}  // namespace
}  // namespace bus::broker
