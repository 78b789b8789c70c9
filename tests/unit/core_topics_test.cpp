// Goal: topics are what operators say they are: with settings that last, types that they admit, a policy of their own; and where the
// broker makes none by itself, nothing is published to one that is not there.
// Method: a broker without threads; its commits happen when the test says so.
#include <set>

#include "broker/core/topic_settings.hpp"
#include "tests/support/intake_case.hpp"

namespace bus::broker {
namespace {

using test::encode;
using test::event;

class TopicsTest : public test::IntakeTest {
 protected:
  TopicsTest() { bus.hello("op"); }
  void crash() {
    bus.crash();
    bus.hello("op");
    bus.hello("p", "alpha");
  }
  // Topics have to be created from here on.
  void make_none() {
    bus.auto_create_topics = false;
    crash();
  }
  // The sessions end meanwhile.
  void an_hour_passes() {
    bus.advance(std::chrono::hours(1));
    bus.hello("op");
    bus.hello("p", "alpha");
  }
  template <typename T>
  Code ask(T question) {
    bus.ask("op", std::move(question));
    bus.run();
    const auto failures = bus.take<wire::FailureT>("op");
    detail = failures.empty() ? "" : failures.at(0).detail;
    return failures.empty() ? Code::ok : failures.at(0).code;
  }
  template <typename T = wire::TopicCreateT>
  static T with(const std::string& topic, const std::vector<std::string>& types = {}, const std::string& description = "") {
    T question;
    question.settings = std::make_unique<wire::TopicSettingsT>();
    question.settings->name = topic;
    question.settings->types = types;
    question.settings->description = description;
    return question;
  }
  static void add_property(wire::TopicCreateT& question, const std::string& name, const std::string& value) {
    auto& property = *question.settings->properties.emplace_back(std::make_unique<wire::TopicPropertyT>());
    property.name = name;
    property.value = value;
  }
  Code remove(const std::string& topic) {
    wire::TopicRemoveT question;
    question.name = topic;
    return ask(question);
  }
  std::vector<wire::TopicInfoT> list(const std::string& name = "") {
    wire::TopicsRequestT question;
    question.name = name;
    bus.ask("op", question);
    bus.run();
    std::vector<wire::TopicInfoT> topics;
    for (auto& reply : bus.take<wire::ReplyT>("op")) {
      for (auto& topic : reply.answer.AsTopicsReply()->topics) topics.push_back(std::move(*topic));
    }
    return topics;
  }
  // Gives the names of each part. How many parts there were.
  std::size_t list_in_parts(const std::function<void(const std::vector<std::string>&)>& take) {
    wire::TopicsRequestT question;
    for (std::size_t parts = 1; parts < 100; ++parts) {
      bus.ask("op", question);
      bus.run();
      const auto replies = bus.take<wire::ReplyT>("op");
      EXPECT_LE(wire::encode(replies.at(0)).size(), 2 * limits::reply_bytes_target);
      const auto& reply = *replies.at(0).answer.AsTopicsReply();
      question.after = reply.more;
      question.after_name = reply.more_name;
      std::vector<std::string> names;
      for (const auto& topic : reply.topics) names.push_back(topic->name);
      take(names);
      if (question.after == 0 && question.after_name.empty()) return parts;
    }
    ADD_FAILURE() << "the list does not end";
    return 0;
  }
  Code publish(std::uint64_t sequence, const std::string& topic) {
    bus.publish("p", sequence, {encode(event(topic))});
    bus.run();
    const auto done = result();
    EXPECT_EQ(done.receipts.size(), 1u) << "no answer";
    return done.refusals.empty() ? Code::ok : done.refusals.at(0)->code;
  }
  std::string detail;
};

TEST_F(TopicsTest, AreCreatedWithSettingsThatLast) {
  auto question = with("a.b", {"SystemNotification"}, "what happens");
  add_property(question, "owner", "clinic");
  question.retention = std::make_unique<wire::RetentionPolicyT>();
  question.retention->max_events = 7;
  bus.ask("op", std::move(question));
  ASSERT_TRUE(bus.take());
  EXPECT_TRUE(bus.take<wire::ReplyT>("op").empty()) << "not durable yet";
  bus.commit();
  EXPECT_EQ(bus.take<wire::ReplyT>("op").size(), 1u);
  for (int start = 0; start < 2; ++start) {
    const auto topics = list();
    ASSERT_EQ(topics.size(), 1u);
    const auto& settings = *topics[0].settings;
    EXPECT_EQ(settings.name, "a.b");
    EXPECT_EQ(settings.description, "what happens");
    EXPECT_EQ(settings.properties.at(0)->value, "clinic");
    EXPECT_EQ(settings.types, std::vector<std::string>{test::notification_type});
    EXPECT_EQ(topics[0].revision, 1u);
    EXPECT_GT(topics[0].created_at, 0);
    EXPECT_EQ(topics[0].retention, "a.b");
    EXPECT_EQ(list("a.b").at(0).settings->description, "what happens");
    crash();
  }
  EXPECT_EQ(ask(with("a.b")), Code::conflict);
  EXPECT_EQ(ask(with("a.b", {"NoSuchType"})), Code::unknown_type);
  EXPECT_EQ(ask(with("a..b")), Code::bad_topic);
  EXPECT_EQ(ask(wire::TopicCreateT()), Code::bad_request);
}

TEST_F(TopicsTest, AdmitTheTypesTheySay) {
  ASSERT_EQ(ask(with("a.b", {"suoke.saga.SagaStarted"})), Code::ok);
  ASSERT_EQ(ask(with("a.c", {"suoke.saga.SagaStarted", "SystemNotification"})), Code::ok);
  std::uint64_t sequence = 0;
  for (int start = 0; start < 2; ++start) {
    EXPECT_EQ(publish(++sequence, "a.b"), Code::type_not_admitted);
    EXPECT_EQ(publish(++sequence, "a.c"), Code::ok);
    EXPECT_EQ(publish(++sequence, "a.d"), Code::ok);
    crash();
  }
  ASSERT_EQ(ask(with<wire::TopicEditT>("a.b")), Code::ok);
  EXPECT_EQ(publish(++sequence, "a.b"), Code::ok) << "all of them now";
  ASSERT_EQ(ask(with<wire::TopicEditT>("a.d", {"suoke.saga.SagaStarted"})), Code::ok) << "it has events";
  EXPECT_EQ(publish(++sequence, "a.d"), Code::type_not_admitted);
}

TEST_F(TopicsTest, WhatIsStoredIsAnsweredAsStoredThoughTheTopicAdmitsItNoMore) {
  ASSERT_EQ(publish(1, "a.b"), Code::ok);
  ASSERT_EQ(ask(with<wire::TopicEditT>("a.b", {"suoke.saga.SagaStarted"})), Code::ok);
  EXPECT_EQ(publish(1, "a.b"), Code::ok);
  EXPECT_EQ(publish(2, "a.b"), Code::type_not_admitted);
  EXPECT_EQ(publish(2, "a.b"), Code::refused_before);
}

TEST_F(TopicsTest, AnEditThatMissedAnotherOneIsAConflict) {
  ASSERT_EQ(ask(with("a.b")), Code::ok);
  auto edit = with<wire::TopicEditT>("a.b", {}, "mine");
  edit.revision = 1;
  ASSERT_EQ(ask(std::move(edit)), Code::ok);
  auto late = with<wire::TopicEditT>("a.b", {}, "theirs");
  late.revision = 1;
  EXPECT_EQ(ask(std::move(late)), Code::conflict);
  EXPECT_EQ(list().at(0).settings->description, "mine");
  EXPECT_EQ(list().at(0).revision, 2u);
  EXPECT_EQ(ask(with<wire::TopicEditT>("a.c")), Code::not_found);
}

TEST_F(TopicsTest, AnEditOfATopicWithoutSettingsThatMissedThatItWasCreatedIsAConflict) {
  ASSERT_EQ(publish(1, "a.b"), Code::ok);
  ASSERT_EQ(list("a.b").at(0).revision, 0u);
  const auto edit = [](const std::string& description, std::optional<std::uint32_t> revision) {
    auto question = with<wire::TopicEditT>("a.b", {}, description);
    if (revision) question.revision = *revision;
    return question;
  };
  ASSERT_EQ(ask(with("a.b", {}, "mine")), Code::ok);
  EXPECT_EQ(ask(edit("theirs", 0)), Code::conflict);
  EXPECT_EQ(list("a.b").at(0).settings->description, "mine");
  EXPECT_EQ(ask(edit("theirs", std::nullopt)), Code::ok) << "whichever they are";
  ASSERT_EQ(publish(2, "a.c"), Code::ok);
  auto first = with<wire::TopicEditT>("a.c");
  first.revision = 0;
  EXPECT_EQ(ask(std::move(first)), Code::ok) << "there are none";
}

TEST_F(TopicsTest, HaveToBeThereWhereTheBrokerMakesNone) {
  ASSERT_EQ(publish(1, "old"), Code::ok);
  make_none();
  EXPECT_EQ(publish(2, "new"), Code::unknown_topic);
  EXPECT_EQ(publish(3, "old"), Code::ok) << "it has events";
  ASSERT_EQ(ask(with("new")), Code::ok);
  EXPECT_EQ(publish(4, "new"), Code::ok);
  auto later = event("later");
  later.deliver_at = nanoseconds(bus.now.wall + std::chrono::hours(1));
  bus.publish("p", 5, {encode(later)});
  bus.run();
  EXPECT_EQ(result().refusals.at(0)->code, Code::unknown_topic) << "also what is scheduled";
  wire::StatusRequestT status;
  bus.ask("op", status);
  bus.run();
  EXPECT_FALSE(bus.take<wire::ReplyT>("op").at(0).answer.AsStatusReply()->auto_create_topics);
}

TEST_F(TopicsTest, AreRemovedOnceTheyAreEmpty) {
  bus.auto_create_topics = false;
  crash();
  auto question = with("a.b");
  question.retention = std::make_unique<wire::RetentionPolicyT>();
  question.retention->max_age_ms = 1;
  ASSERT_EQ(ask(std::move(question)), Code::ok);
  ASSERT_EQ(publish(1, "a.b"), Code::ok);
  ASSERT_EQ(ask(with("other")), Code::ok);
  ASSERT_EQ(publish(2, "other"), Code::ok);
  EXPECT_EQ(remove("a.b"), Code::conflict);
  EXPECT_NE(detail.find("1 events"), std::string::npos) << detail;
  an_hour_passes();
  ASSERT_EQ(ask(wire::RetentionRunT()), Code::ok);
  bus.run();
  ASSERT_EQ(list("a.b").at(0).events, 0u);
  EXPECT_EQ(remove("a.b"), Code::ok);
  for (int start = 0; start < 2; ++start) {
    EXPECT_EQ(list().size(), 1u);
    EXPECT_EQ(remove("a.b"), Code::not_found);
    EXPECT_EQ(publish(3 + static_cast<std::uint64_t>(start), "a.b"), Code::unknown_topic);
    crash();
  }
  ASSERT_EQ(ask(with("a.b")), Code::ok) << "created anew";
  EXPECT_EQ(list("a.b").at(0).retention, "") << "its policy went with it";
  EXPECT_EQ(publish(5, "a.b"), Code::ok);
  EXPECT_EQ(remove("nothing"), Code::not_found);
  ASSERT_EQ(ask(with("unused")), Code::ok);
  EXPECT_EQ(remove("unused"), Code::ok) << "nothing was ever published to it";
  EXPECT_EQ(list().size(), 2u);
}

TEST_F(TopicsTest, ARemovedTopicIsThereAgainIfTheBrokerMakesTopics) {
  ASSERT_EQ(publish(1, "a.b"), Code::ok);
  auto edit = with<wire::TopicEditT>("a.b");
  edit.retention = std::make_unique<wire::RetentionPolicyT>();
  edit.retention->max_age_ms = 1;
  ASSERT_EQ(ask(std::move(edit)), Code::ok);
  an_hour_passes();
  ASSERT_EQ(ask(wire::RetentionRunT()), Code::ok);
  bus.run();
  ASSERT_EQ(remove("a.b"), Code::ok);
  EXPECT_TRUE(list().empty());
  EXPECT_EQ(publish(2, "a.b"), Code::ok);
  EXPECT_EQ(list().size(), 1u);
  make_none();
  EXPECT_EQ(publish(3, "a.b"), Code::ok) << "it has an event";
}

TEST_F(TopicsTest, AreListedInPartsWithThoseThatHaveNoEvent) {
  std::set<std::string> made, told;
  for (int at = 0; at < 600; ++at) {
    const auto topic = "t" + std::to_string(at);
    ASSERT_EQ(ask(with(topic, {}, std::string(limits::description_bytes_max, 'd'))), Code::ok);
    made.insert(topic);
  }
  for (std::uint64_t sequence = 1; sequence <= 3; ++sequence) ASSERT_EQ(publish(sequence, "t" + std::to_string(sequence * 100)), Code::ok);
  const auto parts = list_in_parts([&](const std::vector<std::string>& names) {
    for (const auto& name : names) EXPECT_TRUE(told.insert(name).second) << name << " is told twice";
  });
  EXPECT_GT(parts, 1u);
  EXPECT_EQ(told, made);
}

// Of two that are told in the first part one goes, one of the others gets its first event, and some come.
TEST_F(TopicsTest, AreListedOnceEachWhateverChangesMeanwhile) {
  std::set<std::string> stay;
  for (int at = 100; at < 700; ++at) {
    const auto topic = "t" + std::to_string(at);
    ASSERT_EQ(ask(with(topic, {}, std::string(limits::description_bytes_max, 'd'))), Code::ok);
    stay.insert(topic);
  }
  ASSERT_EQ(publish(1, "t650"), Code::ok);
  std::multiset<std::string> told;
  list_in_parts([&](const std::vector<std::string>& names) {
    const bool is_first = told.empty();
    told.insert(names.begin(), names.end());
    if (!is_first) return;
    ASSERT_TRUE(told.contains("t650") && told.contains("t100") && !told.contains("t690"));
    ASSERT_EQ(remove("t100"), Code::ok);
    stay.erase("t100");
    ASSERT_EQ(publish(2, "t690"), Code::ok);
    ASSERT_EQ(publish(3, "t101"), Code::ok);
    ASSERT_EQ(ask(with("t0")), Code::ok);
  });
  for (const auto& topic : stay) EXPECT_EQ(told.count(topic), 1u) << topic;
}

TEST_F(TopicsTest, SettingsHaveLimits) {
  EXPECT_EQ(ask(with("d", {}, std::string(limits::description_bytes_max, 'd'))), Code::ok);
  EXPECT_EQ(ask(with("e", {}, std::string(limits::description_bytes_max + 1, 'd'))), Code::bad_settings);
  const auto with_property = [&](const std::string& topic, std::size_t name, std::size_t value) {
    auto question = with(topic);
    add_property(question, std::string(name, 'n'), std::string(value, 'v'));
    return ask(std::move(question));
  };
  EXPECT_EQ(with_property("f", limits::property_name_bytes_max, limits::description_bytes_max), Code::ok);
  EXPECT_EQ(with_property("g", limits::property_name_bytes_max + 1, 1), Code::bad_settings);
  EXPECT_EQ(with_property("g", 1, limits::description_bytes_max + 1), Code::bad_settings);
  EXPECT_EQ(with_property("g", 0, 1), Code::bad_settings);
  const auto with_properties = [&](const std::string& topic, std::size_t count) {
    auto question = with(topic);
    for (std::size_t at = 0; at < count; ++at) add_property(question, "p" + std::to_string(at), "v");
    return ask(std::move(question));
  };
  EXPECT_EQ(with_properties("h", limits::topic_properties_max), Code::ok);
  EXPECT_EQ(with_properties("i", limits::topic_properties_max + 1), Code::bad_settings);
  auto twice = with("i");
  add_property(twice, "p", "v"), add_property(twice, "p", "w");
  EXPECT_EQ(ask(std::move(twice)), Code::bad_settings);
  // Of one type, which counts once: the limit is of what is asked for.
  EXPECT_EQ(ask(with("j", std::vector<std::string>(limits::topic_types_max, test::notification_type))), Code::ok);
  EXPECT_EQ(ask(with("k", std::vector<std::string>(limits::topic_types_max + 1, test::notification_type))), Code::bad_settings);
}

TEST(TopicTable, ADamagedRowIsRefused) {
  State state;
  TopicTable table(state, true);
  TopicSettings settings;
  settings.description = "d";
  settings.properties = {{"p", "v"}};
  settings.types = {"a", "b"};
  const auto row = table.put("t", settings);
  for (std::size_t bytes = 0; bytes < row.value->size(); ++bytes) EXPECT_FALSE(TopicTable(state, true).restore_row("t", row.value->substr(0, bytes)).ok()) << bytes;
  TopicTable again(state, true);
  ASSERT_TRUE(again.restore_row("t", *row.value).ok());
  EXPECT_EQ(again.bytes(), row.value->size());
  EXPECT_EQ(again.find("t")->properties, settings.properties);
}

TEST(TopicTable, CountsThoseThatAreNotRemoved) {
  State state;
  TopicTable table(state, true);
  const auto bytes = table.put("t", {}).value->size();
  table.put("u", {});
  EXPECT_EQ(table.count(), 2u);
  EXPECT_EQ(table.bytes(), 2 * bytes);
  table.put("t", {.description = "four"});
  EXPECT_EQ(table.bytes(), 2 * bytes + 4);
  table.put("t", {.removed = true});
  EXPECT_EQ(table.count(), 1u);
  table.erase("t");
  table.erase("none");
  EXPECT_EQ(table.count(), 1u);
  EXPECT_EQ(table.bytes(), bytes);
}

}  // namespace
}  // namespace bus::broker
