// Goal: the rows of the tables that came after the first ones (where long keys are, snapshots, retention, schemas, settings of topics)
// stay what they are, byte for byte; and a broker of today reads those that an earlier one has written.
// Method: as in store_golden_test.cpp; in a log of today these tables get the rows of state_v1.txt, and a broker is asked about them.
#include <sstream>

#include "broker/store/tables.hpp"
#include "tests/golden/golden_file.hpp"
#include "tests/support/core_driver.hpp"
#include "tests/support/results.hpp"
#include "tests/support/schema_text.hpp"

namespace bus::testing {
namespace {

using store::TableId;

constexpr const char* state_file = "state_v1.txt";
constexpr TableId late_tables[] = {TableId::key_pages, TableId::snapshots, TableId::retention, TableId::schemas, TableId::topic_settings};
constexpr std::uint64_t key_events = 70;

class Operator {
 public:
  explicit Operator(CoreDriver& driver) : driver_(driver) { driver_.send("operator", Samples::hello("")); }

  // The answer to one request.
  template <typename Ask>
  wire::AnswerUnion ask(Ask question) {
    driver_.take_outgoing();
    driver_.send("operator", Samples::request(++asked_, std::move(question)));
    driver_.turn(true);
    wire::AnswerUnion answer;
    for (const auto& message : driver_.take_outgoing()) {
      const auto parsed = wire::parse(message.header.bytes).value();
      if (const auto* failure = parsed->body_as_Failure()) ADD_FAILURE() << failure->detail()->str();
      const auto* reply = parsed->body_as_Reply();
      if (reply != nullptr) answer = std::move(std::unique_ptr<wire::ReplyT>(reply->UnPack())->answer);
    }
    return answer;
  }

 private:
  CoreDriver& driver_;
  std::uint64_t asked_ = 0;
};

void publish_key(CoreDriver& driver) {
  driver.send("gateway", Samples::hello("gateway-1"));
  const auto event = encode_event(sample_event("saga.started", "saga-1"));
  driver.publish("gateway", 1, 1, std::vector<Buffer>(key_events, event));
  wire::PublishT save;
  save.first_sequence = key_events + 1;
  save.count = 1;
  save.fence = 1;
  save.snapshots.emplace_back(key_events, 0, 3);
  auto state = sample_event("", "saga-1");
  state.attributes.clear();
  driver.receive("gateway", {wire::encode(save), encode_event(state)});
  driver.turn(true);
}

std::unique_ptr<wire::RetentionPolicyT> policy() {
  auto policy = std::make_unique<wire::RetentionPolicyT>();
  policy->pattern = "audit.>";
  policy->max_age_ms = 86'400'000, policy->max_bytes = 1u << 30, policy->max_events = 1'000'000;
  policy->latest_per_key = true, policy->latest_after_ms = 60'000, policy->past_groups = true;
  return policy;
}

void change_settings(Operator person) {
  wire::RetentionSetT keep;
  keep.policy = policy();
  person.ask(std::move(keep));
  wire::LegalHoldSetT hold;
  hold.hold = std::make_unique<wire::LegalHoldT>();
  hold.hold->pattern = "saga.>", hold.hold->key = "saga-1", hold.hold->reason = "case 7";
  person.ask(std::move(hold));
  for (const char* fields : {"room: string;", "room: string; minutes: int;"}) {
    wire::SchemaAddT add;
    add.bfbs = bus::test::compile_schema(std::string("namespace clinic; table Visit { ") + fields + " } root_type Visit;");
    add.compatibility = "full";
    person.ask(std::move(add));
  }
  wire::SchemaEditT edit;
  edit.type = "clinic.Visit", edit.set_deprecated = true, edit.deprecated = "clinic.Encounter takes its place";
  person.ask(std::move(edit));
  wire::TopicCreateT create;
  create.settings = sample_settings();
  create.settings->name = "saga.ended";
  create.retention = policy();
  create.retention->pattern = "saga.ended";
  person.ask(std::move(create));
}

void run_state(const StoreDir& dir, const broker::PayloadTypes& types) {
  CoreDriver driver(dir.options(), types);
  publish_key(driver);
  change_settings(Operator(driver));
  driver.checkpoint();
}

store::lmdb::Environment open_log(const StoreDir& dir, store::lmdb::Access access) {
  return store::lmdb::Environment::open(dir.path() / "log", dir.options().map_bytes, access).value();
}

std::string text_of_late_tables(const StoreDir& dir) {
  std::string text = "# Every row of the tables that came after the first ones, of format version 1. See golden_file.hpp.\n";
  const auto env = open_log(dir, store::lmdb::Access::read);
  auto txn = env.begin(store::lmdb::Access::read).value();
  const auto tables = store::Tables::open(txn, false).value();
  for (const auto table : late_tables) {
    auto cursor = txn.cursor(tables[table]).value();
    for (bool found = cursor.first().value(); found; found = cursor.next().value()) {
      text += std::string("row ") + store::name_of(table) + " " + hex(cursor.key()) + "\n" + hex_lines(cursor.value());
    }
  }
  return text;
}

// What stands in the late tables of the log is as in the file, and nothing else is there.
void put_kept_rows(const StoreDir& dir) {
  const auto env = open_log(dir, store::lmdb::Access::write);
  auto txn = env.begin(store::lmdb::Access::write).value();
  const auto tables = store::Tables::open(txn, false).value();
  for (const auto table : late_tables) {
    auto cursor = txn.cursor(tables[table]).value();
    std::vector<std::string> keys;
    for (bool found = cursor.first().value(); found; found = cursor.next().value()) keys.emplace_back(cursor.key());
    for (const auto& key : keys) txn.erase(tables[table], key).value();
  }
  std::istringstream file(read_file(golden_path(state_file)));
  std::string table, key, value, line;
  const auto put = [&] {
    if (!key.empty()) txn.put(txn.open_table(table.c_str(), false).value(), key, value).value();
    value.clear();
  };
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string first, digits;
    words >> first;
    if (first == "row") {
      put();
      words >> table >> digits;
      key = unhex(digits);
    } else if (first[0] != '#') {
      value += unhex(first);
    }
  }
  put();
  txn.commit().value();
}

TEST(StateGolden, LateTablesAreWrittenAsEver) {
  const StoreDir dir;
  run_state(dir, broker::PayloadTypes());
  const auto text = text_of_late_tables(dir);
  for (const auto table : late_tables) EXPECT_NE(text.find(std::string("row ") + store::name_of(table) + " "), std::string::npos) << store::name_of(table);
  expect_golden(state_file, text);
}

class KeptState : public ::testing::Test {
 protected:
  KeptState() {
    broker::PayloadTypes types;
    run_state(dir_, types);
    put_kept_rows(dir_);
  }
  StoreDir dir_;
  broker::PayloadTypes types_;
};

TEST_F(KeptState, GivesBackSnapshotsAndEventsOfALongKey) {
  CoreDriver driver(dir_.options(), types_);
  Operator person(driver);
  wire::SnapshotGetT get;
  get.key = "saga-1";
  const auto snapshot = person.ask(std::move(get));
  ASSERT_NE(snapshot.AsSnapshotReply(), nullptr);
  EXPECT_EQ(snapshot.AsSnapshotReply()->version, key_events);
  wire::KeyReadT read;
  read.key = "saga-1";
  read.from = 3, read.limit = 4;
  const auto events = person.ask(std::move(read));
  ASSERT_NE(events.AsKeyReadReply(), nullptr);
  EXPECT_EQ(events.AsKeyReadReply()->deliveries.size(), 4u);
}

TEST_F(KeptState, GivesBackPoliciesAndHolds) {
  CoreDriver driver(dir_.options(), types_);
  const auto answer = Operator(driver).ask(wire::RetentionRequestT());
  const auto* reply = answer.AsRetentionReply();
  ASSERT_NE(reply, nullptr);
  ASSERT_EQ(reply->policies.size(), 2u);
  const auto& kept = *reply->policies[0]->policy;
  EXPECT_EQ(kept.pattern, policy()->pattern);
  EXPECT_EQ(std::tuple(kept.max_age_ms, kept.max_bytes, kept.max_events), std::tuple(policy()->max_age_ms, policy()->max_bytes, policy()->max_events));
  EXPECT_EQ(std::tuple(kept.latest_per_key, kept.latest_after_ms, kept.past_groups), std::tuple(true, policy()->latest_after_ms, true));
  EXPECT_EQ(reply->policies[1]->policy->pattern, "saga.ended");
  ASSERT_EQ(reply->holds.size(), 1u);
  EXPECT_EQ(reply->holds[0]->pattern + " " + reply->holds[0]->key + " " + reply->holds[0]->reason, "saga.> saga-1 case 7");
  EXPECT_EQ(reply->holds[0]->since, 1'700'000'001'000'000'000);
}

TEST_F(KeptState, GivesBackSchemasAndTopics) {
  CoreDriver driver(dir_.options(), types_);
  Operator person(driver);
  wire::SchemasRequestT question;
  question.name = "clinic.Visit";
  const auto schemas = person.ask(std::move(question));
  ASSERT_NE(schemas.AsSchemasReply(), nullptr);
  const auto& schema = *schemas.AsSchemasReply()->schemas.at(0);
  EXPECT_EQ(schema.version, 2u);
  EXPECT_EQ(schema.compatibility, "full");
  EXPECT_EQ(schema.deprecated, "clinic.Encounter takes its place");
  wire::TopicsRequestT topic;
  topic.name = "saga.ended";
  const auto topics = person.ask(std::move(topic));
  ASSERT_NE(topics.AsTopicsReply(), nullptr);
  const auto& settings = *topics.AsTopicsReply()->topics.at(0)->settings;
  EXPECT_EQ(settings.description, sample_settings()->description);
  EXPECT_EQ(settings.types, sample_settings()->types);
  ASSERT_EQ(settings.properties.size(), 1u);
  EXPECT_EQ(settings.properties[0]->name + "=" + settings.properties[0]->value, "owner=orchestration");
}

}  // namespace
}  // namespace bus::testing
