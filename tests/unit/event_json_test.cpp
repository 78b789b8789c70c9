// Goal: an event as NDJSON has all its fields in the order of bus-cli(1), and what is read back is what can be
// published again.
// Method: events built by hand; no broker.
#include "tools/event_json.hpp"

#include <gtest/gtest.h>

#include "bus/event_generated.h"
#include "tools/output.hpp"

namespace bus::tools {
namespace {

Event make(const wire::EventT& envelope, const char* group = nullptr) {
  flatbuffers::FlatBufferBuilder builder;
  builder.FinishSizePrefixed(wire::Event::Pack(builder, &envelope));
  auto buffer = std::make_shared<flatbuffers::DetachedBuffer>(builder.Release());
  Event::Place place{Position{7}, 3, wall_time(1'000'000'001), 5, group != nullptr ? 2u : 0u, "importer",
                     group != nullptr ? group : ""};
  return Event(place, buffer, {buffer->data(), buffer->size()});
}

wire::EventT bare() {
  wire::EventT event;
  event.topic = "health.data.updated";
  event.type = "suoke.health.HealthDataUpdate";
  event.id = "e-1";
  event.time = 1;
  event.payload = {1, 2, 3, 4};
  return event;
}

wire::EventT full() {
  auto event = bare();
  event.key = "user\n7";
  event.source = "gateway";
  event.priority = Priority::high;
  event.correlation_id = "c";
  event.causation_id = "b";
  event.traceparent = "00-t-s-01";
  event.subject = "ana";
  auto attribute = std::make_unique<wire::AttributeT>();
  attribute->name = "tenant";
  attribute->value = "\"a\"";
  event.attributes.push_back(std::move(attribute));
  return event;
}

TEST(EventJson, WritesAllFieldsInOrder) {
  EXPECT_EQ(event_to_json(make(full()), "{\"a\":1}"),
            "{\"position\":7,\"id\":\"e-1\",\"topic\":\"health.data.updated\",\"type\":\"suoke.health.HealthDataUpdate\","
            "\"source\":\"gateway\",\"key\":\"user\\n7\",\"version\":3,\"time\":\"1970-01-01T00:00:00.000000001Z\","
            "\"committed_at\":\"1970-01-01T00:00:01.000000001Z\",\"priority\":\"high\",\"publisher\":\"importer\",\"sequence\":5,"
            "\"correlation_id\":\"c\",\"causation_id\":\"b\",\"traceparent\":\"00-t-s-01\",\"subject\":\"ana\",\"dataschema\":null,\"attributes\":{\"tenant\":\"\\\"a\\\"\"},"
            "\"payload\":{\"a\":1}}");
}

TEST(EventJson, WritesAbsentTextsAsNullAndThePublisherAsSource) {
  const auto json = Json::parse(event_to_json(make(bare()), "null"));
  EXPECT_EQ(json["source"], "importer");
  for (const auto* name : {"key", "correlation_id", "causation_id", "traceparent", "payload"}) EXPECT_TRUE(json.at(name).is_null()) << name;
  EXPECT_EQ(json["attributes"], Json::object());
  EXPECT_FALSE(json.contains("group"));
}

TEST(EventJson, TellsGroupAndAttemptOfAMember) {
  const auto json = Json::parse(event_to_json(make(bare(), "alerts"), "null"));
  EXPECT_EQ(json.at("group"), "alerts");
  EXPECT_EQ(json.at("attempt"), 2);
}

TEST(EventJson, ReadsBackWhatCanBePublishedAgain) {
  const auto read = event_from_json(event_to_json(make(full(), "alerts"), "{\"n\":18446744073709551615,\"x\":0.1}")).value();
  EXPECT_EQ(read.event.id, "e-1");
  EXPECT_EQ(read.event.topic, "health.data.updated");
  EXPECT_EQ(read.event.type, "suoke.health.HealthDataUpdate");
  EXPECT_EQ(read.event.key, "user\n7");
  EXPECT_EQ(read.event.source, "gateway");
  EXPECT_EQ(read.event.time, wall_time(1));
  EXPECT_EQ(read.event.priority, Priority::high);
  EXPECT_EQ(read.event.correlation_id, "c");
  EXPECT_EQ(read.event.causation_id, "b");
  EXPECT_EQ(read.event.traceparent, "00-t-s-01");
  ASSERT_EQ(read.event.attributes.size(), 1u);
  EXPECT_EQ(read.event.attributes[0], (std::pair<std::string, std::string>("tenant", "\"a\"")));
  EXPECT_EQ(read.payload, "{\"n\":18446744073709551615,\"x\":0.1}");
}

TEST(EventJson, TellsWhenItWasDueAndWhenItExpires) {
  auto event = bare();
  EXPECT_FALSE(Json::parse(event_to_json(make(event), "null")).contains("deliver_at"));
  event.deliver_at = 1;
  event.expires_at = 2'000'000'000;
  const auto text = event_to_json(make(event), "{}");
  EXPECT_EQ(Json::parse(text).at("deliver_at"), "1970-01-01T00:00:00.000000001Z");
  EXPECT_EQ(Json::parse(text).at("expires_at"), "1970-01-01T00:00:02.000000000Z");
  const auto read = event_from_json(text).value();
  EXPECT_EQ(read.event.deliver_at, wall_time(1));
  EXPECT_EQ(read.event.expires_at, wall_time(2'000'000'000));
}

TEST(EventJson, RefusesWhatIsNoEventAndNamesTheField) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "parse"},
      {"[]", "object"},
      {"{\"type\":\"T\",\"payload\":{}}", "'topic'"},
      {"{\"topic\":\"t\",\"payload\":{}}", "'type'"},
      {"{\"topic\":\"t\",\"type\":\"T\"}", "'payload'"},
      {"{\"topic\":\"t\",\"type\":\"T\",\"payload\":null}", "'payload'"},
      {"{\"topic\":1,\"type\":\"T\",\"payload\":{}}", "'topic'"},
      {"{\"topic\":\"t\",\"type\":\"T\",\"payload\":{},\"prority\":\"low\"}", "'prority'"},
      {"{\"topic\":\"t\",\"type\":\"T\",\"payload\":{},\"priority\":\"urgent\"}", "'priority'"},
      {"{\"topic\":\"t\",\"type\":\"T\",\"payload\":{},\"time\":\"yesterday\"}", "'time'"},
      {"{\"topic\":\"t\",\"type\":\"T\",\"payload\":{},\"time\":\"-1h\"}", "'time'"},
      {"{\"topic\":\"t\",\"type\":\"T\",\"payload\":{},\"expires_at\":17}", "'expires_at'"},
      {"{\"topic\":\"t\",\"type\":\"T\",\"payload\":{},\"attributes\":{\"a\":1}}", "'a'"},
  };
  for (const auto& [line, word] : cases) {
    const auto read = event_from_json(line);
    ASSERT_FALSE(read.ok()) << line;
    EXPECT_EQ(read.error().code, Code::bad_event);
    EXPECT_NE(read.error().detail.find(word), std::string::npos) << read.error().detail;
  }
}

}  // namespace
}  // namespace bus::tools
