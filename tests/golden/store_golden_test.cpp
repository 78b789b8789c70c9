// Goal: the format on disk stays what it is, byte for byte; and a log of format version 1, packed or not, is opened, read and
// verified by the code of today.
// Method: a fixed run of the core (publishers, keys, a group, refusals, a checkpoint, and commits after it) writes a log,
// whose rows are compared with store_v1.txt; from that file a database is made again, and opened.
#include <sstream>

#include "broker/store/compression.hpp"
#include "broker/store/record_format.hpp"
#include "broker/store/tables.hpp"
#include "tests/golden/golden_file.hpp"
#include "tests/support/batch_maker.hpp"
#include "tests/support/core_driver.hpp"
#include "tests/support/results.hpp"

namespace bus::testing {
namespace {

using store::TableId;

// ---- a fixed run

Buffer event(const std::string& topic, const std::string& key) { return encode_event(sample_event(topic, key)); }

// One that is due, and expires, so long after the fixed run has begun; 0: never.
Buffer timed_event(const std::string& key, Duration due, Duration expires) {
  auto event = sample_event("saga.started", key);
  const auto begun = std::int64_t{1'700'000'001'000'000'000};
  event.deliver_at = due.count() == 0 ? 0 : begun + due.count();
  event.expires_at = expires.count() == 0 ? 0 : begun + expires.count();
  return encode_event(event);
}

// The epoch that deliveries name, which settlements have to name too.
std::uint64_t delivery_epoch(CoreDriver& driver) {
  std::uint64_t epoch = 0;
  for (const auto& message : driver.take_outgoing()) {
    const auto* deliver = wire::parse(message.header.bytes).value()->body_as_Deliver();
    if (deliver != nullptr) epoch = deliver->epoch();
  }
  return epoch;
}

void settle(CoreDriver& driver, std::uint64_t epoch, std::uint64_t position, wire::Verdict verdict) {
  wire::SettleT settle;
  settle.subscription = 1;
  settle.epoch = epoch;
  settle.settlements = {wire::Settlement(position, 1, verdict == wire::Verdict::nack ? 60'000 : 0, verdict)};
  settle.request = position;
  if (verdict != wire::Verdict::ack) {
    settle.texts.push_back(std::make_unique<wire::SettlementTextT>());
    settle.texts[0]->text = "no such saga";
  }
  driver.send("worker", settle);
  driver.turn(true);
}

void run(const StoreDir& dir, const broker::PayloadTypes& types) {
  CoreDriver driver(dir.options(), types);
  driver.send("gateway", Samples::hello("gateway-1"));
  driver.send("worker", Samples::hello(""));
  driver.send("worker", Samples::subscribe(1, "projector"));
  driver.publish("gateway", 1, 1, {event("saga.started", "saga-1"), event("saga.started", "saga-2")});
  driver.publish("gateway", 3, 1, {event("saga.started", "saga-1"), event("bad..topic", "saga-1")});
  const auto epoch = delivery_epoch(driver);
  settle(driver, epoch, 1, wire::Verdict::ack);
  settle(driver, epoch, 2, wire::Verdict::nack);
  driver.now.wall += std::chrono::seconds(1);
  driver.checkpoint();
  driver.publish("gateway", 5, 1, {event("audit.login", ""), event("saga.started", "saga-3"), event("", "saga-3")});
  settle(driver, epoch, 3, wire::Verdict::reject);
  driver.publish("gateway", 8, 1, {timed_event("saga-1", std::chrono::hours(1), {}), timed_event("saga-1", std::chrono::seconds(5), {}),
                                   timed_event("saga-4", {}, std::chrono::hours(2))});
  driver.now.wall += std::chrono::seconds(5);
  driver.turn(true);
}

// ---- as text

// RecordText writes the bytes of a record, part by part, each with its name.
class RecordText {
 public:
  explicit RecordText(std::string_view record) : record_(record) {}

  std::string all() {
    store::format::Header header;
    std::memcpy(&header, record_.data(), sizeof header);
    add_header();
    text_ += "  # bodies\n" + hex_lines(take(header.index_offset - sizeof header));
    rows("key", header.keys, sizeof(store::format::KeyRow));
    rows("run", header.runs, sizeof(store::format::RunRow));
    rows("entry", header.count, sizeof(store::format::EntryRow));
    rows("kind", header.kinds, sizeof(store::format::KindRow));
    return std::move(text_);
  }

 private:
  std::string_view take(std::size_t bytes) {
    const auto part = record_.substr(at_, bytes);
    at_ += bytes;
    return part;
  }
  void bytes(const std::string& name, std::size_t count) { text_ += "  " + hex(take(count)) + "  # " + name + "\n"; }
  template <typename T>
  void number(const std::string& name) {
    T value;
    std::memcpy(&value, record_.data() + at_, sizeof value);
    bytes(name + " " + std::to_string(value), sizeof value);
  }
  void rows(const std::string& name, std::size_t count, std::size_t row_bytes) {
    for (std::size_t row = 0; row < count; ++row) bytes(name + " " + std::to_string(row), row_bytes);
  }
  void add_header() {
    number<std::uint32_t>("magic");
    number<std::uint16_t>("version");
    number<std::uint16_t>("header bytes");
    bytes("log id", 16);
    number<std::uint64_t>("first position");
    for (const char* name : {"count", "flags", "record bytes", "index offset"}) number<std::uint32_t>(name);
    number<std::int64_t>("commit time");
    for (const char* name : {"chain before", "chain after", "batch"}) number<std::uint64_t>(name);
    for (const char* name : {"keys", "runs", "kinds"}) number<std::uint16_t>(name);
    bytes("zero", 34);
    number<std::uint64_t>("checksum");
  }

  std::string_view record_;
  std::size_t at_ = 0;
  std::string text_;
};

std::string row_text(TableId table, std::string_view key, std::string_view stored) {
  const std::string text = std::string("row ") + store::name_of(table) + " " + hex(key) + "\n";
  if (table == TableId::log) return text + RecordText(stored).all();
  const auto value = store::verified(table, key, stored).value();
  return text + hex_lines(value) + "  " + hex(stored.substr(value.size())) + "  # checksum\n";
}

std::string text_of_log(const StoreDir& dir) {
  std::string text = "# Every row of a log of format version 1, in the order of tables and keys. See golden_file.hpp.\n";
  const auto env = store::lmdb::Environment::open(dir.path() / "log", 0, store::lmdb::Access::read).value();
  auto txn = env.begin(store::lmdb::Access::read).value();
  const auto tables = store::Tables::open(txn, false).value();
  for (std::size_t id = 0; id < store::table_ids; ++id) {
    const auto table = static_cast<TableId>(id);
    auto cursor = txn.cursor(tables[table]).value();
    for (bool found = cursor.first().value(); found; found = cursor.next().value()) {
      text += row_text(table, cursor.key(), cursor.value());
    }
  }
  return text;
}

// ---- and back

struct KeptRow {
  std::string table, key, value;
};

std::vector<KeptRow> kept_rows() {
  std::vector<KeptRow> rows;
  std::istringstream file(read_file(golden_path("store_v1.txt")));
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string first, table, key;
    words >> first;
    if (first.empty() || first[0] == '#') continue;
    if (first == "row") {
      words >> table >> key;
      rows.push_back({table, unhex(key), ""});
    } else {
      rows.back().value += unhex(first);
    }
  }
  return rows;
}

// Which the version that wrote the fixture did not have.
bool is_new(TableId table) { return table >= TableId::key_pages; }

void make_log(const StoreDir& dir) {
  std::filesystem::create_directory(dir.path() / "log");
  const auto map_bytes = dir.options().map_bytes;
  const auto env = store::lmdb::Environment::open(dir.path() / "log", map_bytes, store::lmdb::Access::write).value();
  auto txn = env.begin(store::lmdb::Access::write).value();
  for (std::size_t id = 0; id < store::table_ids; ++id) {
    const auto table = static_cast<TableId>(id);
    if (!is_new(table)) (void)txn.open_table(store::name_of(table), true).value();
  }
  for (const auto& row : kept_rows()) {
    txn.put(txn.open_table(row.table.c_str(), false).value(), row.key, row.value).value();
  }
  txn.commit().value();
}

// Of two events one has a key and a unique id, the other neither.
TEST(StoreGolden, ARecordWithUniqueIdsIsWrittenAsEver) {
  store::RecordBuilder builder;
  const Buffer body = event("a.b", "k");
  store::Entry entry;
  entry.topic = 1, entry.type = 2, entry.publisher = 3, entry.sequence = 4;
  entry.checksum = checksum(body);
  builder.append(entry, body);
  entry.sequence = 5;
  entry.key = store::KeyLink{{6, 7}, 8, Position{9}};
  entry.unique_id = Hash128{10, 11};
  builder.append(entry, body);
  const auto record = builder.seal({{}, Position{12}, wall_time(13), 14, 15});
  const Bytes bytes = record->bytes();
  expect_golden("record_v2.txt", "# A record of format version 2.\n" + RecordText(text_of(bytes)).all());
  EXPECT_EQ(store::Record::parse(bytes, Position{12}).value()->entry(1).unique_id, (Hash128{10, 11}));
  EXPECT_EQ(store::Record::parse(bytes, Position{12}).value()->entry(0).unique_id, std::nullopt);
}

TEST(StoreGolden, ALogIsWrittenAsEver) {
  const StoreDir dir;
  run(dir, broker::PayloadTypes());
  expect_golden("store_v1.txt", text_of_log(dir));
}

TEST(StoreGolden, TheFixtureHasRowsOfEveryTable) {
  std::map<std::string, int> rows;
  for (const auto& row : kept_rows()) ++rows[row.table];
  for (std::size_t id = 0; id < store::table_ids; ++id) {
    const auto table = static_cast<TableId>(id);
    EXPECT_EQ(rows[store::name_of(table)] > 0, !is_new(table)) << store::name_of(table);
  }
}

TEST(StoreGolden, ALogOfAnOlderVersionIsReadOnceBusdHasOpenedIt) {
  const StoreDir dir;
  make_log(dir);
  const auto refused = store::Store::open_read_only(dir.path());
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::bad_format);
  EXPECT_NE(refused.error().detail.find("start busd on it once"), std::string::npos);
  (void)dir.open();
  EXPECT_TRUE(store::Store::open_read_only(dir.path()).ok());
}

class FixtureOfVersion1 : public ::testing::Test {
 protected:
  FixtureOfVersion1() {
    make_log(dir_);
    (void)dir_.open();  // makes the tables that are new
  }
  StoreDir dir_;
  broker::PayloadTypes types_;
};

TEST_F(FixtureOfVersion1, IsWithoutFault) {
  const auto store = store::Store::open_read_only(dir_.path()).value();
  const auto slice = store->reader()->verify(Position::none, 0, ~std::size_t{0}).value();
  EXPECT_TRUE(slice.faults.empty());
  EXPECT_EQ(slice.events, 7u);
}

TEST_F(FixtureOfVersion1, GivesBackItsEvents) {
  const auto store = store::Store::open_read_only(dir_.path()).value();
  const auto records = store->reader()->records(Position{1}, limits::MiB).value();
  ASSERT_EQ(records.size(), 5u);
  EXPECT_EQ(text_of(records[0]->body(1)), text_of(event("saga.started", "saga-2")));
  EXPECT_EQ(text_of(records[2]->body(0)), text_of(event("audit.login", "")));
  EXPECT_EQ(records[1]->entry(0).key->version, 2u);
  EXPECT_EQ(records[3]->entry(0).flags, store::format::expires);
  EXPECT_EQ(records[4]->entry(0).flags, store::format::scheduled);
  EXPECT_EQ(records[4]->entry(0).key->version, 3u);
}

TEST_F(FixtureOfVersion1, GivesBackTheStateOfTheBroker) {
  CoreDriver driver(dir_.options(), types_);
  EXPECT_EQ(driver.core().head(), Position{7});
  EXPECT_EQ(driver.core().scheduled(), 1u);
  driver.send("gateway", Samples::hello("gateway-1"));
  const auto answers = driver.take_outgoing();
  ASSERT_EQ(answers.size(), 1u);
  const auto* welcome = wire::parse(answers[0].header.bytes).value()->body_as_Welcome();
  ASSERT_NE(welcome, nullptr);
  EXPECT_EQ(welcome->last_sequence(), 10u);  // of which two were refused, and one is not due
  EXPECT_EQ(welcome->epoch(), 3u);  // the second start: the first one made the new tables
  EXPECT_EQ(welcome->committed(), 7u);

  driver.send("operator", Samples::hello(""));
  driver.send("operator", Samples::request(1, wire::GroupsRequestT()));
  const auto replies = driver.take_outgoing();
  const auto* reply = wire::parse(replies.back().header.bytes).value()->body_as_Reply();
  ASSERT_NE(reply, nullptr);
  const auto* group = reply->answer_as_GroupsReply()->groups()->Get(0);
  EXPECT_EQ(group->name()->string_view(), "projector");
  EXPECT_EQ(group->floor(), 1u);   // 2 was put off
  EXPECT_EQ(group->acked(), 1u);
  EXPECT_EQ(group->dead_letters(), 1u);
  EXPECT_EQ(group->open(), 3u);  // and two are on their way

  wire::DeadLetterGetT get;
  get.group = "projector";
  get.position = 3;
  driver.send("operator", Samples::request(2, std::move(get)));
  const auto letters = driver.take_outgoing();
  const auto* letter = wire::parse(letters.back().header.bytes).value()->body_as_Reply()->answer_as_DeadLetterReply();
  ASSERT_NE(letter, nullptr);
  EXPECT_EQ(letter->letter()->reason()->string_view(), "no such saga");
  EXPECT_EQ(letter->letter()->key()->string_view(), "saga-1");
  EXPECT_EQ(letter->failures()->Get(0)->cause(), wire::DeadCause::reject);
}

// ---- packed records

// A library may pack better one day; what it has packed before it has to unpack for ever.
constexpr const char* packed_file = "packed_v1.txt";
constexpr store::Compression methods[] = {store::Compression::lz4, store::Compression::zstd};

store::RecordPtr record_to_pack() {
  BatchMaker maker{store::Identity(), store::Head()};
  for (int at = 0; at < 12; ++at) maker.add({.text = "steps of user " + std::to_string(at) + ": " + std::to_string(at * 321), .key = "user"});
  return maker.take().records.at(0);
}

TEST(StoreGolden, PackedRecordsOfVersion1AreRead) {
  const auto record = record_to_pack();
  if (std::getenv("BUS_REGENERATE") != nullptr) {
    std::string text = "# The same record packed by lz4 1.9.4, and by zstd 1.5.4. See golden_file.hpp.\n";
    for (const auto method : methods) text += hex(text_of(store::Packer(method).pack(*record))) + "\n";
    write_file(golden_path(packed_file), text);
  }
  std::istringstream file(read_file(golden_path(packed_file)));
  std::string line;
  std::getline(file, line);
  for (const auto method : methods) {
    std::getline(file, line);
    const std::string stored = unhex(line);
    EXPECT_EQ(load<store::format::PackedPrefix>(bytes_of(stored).data()).compression, static_cast<std::uint16_t>(method));
    const auto read = store::Record::parse(bytes_of(stored), record->first()).value();
    EXPECT_EQ(text_of(read->bytes()), text_of(record->bytes()));
  }
}

}  // namespace
}  // namespace bus::testing
