// Goal: the line of an event in an export says all of it: what is read back is the event, whatever its texts are; and a line whose
// fields and bytes do not agree is refused.
// Method: events built by hand and at random, without a broker; payloads of a type that is built in.
#include "tools/export_lines.hpp"

#include <gtest/gtest.h>

#include <random>

#include "broker/core/builtin_types.hpp"
#include "tools/base64.hpp"

namespace bus::tools {
namespace {

constexpr const char* notification = "suoke.realtime.SystemNotification";

PayloadJson alert_schema() {
  for (const auto& type : broker::builtin_types()) {
    if (type.name == notification) return PayloadJson::open(bytes_of(type.bfbs), notification).value();
  }
  throw std::runtime_error("not built in");
}

std::vector<std::uint8_t> alert_payload() { return alert_schema().encode(R"({"notification_id":"1","title":"Ana"})").value(); }

Event stored(const wire::EventT& envelope) {
  flatbuffers::FlatBufferBuilder builder;
  builder.FinishSizePrefixed(wire::Event::Pack(builder, &envelope));
  // As it is in the log: padded, and aligned.
  auto words = std::make_shared<std::vector<std::uint64_t>>((builder.GetSize() + 7) / 8);
  auto* const data = reinterpret_cast<std::uint8_t*>(words->data());
  std::copy_n(builder.GetBufferPointer(), builder.GetSize(), data);
  return Event({Position{7}, 3, wall_time(1'000'000'001), 5, 0, "importer", ""}, words, {data, words->size() * 8});
}

wire::EventT plain_alert() {
  wire::EventT event;
  event.topic = "alerts.new";
  event.type = notification;
  event.id = "e-1";
  event.payload = alert_payload();
  return event;
}

Result<NewEvent> read_back(const std::string& line) {
  const auto types = alert_schema();
  return exported_event(Json::parse(line), &types);
}

std::string line_of(const Event& event) { return export_line(event, alert_schema().decode(event.payload()).value()); }

void expect_same(const NewEvent& read, const wire::EventT& event) {
  EXPECT_EQ(read.topic, event.topic);
  EXPECT_EQ(read.type, event.type);
  EXPECT_EQ(read.key, event.key);
  EXPECT_EQ(read.id, event.id);
  EXPECT_EQ(read.source, event.source.empty() ? "importer" : event.source);
  EXPECT_EQ(read.subject, event.subject);
  EXPECT_EQ(read.time, wall_time(event.time));
  EXPECT_EQ(read.priority, event.priority);
  EXPECT_EQ(read.correlation_id, event.correlation_id);
  EXPECT_EQ(read.causation_id, event.causation_id);
  EXPECT_EQ(read.traceparent, event.traceparent);
  EXPECT_EQ(read.dataschema, event.dataschema);
  EXPECT_EQ(nanoseconds(read.deliver_at.value_or(wall_time(0))), event.deliver_at);
  EXPECT_EQ(nanoseconds(read.expires_at.value_or(wall_time(0))), event.expires_at);
  EXPECT_EQ(read.payload, event.payload);
  ASSERT_EQ(read.attributes.size(), event.attributes.size());
  for (std::size_t at = 0; at < read.attributes.size(); ++at) {
    EXPECT_EQ(read.attributes[at].first, event.attributes[at]->name);
    EXPECT_EQ(read.attributes[at].second, event.attributes[at]->value);
  }
}

class RandomEvents {
 public:
  explicit RandomEvents(std::uint64_t seed) : random_(seed) {}

  wire::EventT next() {
    auto event = plain_alert();
    event.topic = "a." + std::string(1 + random_() % 20, 'b');
    for (auto* text : {&event.key, &event.source, &event.subject, &event.correlation_id, &event.causation_id, &event.traceparent, &event.dataschema}) {
      if (random_() % 3 != 0) *text = bytes();
    }
    event.id = "x" + bytes();
    event.time = static_cast<std::int64_t>(random_()) >> (random_() % 60);
    event.priority = static_cast<Priority>(random_() % 3);
    for (auto count = random_() % 4; count > 0; --count) {
      event.attributes.push_back(std::make_unique<wire::AttributeT>());
      event.attributes.back()->name = random_() % 3 == 0 ? "same" : bytes();
      event.attributes.back()->value = bytes();
    }
    if (random_() % 3 == 0) event.expires_at = static_cast<std::int64_t>(random_() >> 2) + 2;
    return event;
  }

 private:
  // Texts as they come, and such as JSON cannot say.
  std::string bytes() {
    static constexpr std::string_view pieces[] = {"a", "\"", "\\", "\n", "\x01", "é", "\xff", "\xed\xa0\x80", "{", "\xf0\x9f\x8e\x89", "\xef\xbf\xbd"};
    std::string text;
    for (auto count = random_() % 12; count > 0; --count) text += pieces[random_() % std::size(pieces)];
    return text;
  }

  std::mt19937_64 random_;
};

TEST(ExportLines, AnEventIsReadBackWhateverItsTextsAre) {
  RandomEvents events(1);
  for (int seed = 0; seed < 3000; ++seed) {
    const auto event = events.next();
    const auto read = read_back(line_of(stored(event)));
    ASSERT_TRUE(read.ok()) << seed << ": " << read.error().detail;
    expect_same(*read, event);
    if (HasFailure()) FAIL() << seed;
  }
}

TEST(ExportLines, ALineWithoutBytesIsMadeOfItsFields) {
  auto event = plain_alert();
  event.key = "k";
  auto line = Json::parse(line_of(stored(event)));
  line.erase("bytes");
  line["key"] = "other";
  const auto types = alert_schema();
  const auto read = exported_event(line, &types);
  ASSERT_TRUE(read.ok()) << read.error().detail;
  EXPECT_EQ(read->key, "other");
  EXPECT_EQ(alert_schema().decode(read->payload).value(), alert_schema().decode(event.payload).value());
  EXPECT_EQ(exported_event(line, nullptr).error().code, Code::unknown_type);
}

TEST(ExportLines, AFieldThatWasChangedIsRefusedWhileTheBytesAreAsTheyWere) {
  auto event = plain_alert();
  event.key = "k";
  const auto line = Json::parse(line_of(stored(event)));
  const auto types = alert_schema();
  for (const auto& [name, value] : std::vector<std::pair<const char*, Json>>{
           {"key", "other"}, {"topic", "a"}, {"id", "x"}, {"source", "s"}, {"time", "2024-01-01T00:00:00Z"}, {"priority", "high"}, {"subject", "s"},
           {"attributes", {{"a", "b"}}}, {"payload", {{"title", "x"}}}, {"expires_at", "2024-01-01T00:00:00Z"}, {"nonsense", 1}}) {
    auto changed = line;
    changed[name] = value;
    const auto read = exported_event(changed, &types);
    ASSERT_FALSE(read.ok()) << name;
    EXPECT_EQ(read.error().code, Code::bad_event);
    EXPECT_NE(read.error().detail.find("'" + std::string(name) + "'"), std::string::npos) << read.error().detail;
  }
  // What is of the log may say anything; so may the order of names.
  auto moved = line;
  moved["position"] = 99;
  moved["payload"] = Json::object();
  const nlohmann::json sorted = line["payload"];
  for (const auto& [name, value] : sorted.items()) moved["payload"][name] = value;
  EXPECT_TRUE(exported_event(moved, &types).ok());
}

TEST(ExportLines, BytesThatAreNoEventAreRefused) {
  const auto line = Json::parse(line_of(stored(plain_alert())));
  const auto whole = from_base64(line["bytes"].get<std::string>()).value();
  const auto types = alert_schema();
  const auto refused = [&](Json bytes) {
    auto changed = line;
    changed["bytes"] = std::move(bytes);
    const auto read = exported_event(changed, &types);
    return !read.ok() && read.error().code == Code::bad_event;
  };
  EXPECT_TRUE(refused(1));
  EXPECT_TRUE(refused(""));
  EXPECT_TRUE(refused("????"));
  EXPECT_TRUE(refused(line["bytes"].get<std::string>() + "A"));
  for (std::size_t size = 0; size + 8 < whole.size(); ++size) EXPECT_TRUE(refused(to_base64(Bytes(whole).first(size)))) << size;
  // Whatever one bit does, nothing else is read than what was published; in its payload some bytes are of no field.
  const auto shown = alert_schema().decode(plain_alert().payload).value();
  std::size_t same = 0;
  for (std::size_t at = 0; at < whole.size() * 8; ++at) {
    auto flipped = whole;
    flipped[at / 8] = static_cast<std::uint8_t>(flipped[at / 8] ^ (1u << at % 8));
    auto changed = line;
    changed["bytes"] = to_base64(flipped);
    auto read = exported_event(changed, &types);
    if (!read.ok()) continue;
    ++same;
    EXPECT_EQ(alert_schema().decode(read->payload).value(), shown);
    read->payload = plain_alert().payload;
    expect_same(*read, plain_alert());
    if (HasFailure()) FAIL() << "bit " << at;
  }
  EXPECT_LT(same, whole.size() * 4) << "or the test shows nothing";
}

TEST(ExportLines, OtherLinesAreReadBack) {
  const ExportedSchema schema_line{{{"clinic.Visit", 2}, {"clinic.Room", 1}}, 1'700'000'000'123'456'789, {0, 1, 0xff}};
  const auto read = exported_schema(Json::parse(export_line(schema_line))).value().value();
  EXPECT_EQ(read.types, schema_line.types);
  EXPECT_EQ(read.added_at, schema_line.added_at);
  EXPECT_EQ(read.bfbs, schema_line.bfbs);
  const auto type = exported_type(Json::parse(export_line(ExportedType{"clinic.Visit", "none", "old \"one\""}))).value().value();
  EXPECT_EQ(type.name + type.compatibility + type.deprecated, "clinic.Visitnoneold \"one\"");
  const auto end = export_end(Json::parse(export_line(ExportEnd{3, 2, "abc"}))).value().value();
  EXPECT_EQ(std::tuple(end.events, end.schemas, end.hash), std::tuple(3u, 2u, "abc"));
  const auto head = Json::parse(export_head({"id", "0.1.0", wall_time(1)}));
  EXPECT_TRUE(is_export_head(head).value());
  EXPECT_FALSE(exported_schema(head).value() || exported_type(head).value() || export_end(head).value());
}

TEST(ExportLines, ALaterFormatAndBrokenLinesAreRefused) {
  EXPECT_EQ(is_export_head(Json::parse(R"({"export":{"format":2}})")).error().code, Code::bad_format);
  EXPECT_EQ(is_export_head(Json::parse(R"({"export":{}})")).error().code, Code::bad_format);
  EXPECT_EQ(export_end(Json::parse(R"({"end":{"events":1}})")).error().code, Code::bad_format);
  EXPECT_EQ(exported_schema(Json::parse(R"({"schema":{"types":{},"added_at":"never","bfbs":""}})")).error().code, Code::bad_format);
  EXPECT_EQ(exported_schema(Json::parse(R"({"schema":{"types":{},"added_at":null,"bfbs":"?"}})")).error().code, Code::bad_format);
  EXPECT_EQ(exported_type(Json::parse(R"({"schema_type":{"type":1}})")).error().code, Code::bad_format);
}

TEST(ExportLines, Base64IsThatOfTheStandard) {
  for (const auto& [text, base64] : std::vector<std::pair<std::string, std::string>>{{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foobar", "Zm9vYmFy"}}) {
    EXPECT_EQ(to_base64(bytes_of(text)), base64);
    EXPECT_EQ(from_base64(base64), std::vector<std::uint8_t>(text.begin(), text.end()));
  }
  for (const auto* bad : {"Zg", "Zg=", "Zg===", "Z g==", "Zg==Zg==", "Zh=="}) EXPECT_FALSE(from_base64(bad)) << bad;
}

}  // namespace
}  // namespace bus::tools
