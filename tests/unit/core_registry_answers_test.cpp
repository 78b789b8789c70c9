// Goal: what operators are told of schemas and topics stays true: nothing is said that a crash could take back, a topic with events on their
// way is not removed, and where there is no room, on the disk or in the broker, nothing is changed.
// Method: a broker without threads; its commits and reads happen when the test says so. Rows are put into a log that no broker has open.
#include "tests/support/intake_case.hpp"
#include "tests/support/schema_text.hpp"

namespace bus::broker {
namespace {

using test::compile_schema;
using test::encode;
using test::event;

const std::string bed = "namespace clinic; table Bed { ward:string; floor:int; } root_type Bed;";
const std::string bed_without_floor = "namespace clinic; table Bed { ward:string; } root_type Bed;";

class RegistryAnswersTest : public test::IntakeTest {
 protected:
  RegistryAnswersTest() { bus.hello("op"); }
  void crash(const std::function<void(const std::filesystem::path& data)>& meanwhile = {}) {
    bus.crash(meanwhile);
    say_hello();
  }
  void say_hello() {
    bus.hello("op");
    bus.hello("p", "alpha");
  }
  template <typename T>
  static T settings(const std::string& topic, std::optional<std::uint32_t> revision = {}) {
    T ask;
    ask.settings = std::make_unique<wire::TopicSettingsT>();
    ask.settings->name = topic;
    ask.settings->description = "what happens";
    if constexpr (std::is_same_v<T, wire::TopicEditT>) {
      if (revision) ask.revision = *revision;
    }
    return ask;
  }
  static wire::TopicCreateT create(const std::string& topic) { return settings<wire::TopicCreateT>(topic); }
  static wire::TopicEditT edit(const std::string& topic, std::optional<std::uint32_t> revision = {}) { return settings<wire::TopicEditT>(topic, revision); }
  static wire::TopicRemoveT removal(const std::string& topic) {
    wire::TopicRemoveT ask;
    ask.name = topic;
    return ask;
  }
  static wire::TopicsRequestT topics(const std::string& topic = "") {
    wire::TopicsRequestT ask;
    ask.name = topic;
    return ask;
  }
  static wire::SchemaAddT adding(const std::string& schema, bool dry = false) {
    wire::SchemaAddT ask;
    ask.bfbs = compile_schema(schema);
    ask.dry_run = dry;
    return ask;
  }
  template <typename T>
  static T of_bed() {
    T ask;
    ask.type = "clinic.Bed";
    return ask;
  }
  // To be answered after the next commit, with this.
  template <typename T>
  void later(T ask, Code code) {
    bus.ask("op", std::move(ask), ++asked_);
    EXPECT_TRUE(bus.received("op").empty()) << "question " << asked_ << " is answered before what it rests on is durable";
    expected_.push_back(code);
  }
  void expect_answers() {
    ASSERT_TRUE(bus.commit());
    std::vector<Code> codes;
    for (const auto& one : bus.received("op")) {
      const auto* failure = one.message->body.AsFailure();
      codes.push_back(failure == nullptr ? Code::ok : failure->code);
    }
    EXPECT_EQ(codes, expected_);
    expected_.clear();
    bus.take<wire::ReplyT>("op");
  }
  template <typename T>
  Code now(T ask) {
    bus.ask("op", std::move(ask), ++asked_);
    bus.run();
    const auto codes = bus.failures("op");
    return codes.empty() ? Code::ok : codes.at(0);
  }
  // As the log has it after a crash.
  std::string description_after_crash(const std::string& topic) {
    crash();
    bus.ask("op", topics(topic));
    bus.run();
    const auto replies = bus.take<wire::ReplyT>("op");
    const auto* info = replies.empty() ? nullptr : replies[0].answer.AsTopicsReply()->topics.at(0).get();
    return info == nullptr || info->settings == nullptr ? "" : info->settings->description;
  }
  void fill_disk() {
    auto large = event();
    large.payload = test::notification(std::string(limits::MiB - 1000, 'x'));
    for (std::uint64_t sequence = 1; !bus.core->log_full(); ++sequence) {
      ASSERT_LT(sequence, 64u);
      bus.publish("p", sequence, {encode(large)});
      bus.run();
    }
  }
  // Into the log of a broker that is gone.
  void put_rows(const std::filesystem::path& data, std::vector<store::Row> rows) {
    auto log = open(data);
    store::CommitBatch batch;
    batch.head = log->head();
    ++batch.head.batch;
    batch.rows = std::move(rows);
    log->commit(batch).value();
  }
  std::unique_ptr<store::Store> open(const std::filesystem::path& data) const {
    store::Options options;
    options.dir = data;
    options.map_bytes = bus.map_bytes;
    options.fill_ahead_bytes = bus.fill_ahead_bytes;
    return store::Store::open(options).value();
  }

 private:
  std::uint64_t asked_ = 0;
  std::vector<Code> expected_;
};

// ---- nothing is said before it is durable

TEST_F(RegistryAnswersTest, OfATopicThatIsStaged) {
  later(create("a.b"), Code::ok);
  later(create("a.b"), Code::conflict);
  later(edit("a.b", 7), Code::conflict);
  later(topics("a.b"), Code::ok);
  later(topics(), Code::ok);
  expect_answers();
  later(removal("a.b"), Code::ok);
  later(removal("a.b"), Code::not_found);
  later(edit("a.b"), Code::not_found);
  later(topics("a.b"), Code::not_found);
  expect_answers();
}

TEST_F(RegistryAnswersTest, OfATopicThatIsBeingCommitted) {
  later(create("a.b"), Code::ok);
  ASSERT_TRUE(bus.take());
  later(create("a.b"), Code::conflict);
  later(topics(), Code::ok);
  expect_answers();
}

TEST_F(RegistryAnswersTest, OfASchemaThatIsStaged) {
  later(adding(bed), Code::ok);
  later(adding(bed), Code::ok);
  later(adding(bed_without_floor), Code::incompatible_schema);
  later(adding(bed_without_floor, true), Code::ok);
  wire::SchemasRequestT one;
  one.name = "clinic.Bed";
  later(one, Code::ok);
  later(wire::SchemasRequestT(), Code::ok);
  later(of_bed<wire::SchemaHistoryT>(), Code::ok);
  auto diff = of_bed<wire::SchemaDiffT>();
  diff.bfbs = compile_schema(bed_without_floor);
  later(diff, Code::ok);
  later(of_bed<wire::SchemaEditT>(), Code::ok);
  one.version = 2;
  later(one, Code::not_found);
  expect_answers();
}

TEST_F(RegistryAnswersTest, AndAtOnceWhereNothingIsStaged) {
  bus.ask("op", topics("none"));
  EXPECT_EQ(bus.failures("op"), std::vector<Code>{Code::not_found});
  bus.ask("op", adding(bed, true));
  EXPECT_EQ(bus.take<wire::ReplyT>("op").size(), 1u);
}

// ---- what takes long is told in parts

// All values of the enum are looked at for each version, and one field is new in each.
TEST_F(RegistryAnswersTest, AHistoryHasSoManyComparisonsInEachPart) {
  constexpr std::uint32_t values = 4'000, versions = 40;
  static_assert((versions - 1) * 2 * values > limits::schema_comparisons_max && 2 * versions < limits::schema_changes_max);
  bus.map_bytes = 256 * limits::MiB;
  crash();
  std::string text = "enum E:uint { ";
  for (std::uint32_t at = 0; at < values; ++at) text += "v" + std::to_string(at) + ", ";
  text += "} table T { e:E; ";
  for (std::uint32_t version = 0; version < versions; ++version) {
    text += "f" + std::to_string(version) + ":int; ";
    auto ask = adding(text + "} root_type T;");
    ask.compatibility = "none";
    ASSERT_EQ(now(std::move(ask)), Code::ok);
  }
  wire::SchemaHistoryT history;
  history.type = "T";
  std::vector<std::size_t> parts;
  std::uint32_t told = 0;
  do {
    bus.ask("op", history);
    bus.run();
    const auto replies = bus.take<wire::ReplyT>("op");
    const auto& part = *replies.at(0).answer.AsSchemaHistoryReply();
    for (const auto& version : part.versions) {
      EXPECT_EQ(version->version, ++told);
      EXPECT_EQ(version->changes.empty(), told == 1) << "compared with the one before it";
    }
    parts.push_back(part.versions.size());
    history.after = part.more;
  } while (history.after != 0 && parts.size() < versions);
  EXPECT_EQ(parts.size(), 2u);
  EXPECT_EQ(told, versions);
}

// ---- events on their way to a topic that is removed

TEST_F(RegistryAnswersTest, ATopicWithAStagedEventIsNotRemoved) {
  ASSERT_EQ(now(create("a.b")), Code::ok);
  bus.publish("p", 1, {encode(event("a.b"))});
  later(removal("a.b"), Code::conflict);
  expect_answers();
  EXPECT_EQ(description_after_crash("a.b"), "what happens");
  EXPECT_EQ(now(removal("a.b")), Code::conflict) << "it has an event now";
}

TEST_F(RegistryAnswersTest, ATopicWithAnEventThatIsBeingCommittedIsNotRemoved) {
  ASSERT_EQ(now(create("a.b")), Code::ok);
  bus.publish("p", 1, {encode(event("other")), encode(event("a.b"))});
  ASSERT_TRUE(bus.take());
  later(removal("a.b"), Code::conflict);
  expect_answers();
  EXPECT_EQ(description_after_crash("a.b"), "what happens");
}

// It waits until the head of its key was read.
TEST_F(RegistryAnswersTest, ATopicWithAParkedEventIsNotRemoved) {
  ASSERT_EQ(now(create("a.b")), Code::ok);
  ASSERT_EQ(now(create("a.c")), Code::ok);
  bus.restart();
  say_hello();
  bus.publish("p", 1, {encode(event("a.b", "key"))});
  bus.ask("op", removal("a.b"));
  EXPECT_EQ(bus.failures("op"), std::vector<Code>{Code::conflict});
  EXPECT_EQ(now(removal("a.c")), Code::ok) << "nothing is on its way there";
  EXPECT_EQ(result().receipts.size(), 1u);
  EXPECT_EQ(description_after_crash("a.b"), "what happens");
}

// ---- where there is no room

TEST_F(RegistryAnswersTest, AFullDiskChangesNothing) {
  bus.map_bytes = 12 * limits::MiB;
  crash();
  ASSERT_EQ(now(create("a.b")), Code::ok);
  fill_disk();
  EXPECT_EQ(now(adding(bed)), Code::log_full);
  EXPECT_EQ(now(create("a.c")), Code::log_full);
  auto changed = edit("a.b");
  changed.settings->description = "something else";
  EXPECT_EQ(now(std::move(changed)), Code::log_full);
  EXPECT_EQ(now(of_bed<wire::SchemaHistoryT>()), Code::not_found);
  EXPECT_EQ(now(topics("a.c")), Code::not_found);
  EXPECT_EQ(description_after_crash("a.b"), "what happens");
  bus.map_bytes = 64 * limits::MiB;
  crash();
  EXPECT_EQ(now(of_bed<wire::SchemaHistoryT>()), Code::not_found);
  EXPECT_EQ(now(topics("a.c")), Code::not_found);
  EXPECT_EQ(now(adding(bed)), Code::ok);
  EXPECT_EQ(now(create("a.c")), Code::ok);
}

TEST_F(RegistryAnswersTest, SoManyTopicsHaveSettingsAndNoMore) {
  State state;
  TopicTable table(state, true);
  std::vector<store::Row> rows;
  for (std::size_t at = 1; at < limits::topic_settings_max; ++at) rows.push_back(table.put("t" + std::to_string(at), {}));
  crash([&](const auto& data) { put_rows(data, std::move(rows)); });
  EXPECT_EQ(now(create("last")), Code::ok);
  EXPECT_EQ(now(create("beyond")), Code::too_many_topics);
  EXPECT_EQ(now(edit("t1")), Code::ok) << "it has a place";
  bus.publish("p", 1, {encode(event("beyond"))});
  bus.run();
  EXPECT_EQ(now(edit("beyond")), Code::too_many_topics) << "it is there, and has no settings yet";
  EXPECT_EQ(now(removal("t1")), Code::ok);
  EXPECT_EQ(now(create("beyond")), Code::ok);
}

TEST_F(RegistryAnswersTest, ABrokerDoesNotStartOnARowThatMakesNoSense) {
  const store::Row senseless{store::Table::schemas, "tclinic.Bed", "\xff"};
  crash([&](const auto& data) {
    put_rows(data, {senseless});
    {
      const auto log = open(data);
      Core core({}, test::Harness::types(), log->identity());
      core.set_space(log->space());
      const auto recovered = core.recover(*log, bus.now);
      ASSERT_FALSE(recovered.ok());
      EXPECT_EQ(recovered.error().code, Code::damaged);
      for (const char* part : {"table schemas", "bus-cli restore", "bus-cli log salvage"}) EXPECT_NE(recovered.error().detail.find(part), std::string::npos) << recovered.error().detail;
    }
    put_rows(data, {{senseless.table, senseless.key, std::nullopt}});
  });
  EXPECT_EQ(now(adding(bed)), Code::ok);
}

}  // namespace
}  // namespace bus::broker
