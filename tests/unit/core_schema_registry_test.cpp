// Goal: event types are registered while the broker runs, durably and as a whole; a version that breaks what its type promises is refused
// with the place and the way out; and what was stored stays answered as stored, whatever its schema is by now.
// Method: a broker without threads; its commits happen when the test says so. Schemas are compiled from text.
#include <flatbuffers/reflection.h>

#include "broker/core/schema_registry.hpp"
#include "tests/support/intake_case.hpp"
#include "tests/support/schema_text.hpp"

namespace bus::broker {
namespace {

using test::compile_payload;
using test::compile_schema;
using test::encode;
using test::event;

const std::string visit = "namespace clinic; table Visit { room:string; day:int; } root_type Visit;";
const std::string visit_with_note = "namespace clinic; table Visit { room:string; day:int; note:string; } root_type Visit;";
const std::string visit_without_day = "namespace clinic; table Visit { room:string; } root_type Visit;";
const std::string visit_with_ward = "namespace clinic; table Visit { room:string; day:int; ward:string (required); } root_type Visit;";

wire::EventT visit_of(const std::string& schema = visit, const std::string& json = R"({room: "7", day: 3})") {
  auto made = event("clinic.visits", "patient-1");
  made.type = "clinic.Visit";
  made.payload = compile_payload(schema, json);
  return made;
}

class SchemaRegistryTest : public test::IntakeTest {
 protected:
  SchemaRegistryTest() { bus.hello("op"); }
  void crash() {
    bus.crash();
    bus.hello("op");
    bus.hello("p", "alpha");
  }
  template <typename T>
  wire::ReplyT reply(T question) {
    bus.ask("op", std::move(question));
    bus.run();
    auto replies = bus.take<wire::ReplyT>("op");
    return replies.empty() ? wire::ReplyT() : std::move(replies.at(0));
  }
  template <typename T>
  Error error(T question) {
    bus.ask("op", std::move(question));
    bus.run();
    const auto failures = bus.take<wire::FailureT>("op");
    return failures.empty() ? Error{Code::ok, ""} : Error{failures.at(0).code, failures.at(0).detail};
  }
  static wire::SchemaAddT adding(const std::string& schema, const std::string& mode = "", bool dry = false) {
    wire::SchemaAddT ask;
    ask.bfbs = compile_schema(schema);
    ask.compatibility = mode;
    ask.dry_run = dry;
    return ask;
  }
  std::vector<wire::SchemaOutcomeT> added(const wire::SchemaAddT& ask) {
    const auto answer = reply(ask);
    std::vector<wire::SchemaOutcomeT> outcomes;
    if (const auto* reply = answer.answer.AsSchemaAdded()) {
      for (const auto& one : reply->types) outcomes.push_back(std::move(*one));
    }
    return outcomes;
  }
  wire::SchemaInfoT info(const std::string& type = "clinic.Visit", std::uint32_t version = 0) {
    wire::SchemasRequestT ask;
    ask.name = type;
    ask.version = version;
    ask.with_schema = true;
    const auto answer = reply(ask);
    return answer.answer.AsSchemasReply() == nullptr ? wire::SchemaInfoT() : std::move(*answer.answer.AsSchemasReply()->schemas.at(0));
  }
  wire::SchemaEditT deprecate(const std::string& why) {
    wire::SchemaEditT ask;
    ask.type = "clinic.Visit";
    ask.set_deprecated = true;
    ask.deprecated = why;
    return ask;
  }
  Code published(std::uint64_t sequence, const wire::EventT& what) {
    bus.publish("p", sequence, {encode(what)});
    bus.run();
    const auto done = result();
    EXPECT_EQ(done.receipts.size(), 1u) << "no answer";
    return done.refusals.empty() ? Code::ok : done.refusals.at(0)->code;
  }
};

TEST_F(SchemaRegistryTest, ATypeIsVerifiedOnceItIsRegisteredAndAfterEachStart) {
  EXPECT_EQ(published(1, visit_of()), Code::unknown_type);
  bus.ask("op", adding(visit));
  ASSERT_TRUE(bus.take());
  EXPECT_TRUE(bus.take<wire::ReplyT>("op").empty());
  bus.commit();
  const auto answer = bus.take<wire::ReplyT>("op");
  const auto& outcome = *answer.at(0).answer.AsSchemaAdded()->types.at(0);
  EXPECT_EQ(outcome.type, "clinic.Visit");
  EXPECT_EQ(outcome.before, 0u);
  EXPECT_EQ(outcome.version, 1u);
  EXPECT_EQ(outcome.compatibility, "backward_transitive");
  auto wrong = visit_of();
  wrong.payload.assign(64, 0xff);
  EXPECT_EQ(published(2, visit_of()), Code::ok);
  EXPECT_EQ(published(3, wrong), Code::bad_payload);
  for (std::uint64_t sequence = 4; sequence < 8; sequence += 2) {
    crash();
    EXPECT_EQ(published(sequence, visit_of()), Code::ok);
    EXPECT_EQ(published(sequence + 1, wrong), Code::bad_payload);
    EXPECT_EQ(info().bfbs, compile_schema(visit));
    bus.restart();
    bus.hello("op");
  }
}

TEST_F(SchemaRegistryTest, ANextVersionTakesTheLastOnesPlace) {
  added(adding(visit));
  const auto outcome = added(adding(visit_with_note)).at(0);
  EXPECT_EQ(outcome.before, 1u);
  EXPECT_EQ(outcome.version, 2u);
  ASSERT_EQ(outcome.changes.size(), 1u);
  EXPECT_EQ(outcome.changes[0]->rule, "field_added");
  EXPECT_EQ(outcome.changes[0]->member, "note");
  EXPECT_FALSE(outcome.changes[0]->breaks);
  crash();
  EXPECT_EQ(info().version, 2u);
  EXPECT_EQ(info().bfbs, compile_schema(visit_with_note));
  EXPECT_EQ(info("clinic.Visit", 1).bfbs, compile_schema(visit));
  EXPECT_EQ(info("clinic.Visit", 3).type, "") << "not found";
}

TEST_F(SchemaRegistryTest, WhatHasNotChangedMakesNoVersion) {
  added(adding(visit));
  EXPECT_EQ(added(adding(visit)).at(0).version, 1u);
  EXPECT_EQ(added(adding("// a comment\n" + visit)).at(0).version, 1u);
  EXPECT_EQ(info().version, 1u);
}

TEST_F(SchemaRegistryTest, AVersionThatBreaksIsRefusedWithThePlaceTheRuleAndTheWayOut) {
  added(adding(visit));
  const auto refused = error(adding(visit_without_day));
  EXPECT_EQ(refused.code, Code::incompatible_schema);
  for (const char* part : {"clinic.Visit", "version 1", "'day'", "field_removed", "mark it (deprecated)"}) {
    EXPECT_NE(refused.detail.find(part), std::string::npos) << part << " in " << refused.detail;
  }
  EXPECT_EQ(info().version, 1u);
  crash();
  EXPECT_EQ(info().version, 1u);
}

TEST_F(SchemaRegistryTest, ADryRunTellsAndChangesNothing) {
  EXPECT_EQ(added(adding(visit, "", true)).at(0).version, 1u);
  EXPECT_EQ(info().type, "") << "not found";
  added(adding(visit));
  const auto outcome = added(adding(visit_without_day, "", true)).at(0);
  EXPECT_EQ(outcome.version, 2u);
  ASSERT_EQ(outcome.changes.size(), 1u);
  EXPECT_TRUE(outcome.changes[0]->breaks);
  EXPECT_EQ(outcome.changes[0]->backward, "later");
  EXPECT_EQ(info().version, 1u);
}

// The second version breaks the first, which none allows; a third that would go back breaks the second.
TEST_F(SchemaRegistryTest, TheModeDecidesAndATransitiveOneLooksAtAllVersions) {
  added(adding(visit, "none"));
  EXPECT_EQ(added(adding(visit_with_ward)).at(0).version, 2u);
  const std::string ward_optional = "namespace clinic; table Visit { room:string; day:int; ward:string (required); note:string; } root_type Visit;";
  const auto refused = error(adding(ward_optional, "backward_transitive"));
  EXPECT_EQ(refused.code, Code::incompatible_schema);
  EXPECT_NE(refused.detail.find("against version 1"), std::string::npos) << refused.detail;
  EXPECT_EQ(info().compatibility, "none") << "a refusal changes nothing";
  EXPECT_EQ(added(adding(ward_optional, "backward")).at(0).version, 3u);
  EXPECT_EQ(info().compatibility, "backward");
  crash();
  EXPECT_EQ(info().compatibility, "backward");
  EXPECT_EQ(error(adding(visit, "sideways")).code, Code::bad_settings);
}

TEST_F(SchemaRegistryTest, AllTypesOfASchemaAreRegisteredOrNone) {
  const std::string two = "namespace clinic; table Visit { room:string; day:int; } table Bed { ward:string; } root_type Visit;";
  ASSERT_EQ(added(adding(two)).size(), 2u);
  const std::string one_breaks = "namespace clinic; table Visit { room:string; } table Bed { ward:string; floor:int; } root_type Visit;";
  EXPECT_EQ(error(adding(one_breaks)).code, Code::incompatible_schema);
  EXPECT_EQ(info("clinic.Bed").version, 1u);
  const std::string one_changes = "namespace clinic; table Visit { room:string; day:int; } table Bed { ward:string; floor:int; } root_type Visit;";
  const auto outcomes = added(adding(one_changes));
  for (const auto& outcome : outcomes) EXPECT_EQ(outcome.version, outcome.type == "clinic.Bed" ? 2u : 1u) << outcome.type;
  EXPECT_EQ(info("clinic.Visit").version, 1u);
}

TEST_F(SchemaRegistryTest, WhatIsNoSchemaOrIsThereAlreadyIsRefused) {
  wire::SchemaAddT none;
  none.bfbs = {1, 2, 3};
  EXPECT_EQ(error(none).code, Code::bad_format);
  EXPECT_EQ(error(wire::SchemaAddT()).code, Code::bad_format);
  EXPECT_EQ(error(adding("namespace suoke.realtime; table SystemNotification { x:int; } root_type SystemNotification;")).code, Code::conflict);
  EXPECT_EQ(error(adding("enum E:byte { a } struct S { x:int; }")).code, Code::bad_format) << "no event type";
  EXPECT_EQ(error(adding("table A { x:int; } union U { A } table T { us:[U]; } root_type T;")).code, Code::bad_format);
}

TEST_F(SchemaRegistryTest, DeprecationIsKeptAndCountsWhoStillPublishes) {
  added(adding(visit));
  EXPECT_EQ(published(1, visit_of()), Code::ok);
  EXPECT_EQ(error(deprecate("clinic.Encounter takes its place")).code, Code::ok);
  for (int sent = 0; sent < 3; ++sent) EXPECT_EQ(published(2, visit_of()), Code::ok);
  for (int start = 0; start < 2; ++start) {
    const auto told = info();
    EXPECT_EQ(told.deprecated, "clinic.Encounter takes its place");
    EXPECT_GT(told.deprecated_at, 0);
    EXPECT_EQ(told.deprecated_events, start == 0 ? 1u : 0u) << "since start, and what is sent again counts once";
    EXPECT_EQ(told.deprecated_by, start == 0 ? std::vector<std::string>{"alpha"} : std::vector<std::string>{});
    crash();
  }
  EXPECT_EQ(error(deprecate("")).code, Code::ok);
  EXPECT_EQ(info().deprecated, "");
  EXPECT_EQ(info().deprecated_at, 0);
  EXPECT_EQ(error(deprecate(std::string(limits::description_bytes_max, 'w'))).code, Code::ok);
  EXPECT_EQ(error(deprecate(std::string(limits::description_bytes_max + 1, 'w'))).code, Code::bad_settings);
  auto builtin = deprecate("why");
  builtin.type = test::notification_type;
  EXPECT_EQ(error(builtin).code, Code::not_found);
}

TEST_F(SchemaRegistryTest, DiffAndHistoryTellWhatHasChanged) {
  added(adding(visit, "none"));
  added(adding(visit_with_note));
  added(adding(visit_without_day));
  wire::SchemaDiffT diff;
  diff.type = "clinic.Visit";
  const auto last = reply(diff);
  EXPECT_EQ(last.answer.AsSchemaDiffReply()->from, 2u);
  EXPECT_EQ(last.answer.AsSchemaDiffReply()->to, 3u);
  EXPECT_EQ(last.answer.AsSchemaDiffReply()->changes.size(), 2u);
  diff.from = 1, diff.to = 2;
  EXPECT_EQ(reply(diff).answer.AsSchemaDiffReply()->changes.at(0)->rule, "field_added");
  diff.bfbs = compile_schema(visit);
  EXPECT_TRUE(reply(diff).answer.AsSchemaDiffReply()->changes.empty()) << "against version 1";
  diff.from = 4;
  EXPECT_EQ(error(diff).code, Code::not_found);
  wire::SchemaDiffT first;
  first.type = "clinic.Visit";
  first.to = 1;
  EXPECT_EQ(error(first).code, Code::not_found) << "there is none before it";

  wire::SchemaHistoryT history;
  history.type = "clinic.Visit";
  const auto told = reply(history);
  const auto& versions = told.answer.AsSchemaHistoryReply()->versions;
  ASSERT_EQ(versions.size(), 3u);
  EXPECT_TRUE(versions[0]->changes.empty());
  EXPECT_EQ(versions[1]->changes.size(), 1u);
  EXPECT_EQ(versions[2]->changes.size(), 2u);
  EXPECT_EQ(versions[2]->bytes, compile_schema(visit_without_day).size());
  history.type = test::notification_type;
  EXPECT_EQ(error(history).code, Code::not_found);
}

// The receipt was lost; by the time the batch is sent again, the schema refuses what is stored.
TEST_F(SchemaRegistryTest, WhatIsStoredIsAnsweredAsStoredThoughItsSchemaHasChanged) {
  added(adding(visit, "none"));
  auto later = visit_of();
  later.deliver_at = nanoseconds(bus.now.wall + std::chrono::hours(1));
  wire::PublishT message;
  message.steps.push_back(std::make_unique<wire::StepT>());
  message.steps.back()->first = 1;
  message.steps.back()->count = 2;
  const std::vector<Buffer> events = {encode(visit_of()), encode(visit_of()), encode(visit_of()), encode(later)};
  bus.publish("p", 1, events, message);
  bus.run();
  const auto first = result();
  ASSERT_TRUE(first.refusals.empty());
  ASSERT_EQ(added(adding(visit_with_ward)).at(0).version, 2u);
  EXPECT_EQ(published(5, visit_of()), Code::bad_payload);
  for (int start = 0; start < 2; ++start) {
    bus.publish("p", 1, events, message);
    bus.run();
    const auto again = result();
    EXPECT_TRUE(again.refusals.empty());
    for (std::size_t at = 0; at < 4; ++at) {
      EXPECT_EQ(again.receipts.at(at).position(), first.receipts.at(at).position());
      EXPECT_EQ(again.receipts.at(at).scheduled(), at == 3);
    }
    crash();
  }
}

// ---- limits

TEST_F(SchemaRegistryTest, ATypeHasSoManyVersions) {
  std::string fields = "f0:int;";
  const auto schema = [&] { return "table T { " + fields + " } root_type T;"; };
  for (std::size_t version = 1; version <= limits::schema_versions_max; ++version) {
    ASSERT_EQ(added(adding(schema())).at(0).version, version);
    fields += "f" + std::to_string(version) + ":int;";
  }
  EXPECT_EQ(error(adding(schema())).code, Code::bad_settings);
  wire::SchemaHistoryT history;
  history.type = "T";
  std::size_t told = 0;
  do {
    const auto answer = reply(history);
    const auto& part = *answer.answer.AsSchemaHistoryReply();
    EXPECT_LE(wire::encode(answer).size(), limits::header_bytes_max);
    told += part.versions.size();
    history.after = part.more;
  } while (history.after != 0 && told <= limits::schema_versions_max);
  EXPECT_EQ(told, limits::schema_versions_max);
}

TEST_F(SchemaRegistryTest, ASchemaHasSoManyBytes) {
  const auto padded = [](std::size_t bytes) {
    auto ask = adding(visit);
    ask.bfbs.resize(bytes, 0);
    return ask;
  };
  EXPECT_EQ(added(padded(limits::schema_bytes_max)).at(0).version, 1u);
  EXPECT_EQ(error(padded(limits::schema_bytes_max + 1)).code, Code::bad_settings);
}

TEST_F(SchemaRegistryTest, ThereAreSoManyTypes) {
  const auto types = [](std::size_t first, std::size_t count) {
    std::string text;
    for (std::size_t at = first; at < first + count; ++at) text += "table T" + std::to_string(at) + " { x:int; } ";
    return text;
  };
  constexpr std::size_t at_once = 64;
  EXPECT_EQ(error(adding(types(0, 257))).code, Code::bad_settings);
  for (std::size_t at = 0; at < limits::schema_types_max; at += at_once) ASSERT_EQ(added(adding(types(at, at_once))).size(), at_once) << at;
  EXPECT_EQ(error(adding(types(limits::schema_types_max, 1))).code, Code::bad_settings);
  EXPECT_EQ(added(adding(types(0, 1) + types(5, 1))).size(), 2u) << "they are there";
}

// ---- schemas that flatc does not write

struct Crafted {
  std::string name = "T", field = "x";
  reflection::BaseType base = reflection::Int, element = reflection::None;
  int index = -1;
  reflection::BaseType member = reflection::None;  // of the only enum's only value, which leads nowhere
  std::uint16_t offset = 4;
};

Code opened(const Crafted& what) {
  flatbuffers::FlatBufferBuilder builder;
  const auto name_of_field = builder.CreateString(what.field);
  const auto field = reflection::CreateField(builder, name_of_field, reflection::CreateType(builder, what.base, what.element, what.index), 0, what.offset);
  const auto fields = builder.CreateVector(&field, 1);
  const auto object = reflection::CreateObject(builder, builder.CreateString(what.name), fields, false, 1, 0);
  const auto value = reflection::CreateEnumVal(builder, builder.CreateString("NONE"), 0, reflection::CreateType(builder, what.member, reflection::None, 9999));
  const auto values = builder.CreateVector(&value, 1);
  const auto one = reflection::CreateEnum(builder, builder.CreateString("E"), values, true, reflection::CreateType(builder, reflection::UByte));
  const auto objects = builder.CreateVector(&object, 1);
  const auto enums = builder.CreateVector(&one, 1);
  builder.Finish(reflection::CreateSchema(builder, objects, enums, 0, 0, object), reflection::SchemaIdentifier());
  const auto schema = EventSchema::open(Bytes(builder.GetBufferPointer(), builder.GetSize()), "crafted");
  return schema ? Code::ok : schema.error().code;
}

TEST(EventSchema, RefusesWhatWouldLeadAstray) {
  EXPECT_EQ(opened({}), Code::ok);
  EXPECT_EQ(opened({.name = std::string(limits::text_bytes_max, 'n')}), Code::ok);
  EXPECT_EQ(opened({.name = std::string(limits::text_bytes_max + 1, 'n')}), Code::bad_format);
  EXPECT_EQ(opened({.name = ""}), Code::bad_format);
  EXPECT_EQ(opened({.field = ""}), Code::bad_format);
  EXPECT_EQ(opened({.field = std::string(limits::text_bytes_max + 1, 'f')}), Code::bad_format);
  EXPECT_EQ(opened({.base = reflection::Union, .index = 0, .offset = 6}), Code::ok);
  EXPECT_EQ(opened({.base = reflection::Union, .index = 0}), Code::bad_format) << "there is no place before it for its type";
  EXPECT_EQ(opened({.base = reflection::Union, .element = reflection::Obj, .index = 0, .offset = 6}), Code::bad_format) << "read as the number of a table";
  EXPECT_EQ(opened({.member = reflection::Obj}), Code::bad_format) << "no field leads to it, and a comparison does";
}

// An offset that leads behind the payload, as far as it can.
TEST(PayloadTypes, VerifyWithoutAReadBehindThePayload) {
  PayloadTypes types;
  ASSERT_TRUE(types.add(text_of(compile_schema("table I { x:int; } table T { i:I; } root_type T;")), "t.bfbs").ok());
  // The root at 8; before it a vtable of one field, whose place is 0xfff0.
  const std::vector<std::uint8_t> payload = {12, 0, 0, 0, 6, 0, 4, 0, 0xf0, 0xff, 0, 0, 8, 0, 0, 0};
  const auto exact = std::make_unique<std::uint8_t[]>(payload.size());  // a sanitizer sees what is read behind it
  std::copy(payload.begin(), payload.end(), exact.get());
  EXPECT_FALSE(types.verify("T", Bytes(exact.get(), payload.size())).ok());
}

// ---- rows

TEST(SchemaRegistry, RefusesATypeThatAFileHasAsWell) {
  PayloadTypes types, without;
  const auto bfbs = compile_schema(visit);
  const std::string_view bytes = text_of(bfbs);
  ASSERT_TRUE(types.add(bytes, "visit.bfbs").ok());
  SchemaRegistry registry(without);
  const auto outcomes = registry.judge(*EventSchema::open(bytes_of(bytes), "").value(), std::nullopt).value();
  SchemaRegistry next(types);
  for (const auto& row : registry.add(EventSchema::open(bytes_of(bytes), "").value(), outcomes, WallTime{})) {
    const auto restored = next.restore_row(row.key, *row.value);
    if (row.key.front() == 't') EXPECT_TRUE(restored.ok());
    else EXPECT_EQ(restored.error().code, Code::conflict);
  }
  EXPECT_EQ(next.judge(*EventSchema::open(bytes_of(bytes), "").value(), std::nullopt).error().code, Code::conflict);
}

// A salvaged log may have lost some rows.
TEST(SchemaRegistry, GoesOnWithoutRowsThatAreLost) {
  PayloadTypes types;
  SchemaRegistry registry(types);
  std::vector<store::Row> rows;
  for (const auto& text : {visit, visit_with_note}) {
    const auto schema = EventSchema::open(bytes_of(text_of(compile_schema(text))), "").value();
    for (auto& row : registry.add(schema, registry.judge(*schema, std::nullopt).value(), WallTime{})) rows.push_back(std::move(row));
  }
  ASSERT_EQ(rows.size(), 3u);  // the type, and two versions
  const auto restored = [&](std::initializer_list<std::size_t> kept) {
    auto own = std::make_unique<PayloadTypes>();
    auto made = std::make_unique<SchemaRegistry>(*own);
    for (const auto at : kept) EXPECT_TRUE(made->restore_row(rows[at].key, *rows[at].value).ok());
    return std::pair(std::move(own), std::move(made));
  };
  const auto only_type = restored({0});
  EXPECT_EQ(only_type.second->find("clinic.Visit"), nullptr);
  const auto schema = EventSchema::open(bytes_of(text_of(compile_schema(visit))), "").value();
  const auto outcomes = only_type.second->judge(*schema, std::nullopt).value();
  EXPECT_EQ(outcomes.at(0).version, 1u);
  only_type.second->add(schema, outcomes, WallTime{});
  EXPECT_NE(only_type.first->find("clinic.Visit"), nullptr);
  const auto only_second = restored({2});
  EXPECT_EQ(only_second.second->find("clinic.Visit")->versions.at(0).number, 2u);
  EXPECT_EQ(only_second.second->find("clinic.Visit")->version(1), nullptr);
  for (const auto& row : rows) {
    EXPECT_FALSE(SchemaRegistry(types).restore_row(row.key, row.value->substr(0, 5)).ok());
  }
}

}  // namespace
}  // namespace bus::broker
