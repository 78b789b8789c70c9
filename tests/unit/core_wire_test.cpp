// Goal: what comes from the network is taken only if every rule of the envelope and of the framing holds, at each limit
// and not one beyond; and no bytes whatever make the decoder read outside of them.
// Method: values at the limits, every truncation of good input, and many small corruptions of it.
#include <gtest/gtest.h>

#include <random>

#include "tests/support/events.hpp"
#include "tests/support/samples.hpp"
#include "wire/envelope.hpp"
#include "wire/event_codec.hpp"
#include "wire/message.hpp"

namespace bus::wire {
namespace {

Code code_of(const Result<void>& result) { return result ? Code::ok : result.error().code; }
Code code_of(const Result<const Event*>& result) { return result ? Code::ok : result.error().code; }
Code code_of(const EventT& event) {
  const Buffer bytes = test::encode(event);
  return code_of(check_event(bytes));
}

// ---- topics and patterns

TEST(Topic, AcceptsDottedNames) {
  for (const char* topic : {"a", "a.b", "health.data.updated", "A-1_b.C", "健康.数据", "0"}) {
    EXPECT_EQ(code_of(check_topic(topic)), Code::ok) << topic;
  }
}

TEST(Topic, RefusesEmptyTokensWildcardsAndOtherBytes) {
  for (const char* topic : {"", ".", "a.", ".a", "a..b", "a.*", ">", "a b", "a\tb", "a/b", "a\x7f", "a\x01"}) {
    EXPECT_EQ(code_of(check_topic(topic)), Code::bad_topic) << topic;
  }
}

TEST(Topic, HasAtMost255Bytes) {
  EXPECT_EQ(code_of(check_topic(std::string(255, 'a'))), Code::ok);
  EXPECT_EQ(code_of(check_topic(std::string(256, 'a'))), Code::bad_topic);
}

TEST(Pattern, MayHaveStarsAndAnArrowAtTheEnd) {
  for (const char* pattern : {"a", "*", ">", "a.*", "*.b", "a.>", "*.*.>", "a.*.c"}) {
    EXPECT_EQ(code_of(check_pattern(pattern)), Code::ok) << pattern;
  }
  for (const char* pattern : {"", "a.", ">.a", "a.>.b", "a*", "a>", "**", "a..b", "a.* "}) {
    EXPECT_EQ(code_of(check_pattern(pattern)), Code::bad_pattern) << pattern;
  }
}

TEST(Pattern, HasAtMost255Bytes) {
  EXPECT_EQ(code_of(check_pattern(std::string(255, 'a'))), Code::ok);
  EXPECT_EQ(code_of(check_pattern(std::string(256, 'a'))), Code::bad_pattern);
}

TEST(Pattern, MatchesTokenByToken) {
  struct Case {
    const char *pattern, *topic;
    bool matches;
  };
  for (const Case& one : {Case{"a", "a", true}, {"a", "b", false}, {"a", "a.b", false}, {"a.b", "a", false},
                          {"*", "a", true}, {"*", "a.b", false}, {"a.*", "a.b", true}, {"a.*", "a", false},
                          {"a.*", "a.b.c", false}, {"*.b", "a.b", true}, {">", "a", true}, {">", "a.b.c", true},
                          {"a.>", "a.b", true}, {"a.>", "a.b.c", true}, {"a.>", "a", false}, {"a.>", "b.a", false},
                          {"a.*.>", "a.b", false}, {"a.*.>", "a.b.c", true}, {"a", "aa", false}, {"aa", "a", false}}) {
    EXPECT_EQ(pattern_matches(one.pattern, one.topic), one.matches) << one.pattern << " and " << one.topic;
  }
}

TEST(Name, IsPrintableWithoutSpaces) {
  EXPECT_TRUE(valid_name("health-data", 128));
  EXPECT_TRUE(valid_name(std::string(128, 'n'), 128));
  EXPECT_FALSE(valid_name(std::string(129, 'n'), 128));
  EXPECT_TRUE(valid_name("größe-健康", 128));
  for (const char* name : {"", "a b", "a\n", "\x7f", "\xff\xfe", "x\xc2", "x\xc2\x9b" "31m", "\xe2\x82"}) EXPECT_FALSE(valid_name(name, 128)) << name;
}

// ---- the events of a body

TEST(EventCursor, FindsEachEventAndTheSkippedOnes) {
  const Buffer one = test::encode(test::event("a")), two = test::encode(test::event("b.c", "key"));
  const Buffer body = test::join({one, test::skipped(), two});
  EventCursor cursor(body);
  EXPECT_EQ(cursor.next()->size(), one.size());
  EXPECT_EQ(cursor.next()->size(), 8u);
  EXPECT_FALSE(cursor.done());
  EXPECT_EQ(cursor.next()->size(), two.size());
  EXPECT_TRUE(cursor.done());
}

TEST(EventCursor, RefusesEveryTruncation) {
  const Buffer one = test::encode(test::event("a")), two = test::encode(test::event("b"));
  const Buffer body = test::join({one, two});
  for (std::size_t size = 1; size < body.size(); ++size) {
    EventCursor cursor(Bytes(body).first(size));
    const bool has_first = size >= one.size();
    if (has_first) {
      ASSERT_TRUE(cursor.next().ok());
    }
    if (size == one.size()) continue;
    const auto cut = cursor.next();
    ASSERT_FALSE(cut.ok()) << size;
    EXPECT_EQ(cut.error().code, Code::malformed);
  }
}

TEST(EventCursor, RefusesASizeBeyondTheBody) {
  Buffer body(16, 0xff);
  EXPECT_EQ(EventCursor(body).next().error().code, Code::malformed);
}

// ---- the envelope

TEST(Envelope, IsTakenWhenAllRulesHold) { EXPECT_EQ(code_of(test::event("a.b", "key")), Code::ok); }

TEST(Envelope, LimitsEveryText) {
  const auto with = [](std::string EventT::*field, std::size_t bytes) {
    EventT event = test::event();
    event.*field = std::string(bytes, 'x');
    return code_of(event);
  };
  EXPECT_EQ(with(&EventT::key, 255), Code::ok);
  EXPECT_EQ(with(&EventT::key, 256), Code::bad_key);
  EXPECT_EQ(with(&EventT::id, 64), Code::ok);
  EXPECT_EQ(with(&EventT::id, 65), Code::bad_event);
  EXPECT_EQ(with(&EventT::id, 0), Code::bad_event);
  EXPECT_EQ(with(&EventT::topic, 0), Code::bad_topic);
  for (const auto field : {&EventT::source, &EventT::subject, &EventT::correlation_id, &EventT::causation_id,
                           &EventT::traceparent, &EventT::dataschema}) {
    EXPECT_EQ(with(field, 255), Code::ok);
    EXPECT_EQ(with(field, 256), Code::bad_event);
  }
}

TEST(Envelope, RefusesAnEmptyKey) {
  flatbuffers::FlatBufferBuilder builder;
  const std::vector<std::uint8_t> payload = test::notification();
  builder.FinishSizePrefixed(CreateEventDirect(builder, "a", test::notification_type, "", "id", nullptr, nullptr, 0,
                                               Priority::medium, Encoding::plain, nullptr, nullptr, nullptr, nullptr,
                                               nullptr, &payload));
  const Buffer bytes(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
  EXPECT_EQ(code_of(check_event(bytes)), Code::bad_key);
}

TEST(Envelope, LimitsAttributes) {
  EventT event = test::event();
  const auto add = [&](std::size_t name_bytes) {
    event.attributes.push_back(std::make_unique<AttributeT>());
    event.attributes.back()->name = std::string(name_bytes, 'n');
  };
  for (std::size_t count = 0; count < limits::attributes_max; ++count) add(255);
  EXPECT_EQ(code_of(event), Code::ok);
  add(1);
  EXPECT_EQ(code_of(event), Code::bad_event);
  event.attributes.clear();
  add(256);
  EXPECT_EQ(code_of(event), Code::bad_event);
}

TEST(Envelope, RefusesWhatThisBrokerDoesNotKnow) {
  const auto with = [](auto change) {
    EventT event = test::event();
    change(event);
    return code_of(event);
  };
  EXPECT_EQ(with([](EventT& event) { event.priority = Priority{3}; }), Code::bad_event);
  EXPECT_EQ(with([](EventT& event) { event.encoding = Encoding{1}; }), Code::bad_event);
  EXPECT_EQ(with([](EventT& event) { event.deliver_at = -1; }), Code::bad_event);
  EXPECT_EQ(with([](EventT& event) { event.expires_at = -1; }), Code::bad_event);
}

TEST(Envelope, HasAtMostOneMebibyte) {
  EventT event = test::event();
  event.payload.resize(limits::event_bytes_max - 300, 0);
  Buffer bytes = test::encode(event);
  // Trailing zeros belong to the event if its size says so: the exact limit.
  const auto resize = [&](std::size_t size) {
    const auto prefix = static_cast<std::uint32_t>(size);
    bytes.resize(round_up(size + 4, 8), 0);
    std::memcpy(bytes.data(), &prefix, sizeof prefix);
  };
  ASSERT_LT(bytes.size(), limits::event_bytes_max);
  resize(limits::event_bytes_max);
  EXPECT_EQ(code_of(check_event(bytes)), Code::ok);
  resize(limits::event_bytes_max + 1);
  EXPECT_EQ(code_of(check_event(bytes)), Code::event_too_large);
}

TEST(Envelope, SurvivesCorruption) {
  std::mt19937_64 random(7);
  const Buffer good = test::encode(test::event("a.b.c", "key"));
  for (int round = 0; round < 20'000; ++round) {
    Buffer bytes = good;
    for (auto flips = 1 + random() % 4; flips > 0; --flips) {
      bytes[4 + random() % (bytes.size() - 4)] ^= static_cast<std::uint8_t>(1 + random() % 255);
    }
    const auto event = check_event(bytes);
    EXPECT_TRUE(!event || !(*event)->topic()->string_view().empty());
  }
}

// ---- messages

TEST(Message, ReadsWhatItWrites) {
  PingT ping;
  ping.nonce = 7;
  const Buffer frame = encode(ping);
  const auto message = parse(frame);
  ASSERT_TRUE(message.ok());
  EXPECT_EQ((*message)->body_as_Ping()->nonce(), 7u);
}

TEST(Message, SaysWhatAFailureIsAbout) {
  const Buffer frame = encode_failure({Code::busy, "later"}, 1, 2, 3);
  const auto* failure = parse(frame).value()->body_as_Failure();
  EXPECT_EQ(failure->code(), Code::busy);
  EXPECT_EQ(failure->detail()->str(), "later");
  EXPECT_EQ(failure->request(), 1u);
  EXPECT_EQ(failure->subscription(), 2u);
  EXPECT_EQ(failure->sequence(), 3u);
}

TEST(Message, RefusesEveryTruncation) {
  WelcomeT welcome;
  welcome.broker = "1.2.3";
  welcome.log_id.assign(16, 1);
  const Buffer frame = encode(welcome);
  constexpr std::size_t padding = 7;  // at most, at the end: nothing is missed without it
  for (std::size_t size = 0; size < frame.size() - padding; ++size) {
    const Buffer cut(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size));
    const auto message = parse(cut);
    ASSERT_FALSE(message.ok()) << size;
    EXPECT_EQ(message.error().code, Code::malformed);
  }
}

TEST(Message, SurvivesCorruption) {
  std::mt19937_64 random(7);
  SettleT settle;
  settle.settlements.resize(5);
  const Buffer good = encode(settle);
  for (int round = 0; round < 20'000; ++round) {
    Buffer frame = good;
    frame[random() % frame.size()] ^= static_cast<std::uint8_t>(1 + random() % 255);
    const auto message = parse(frame);
    EXPECT_TRUE(!message || (*message)->body() != nullptr);
  }
}

TEST(Message, RefusesGarbageAndMessagesWithoutBody) {
  EXPECT_FALSE(parse(Buffer(100, 0xee)).ok());
  EXPECT_FALSE(parse(Buffer()).ok());
  flatbuffers::FlatBufferBuilder builder;
  FinishMessageBuffer(builder, CreateMessage(builder));
  EXPECT_FALSE(parse(Bytes(builder.GetBufferPointer(), builder.GetSize())).ok());
}

TEST(Message, HeaderHasAtMostOneMebibyte) {
  const Buffer frame = encode(Body::Failure, [](auto& builder) {
    return CreateFailureDirect(builder, Code::busy, std::string(limits::header_bytes_max, 'x').c_str()).Union();
  });
  ASSERT_GT(frame.size(), limits::header_bytes_max);
  const auto message = parse(frame);
  ASSERT_FALSE(message.ok());
  EXPECT_EQ(message.error().code, Code::malformed);
}

// ---- the short way through an envelope

bool same(const Envelope& envelope, const Event& event) {
  const auto* key = event.key();
  return envelope.topic == event.topic()->string_view() && envelope.type == event.type()->string_view() &&
         envelope.has_key == (key != nullptr) && envelope.key == (key != nullptr ? key->string_view() : "") &&
         envelope.priority == event.priority() && envelope.payload.data() == event.payload()->data() &&
         envelope.payload.size() == event.payload()->size();
}

EventT without_attributes() {
  auto event = testing::sample_event("saga.started", "saga-1");
  event.attributes.clear();
  return event;
}

TEST(Envelope, OfMostEventsIsReadTheShortWay) {
  const Buffer bytes = testing::encode_event(without_attributes());
  Envelope envelope;
  ASSERT_TRUE(read_plain_envelope(bytes, envelope));
  EXPECT_TRUE(same(envelope, *trusted_event(bytes)));
}

TEST(Envelope, WithAttributesIsReadTheLongWay) {
  const Buffer bytes = testing::encode_event(testing::sample_event("saga.started", "saga-1"));
  Envelope envelope;
  EXPECT_FALSE(read_plain_envelope(bytes, envelope));
  ASSERT_EQ(code_of(read_envelope(bytes, envelope)), Code::ok);
  EXPECT_TRUE(same(envelope, *trusted_event(bytes)));
}

// The short way may say no where the long one says yes, never the other way round.
void expect_no_more_than_the_long_way(const Buffer& bytes, std::uint64_t& accepted) {
  Envelope envelope;
  if (!read_plain_envelope(bytes, envelope)) return;
  ++accepted;
  const auto checked = check_event(bytes);
  ASSERT_TRUE(checked.ok() || checked.error().code == Code::bad_topic) << checked.error().detail;
  ASSERT_TRUE(same(envelope, *trusted_event(bytes)));
}

TEST(Envelope, IsAcceptedTheShortWayOnlyWhereTheLongOneAgrees) {
  std::mt19937_64 random(1);
  std::uint64_t accepted = 0;
  EventT bare;
  bare.topic = "a", bare.type = "b", bare.id = "c", bare.payload = {1, 2, 3};
  for (const EventT& event : {without_attributes(), testing::sample_event("saga.started", "saga-1"), bare}) {
    const Buffer good = testing::encode_event(event);
    const auto structure = std::min<std::size_t>(good.size(), 128);  // sizes, offsets and the vtable come first
    for (std::size_t at = 0; at < good.size(); ++at) {
      for (const int value : {0, 1, 2, 4, 8, 0x7f, 0x80, 0xfe, 0xff, good[at] + 1, good[at] - 1, good[at] + 4, good[at] ^ 0x20}) {
        Buffer bad = good;
        bad[at] = static_cast<std::uint8_t>(value);
        if (load<std::uint32_t>(bad.data()) + std::size_t{4} > bad.size()) continue;  // no span of a cursor
        expect_no_more_than_the_long_way(bad, accepted);
      }
    }
    for (int round = 0; round < 20'000; ++round) {
      Buffer bad = good;
      for (int change = 0; change < 3; ++change) bad[4 + random() % (structure - 4)] = static_cast<std::uint8_t>(random() % 2 ? random() : random() % 64);
      expect_no_more_than_the_long_way(bad, accepted);
    }
    for (std::size_t size = 8; size < good.size(); size += 8) {
      Buffer cut(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
      const auto said = static_cast<std::uint32_t>(size - 4);
      std::memcpy(cut.data(), &said, sizeof said);
      expect_no_more_than_the_long_way(cut, accepted);
    }
  }
  EXPECT_GT(accepted, 1000u) << "most changes of text change nothing";
}

// As docs/PROTOCOL.md has the order.
TEST(Envelope, WithTwoFaultsIsRefusedForTheFirst) {
  auto event = without_attributes();
  event.topic = "a..b";
  event.key = std::string(limits::key_bytes_max + 1, 'x');
  Envelope envelope;
  EXPECT_EQ(code_of(read_envelope(testing::encode_event(event), envelope)), Code::bad_topic);
  event.topic = "a.b";
  event.id = "";
  EXPECT_EQ(code_of(read_envelope(testing::encode_event(event), envelope)), Code::bad_key);
}

TEST(Envelope, KeepsTheLimitsOfEveryField) {
  const auto accepts = [](const auto& change) {
    auto event = without_attributes();
    change(event);
    const Buffer bytes = testing::encode_event(event);
    Envelope envelope;
    const bool plain = read_plain_envelope(bytes, envelope);
    EXPECT_EQ(plain, check_event(bytes).ok());
    return plain;
  };
  for (const auto field : {&EventT::source, &EventT::subject, &EventT::correlation_id, &EventT::causation_id, &EventT::traceparent, &EventT::dataschema}) {
    EXPECT_TRUE(accepts([&](EventT& event) { event.*field = std::string(limits::text_bytes_max, 'x'); }));
    EXPECT_FALSE(accepts([&](EventT& event) { event.*field = std::string(limits::text_bytes_max + 1, 'x'); }));
  }
  EXPECT_TRUE(accepts([](EventT& event) { event.key = std::string(limits::key_bytes_max, 'x'); }));
  EXPECT_FALSE(accepts([](EventT& event) { event.key = std::string(limits::key_bytes_max + 1, 'x'); }));
  EXPECT_TRUE(accepts([](EventT& event) { event.id = std::string(limits::id_bytes_max, 'x'); }));
  EXPECT_FALSE(accepts([](EventT& event) { event.id = std::string(limits::id_bytes_max + 1, 'x'); }));
  EXPECT_FALSE(accepts([](EventT& event) { event.id = ""; }));
  EXPECT_TRUE(accepts([](EventT& event) { event.priority = Priority::low; }));
  EXPECT_FALSE(accepts([](EventT& event) { event.priority = static_cast<Priority>(3); }));
  EXPECT_FALSE(accepts([](EventT& event) { event.encoding = static_cast<Encoding>(1); }));
  EXPECT_FALSE(accepts([](EventT& event) { event.deliver_at = -1; }));
  EXPECT_FALSE(accepts([](EventT& event) { event.expires_at = -1; }));
}

TEST(Envelope, SaysWhenItIsDueAndWhenItExpires) {
  auto event = without_attributes();
  event.deliver_at = 5;
  event.expires_at = 6;
  Envelope envelope;
  ASSERT_TRUE(read_envelope(testing::encode_event(event), envelope).ok());
  EXPECT_EQ(envelope.deliver_at, 5);
  EXPECT_EQ(envelope.expires_at, 6);
  event.expires_at = 5;
  EXPECT_EQ(code_of(read_envelope(testing::encode_event(event), envelope)), Code::bad_event);
}

}  // namespace
}  // namespace bus::wire
