// Goal: operators are told the truth, each request is answered once, and nothing is said before it is durable.
// Method: a broker without threads; its commits and reads happen when the test says so.
#include <gtest/gtest.h>

#include <set>

#include "test_schemas.hpp"
#include "tests/support/harness.hpp"

namespace bus::broker {
namespace {

using test::encode;
using test::event;
using test::Harness;
using test::subscribe;

class RequestsTest : public ::testing::Test {
 protected:
  RequestsTest() {
    bus.hello("p", "alpha");
    bus.hello("op");
    bus.publish("p", 1, {encode(event("a.b", "key")), encode(event("a.c")), encode(event("a.b"))});
    bus.run();
  }
  template <typename T>
  wire::ReplyT reply(T question) {
    bus.ask("op", std::move(question));
    bus.run();
    auto replies = bus.take<wire::ReplyT>("op");
    return replies.empty() ? wire::ReplyT() : std::move(replies.at(0));
  }
  template <typename T>
  Code code(T question) {
    bus.ask("op", std::move(question));
    bus.run();
    const auto codes = bus.failures("op");
    return codes.empty() ? Code::ok : codes.at(0);
  }
  wire::GroupInfoT group(const std::string& name) {
    wire::GroupsRequestT ask;
    ask.name = name;
    return *reply(std::move(ask)).answer.AsGroupsReply()->groups.at(0);
  }
  Harness bus;
};

TEST_F(RequestsTest, TellTheStatus) {
  const auto answer = reply(wire::StatusRequestT());
  const auto& status = *answer.answer.AsStatusReply();
  EXPECT_EQ(status.version, "test");
  EXPECT_EQ(status.committed, 3u);
  EXPECT_EQ(status.events, 3u);
  EXPECT_EQ(status.topics, 2u);
  EXPECT_EQ(status.publishers, 1u);
  EXPECT_EQ(status.sessions, 2u);
  EXPECT_FALSE(status.log_full);
}

TEST_F(RequestsTest, TellTopicsByName) {
  const auto answer = reply(wire::TopicsRequestT());
  const auto& topics = answer.answer.AsTopicsReply()->topics;
  ASSERT_EQ(topics.size(), 2u);
  EXPECT_EQ(topics[0]->name, "a.b");
  EXPECT_EQ(topics[0]->events, 2u);
  EXPECT_EQ(topics[0]->first, 1u);
  EXPECT_EQ(topics[0]->last, 3u);
  wire::TopicsRequestT unknown;
  unknown.name = "a.z";
  EXPECT_EQ(code(std::move(unknown)), Code::not_found);
}

// A list that is longer than one reply comes in parts: everything once, and in parts that stay small.
TEST_F(RequestsTest, TellManyTopicsInParts) {
  constexpr std::size_t count = 4000;
  std::set<std::string> made = {"a.b", "a.c"};
  std::vector<Buffer> events;
  for (std::size_t at = 0; at < count; ++at) {
    const auto topic = std::to_string(at) + "." + std::string(200, 't');
    made.insert(topic);
    events.push_back(encode(event(topic)));
  }
  bus.publish("p", 4, events);
  bus.run();
  std::multiset<std::string> told;
  std::size_t parts = 0;
  wire::TopicsRequestT ask;
  do {
    const auto answer = reply(ask);
    EXPECT_LE(wire::encode(answer).size(), 2 * limits::reply_bytes_target);
    for (const auto& topic : answer.answer.AsTopicsReply()->topics) told.insert(topic->name);
    ask.after = answer.answer.AsTopicsReply()->more;
    ++parts;
  } while (ask.after != 0 && parts < count);
  EXPECT_GT(parts, 2u);
  EXPECT_EQ(told, std::multiset<std::string>(made.begin(), made.end()));
}

TEST_F(RequestsTest, TellManyGroupsInParts) {
  std::multiset<std::string> made, told;
  for (std::uint32_t at = 0; at < 40; ++at) {
    auto message = subscribe(at + 1, "group-" + std::to_string(at));
    message.filter = std::make_unique<wire::FilterT>();
    for (std::size_t key = 0; key < limits::filter_entries_max; ++key) message.filter->keys.push_back(std::string(200, 'k') + std::to_string(key));
    bus.send("p", message);
    made.insert(message.group);
  }
  bus.run();
  std::size_t parts = 0;
  wire::GroupsRequestT ask;
  do {
    const auto answer = reply(ask);
    EXPECT_LE(wire::encode(answer).size(), 2 * limits::reply_bytes_target);
    for (const auto& group : answer.answer.AsGroupsReply()->groups) told.insert(group->name);
    ask.after = answer.answer.AsGroupsReply()->more;
    ++parts;
  } while (!ask.after.empty() && parts < made.size());
  EXPECT_GT(parts, 1u);
  EXPECT_EQ(told, made);
}

TEST_F(RequestsTest, TellManySchemasInParts) {
  if (Harness::types().find("many.Type00") == nullptr) Harness::types().add(std::string(embedded::many), "many.bfbs").value();
  bus.restart();
  bus.hello("op");
  std::multiset<std::string> told;
  std::size_t parts = 0;
  wire::SchemasRequestT ask;
  ask.with_schema = true;
  do {
    const auto answer = reply(ask);
    EXPECT_LE(wire::encode(answer).size(), 2 * limits::reply_bytes_target);
    for (const auto& schema : answer.answer.AsSchemasReply()->schemas) told.insert(schema->type);
    ask.after = answer.answer.AsSchemasReply()->more;
    ++parts;
  } while (!ask.after.empty() && parts < 100);
  EXPECT_GT(parts, 1u);
  EXPECT_EQ(told.size(), Harness::types().all().size());
  EXPECT_EQ(std::set<std::string>(told.begin(), told.end()).size(), told.size());
}

TEST_F(RequestsTest, MakeNoGroupWhereAnExistingOneIsMeant) {
  auto message = subscribe(1, "g");
  message.existing = true;
  bus.send("op", message);
  bus.run();
  EXPECT_EQ(bus.take<wire::FailureT>("op").at(0).code, Code::unknown_group);
  EXPECT_TRUE(bus.core->delivery().groups().empty());
  bus.send("op", subscribe(1, "g"));
  message.subscription = 2;
  bus.send("op", message);
  bus.run();
  EXPECT_EQ(bus.take<wire::SubscribedT>("op").size(), 2u);
}

TEST_F(RequestsTest, CountTopicsOnceAcrossRestarts) {
  for (const bool clean : {false, true}) {
    clean ? bus.restart() : bus.crash();
    bus.hello("op");
    const auto answer = reply(wire::TopicsRequestT());
    EXPECT_EQ(answer.answer.AsTopicsReply()->topics.at(0)->events, 2u);
    std::uint64_t bytes = 0;
    for (const auto& topic : answer.answer.AsTopicsReply()->topics) bytes += topic->bytes;
    EXPECT_GT(bytes, 0u);
    EXPECT_EQ(reply(wire::LogStatRequestT()).answer.AsLogStatReply()->event_bytes, bytes);
  }
}

TEST_F(RequestsTest, HaveNothingToReplayAfterAllOfTheLastCheckpoint) {
  const auto replay_from = [&] { return reply(wire::LogStatRequestT()).answer.AsLogStatReply()->replay_from; };
  constexpr auto commits = limits::key_shards / limits::final_steps;
  bus.finish(commits - 1);
  EXPECT_EQ(replay_from(), 1u);
  bus.finish(1);
  EXPECT_EQ(replay_from(), 4u);
}

TEST_F(RequestsTest, TellOneEvent) {
  wire::EventGetT get;
  get.position = 1;
  bus.ask("op", std::move(get));
  bus.run();
  const auto& received = bus.received("op");
  ASSERT_EQ(received.size(), 1u);
  const auto* answer = received[0].message->body.AsReply()->answer.AsEventReply();
  EXPECT_EQ(answer->delivery->version(), 1u);
  EXPECT_EQ(answer->publisher, "alpha");
  EXPECT_EQ(received[0].body, encode(event("a.b", "key")));
}

TEST_F(RequestsTest, FindEventsInTheLogOnly) {
  for (const std::uint64_t position : {0, 4}) {
    wire::EventGetT get;
    get.position = position;
    EXPECT_EQ(code(std::move(get)), Code::not_found);
  }
  bus.crash();
  bus.hello("op");
  wire::EventGetT get;
  get.position = 3;
  EXPECT_EQ(code(std::move(get)), Code::ok) << "read from disk";
}

TEST_F(RequestsTest, TellGroups) {
  bus.hello("s");
  bus.send("s", subscribe(1, "g"));
  bus.run();
  auto info = group("g");
  EXPECT_EQ(info.lag, 3u);
  EXPECT_EQ(info.open, 3u);
  EXPECT_EQ(info.in_flight, 3u);
  EXPECT_EQ(info.member_names, std::vector<std::string>{"s"});
  EXPECT_GT(info.oldest_at, 0);
  EXPECT_EQ(reply(wire::GroupsRequestT()).answer.AsGroupsReply()->groups.size(), 1u);
}

TEST_F(RequestsTest, AnswerASeekOnceItIsDurable) {
  bus.hello("s");
  bus.send("s", subscribe(1, "g"));
  bus.run();
  wire::GroupSeekT seek;
  seek.name = "g";
  seek.to = wire::Start::end;
  bus.ask("op", std::move(seek));
  ASSERT_TRUE(bus.take());
  EXPECT_TRUE(bus.take<wire::ReplyT>("op").empty());
  bus.commit();
  EXPECT_EQ(bus.take<wire::ReplyT>("op").size(), 1u);
  bus.crash();
  bus.hello("op");
  EXPECT_EQ(group("g").lag, 0u);
}

TEST_F(RequestsTest, SeekByTime) {
  bus.hello("s");
  bus.send("s", subscribe(1, "g"));
  bus.run();
  wire::GroupSeekT seek;
  seek.name = "g";
  seek.to = wire::Start::time;
  seek.to_value = nanoseconds(bus.now.wall) + 1;
  EXPECT_EQ(reply(std::move(seek)).answer.AsSeekReply()->floor, 3u);
}

TEST_F(RequestsTest, RefuseWhatCannotBe) {
  wire::GroupSeekT seek;
  seek.name = "nobody";
  EXPECT_EQ(code(std::move(seek)), Code::unknown_group);
  wire::GroupRemoveT remove;
  remove.name = "nobody";
  EXPECT_EQ(code(std::move(remove)), Code::unknown_group);
  wire::GroupsRequestT groups;
  groups.name = "nobody";
  EXPECT_EQ(code(std::move(groups)), Code::unknown_group);
}

TEST_F(RequestsTest, TellSchemas) {
  wire::SchemasRequestT ask;
  ask.name = test::notification_type;
  ask.with_schema = true;
  const auto answer = reply(std::move(ask));
  const auto& schemas = answer.answer.AsSchemasReply()->schemas;
  ASSERT_EQ(schemas.size(), 1u);
  EXPECT_TRUE(schemas[0]->builtin);
  EXPECT_FALSE(schemas[0]->bfbs.empty());
  wire::SchemasRequestT unknown;
  unknown.name = "suoke.Unknown";
  EXPECT_EQ(code(std::move(unknown)), Code::not_found);
}

TEST_F(RequestsTest, TellFiguresOfTheLogAndVerifyIt) {
  const auto figures = reply(wire::LogStatRequestT());
  EXPECT_EQ(figures.answer.AsLogStatReply()->last, 3u);
  const auto verified = reply(wire::LogVerifyT());
  EXPECT_EQ(verified.answer.AsVerifyReply()->events, 3u);
  EXPECT_EQ(verified.answer.AsVerifyReply()->next, 0u);
  EXPECT_TRUE(verified.answer.AsVerifyReply()->faults.empty());
}

TEST(RequestsOfAnEmptyLog, FindNoFault) {
  Harness bus;
  bus.hello("op");
  bus.ask("op", wire::LogVerifyT());
  bus.run();
  const auto replies = bus.take<wire::ReplyT>("op");
  EXPECT_TRUE(replies.at(0).answer.AsVerifyReply()->faults.empty());
}

TEST_F(RequestsTest, AreLimitedWhileUnanswered) {
  for (std::uint64_t number = 1; number <= limits::requests_per_session_max; ++number) {
    bus.ask("op", wire::LogStatRequestT(), number);
  }
  EXPECT_TRUE(bus.failures("op").empty());
  bus.ask("op", wire::LogStatRequestT(), 65);
  EXPECT_EQ(bus.failures("op"), std::vector<Code>{Code::busy});
  bus.run();
  EXPECT_EQ(bus.take<wire::ReplyT>("op").size(), limits::requests_per_session_max);
  bus.ask("op", wire::LogStatRequestT(), 66);
  EXPECT_TRUE(bus.failures("op").empty());
}

}  // namespace
}  // namespace bus::broker
