// Goal: what a service publishes is encoded as a bus.Event that FlatBuffers accepts, field by field the same, aligned and padded.
// Method: events with every subset of the optional fields and texts of many lengths, read by the generated code.
#include "src/event_encoder.hpp"

#include <gtest/gtest.h>

#include "base/limits.hpp"
#include "wire/envelope.hpp"
#include "wire/event_codec.hpp"

namespace bus {
namespace {

constexpr WallTime now = wall_time(1'700'000'000'123'456'789);

NewEvent bare() {
  NewEvent event;
  event.topic = "a.b";
  event.type = "suoke.T";
  event.payload = {1, 2, 3};
  return event;
}

std::string text(std::size_t bytes, char what) { return std::string(bytes, what); }

std::string_view view(const flatbuffers::String* found) { return found != nullptr ? found->string_view() : std::string_view(); }

// Encodes, verifies by the generated code, and compares.
void expect_same(const NewEvent& event) {
  const Bytes bytes = encode_event(event, now).value();
  ASSERT_EQ(bytes.size(), round_up(load<std::uint32_t>(bytes.data()) + 4, 8));
  const Buffer aligned = copy_of(bytes);
  const auto checked = wire::check_event(aligned);
  ASSERT_TRUE(checked.ok()) << describe(checked.error());
  const wire::Event& found = **checked;
  EXPECT_EQ(view(found.topic()), event.topic);
  EXPECT_EQ(view(found.type()), event.type);
  EXPECT_EQ(view(found.key()), event.key);
  EXPECT_EQ(found.key() == nullptr, event.key.empty());
  EXPECT_TRUE(event.id.empty() || view(found.id()) == event.id);
  EXPECT_EQ(view(found.source()), event.source);
  EXPECT_EQ(view(found.subject()), event.subject);
  EXPECT_EQ(view(found.correlation_id()), event.correlation_id);
  EXPECT_EQ(view(found.causation_id()), event.causation_id);
  EXPECT_EQ(view(found.traceparent()), event.traceparent);
  EXPECT_EQ(view(found.dataschema()), event.dataschema);
  EXPECT_EQ(found.time(), nanoseconds(event.time.value_or(now)));
  EXPECT_EQ(found.priority(), event.priority);
  EXPECT_EQ(found.deliver_at(), event.deliver_at ? nanoseconds(*event.deliver_at) : 0);
  EXPECT_EQ(found.expires_at(), event.expires_at ? nanoseconds(*event.expires_at) : 0);
  ASSERT_EQ(found.payload()->size(), event.payload.size());
  EXPECT_TRUE(std::equal(event.payload.begin(), event.payload.end(), found.payload()->begin()));
  EXPECT_EQ((found.payload()->data() - aligned.data()) % 8, 0);
  ASSERT_EQ(found.attributes() != nullptr ? found.attributes()->size() : 0, event.attributes.size());
  for (std::size_t at = 0; at < event.attributes.size(); ++at) {
    const auto* attribute = found.attributes()->Get(static_cast<unsigned>(at));
    EXPECT_EQ(view(attribute->name()), event.attributes[at].first);
    EXPECT_EQ(view(attribute->value()), event.attributes[at].second);
  }
  for (auto at = load<std::uint32_t>(aligned.data()) + 4; at < aligned.size(); ++at) EXPECT_EQ(aligned[at], 0);
}

TEST(EventEncoder, KeepsEverySubsetOfTheOptionalFields) {
  std::string NewEvent::*const optional[] = {&NewEvent::key, &NewEvent::id, &NewEvent::source, &NewEvent::subject, &NewEvent::correlation_id,
                                             &NewEvent::causation_id, &NewEvent::traceparent, &NewEvent::dataschema};
  for (unsigned subset = 0; subset < 1u << 13; ++subset) {
    auto event = bare();
    for (std::size_t at = 0; at < std::size(optional); ++at) {
      if (subset >> at & 1) event.*optional[at] = text(1 + (subset + at) % 9, static_cast<char>('a' + at));
    }
    if (subset >> 8 & 1) event.priority = Priority::high;
    if (subset >> 9 & 1) event.time = wall_time(-5);
    for (unsigned at = 0; subset >> 10 & 1 && at <= subset % 3; ++at) event.attributes.emplace_back(text(at + 1, 'n'), text(at * 3, 'v'));
    if (subset >> 11 & 1) event.deliver_at = now;
    if (subset >> 12 & 1) event.expires_at = now + std::chrono::hours(1);
    expect_same(event);
  }
}

TEST(EventEncoder, KeepsTextsAndPayloadsOfAnyLength) {
  for (std::size_t bytes = 0; bytes < 40; ++bytes) {
    auto event = bare();
    event.topic = text(bytes + 1, 't');
    event.key = text(40 - bytes, 'k');
    event.payload.assign(bytes, 7);
    expect_same(event);
  }
}

// The broker has a short way for such events.
TEST(EventEncoder, WritesWhatTheShortWayReads) {
  auto event = bare();
  event.key = "key";
  event.source = "s";
  const Buffer bytes = copy_of(encode_event(event, now).value());
  wire::Envelope envelope;
  ASSERT_TRUE(wire::read_plain_envelope(bytes, envelope));
  EXPECT_EQ(envelope.key, "key");
}

TEST(EventEncoder, MakesAnIdOfVersionSevenThatIsNeverTheSame) {
  std::string before;
  for (int time = 0; time < 100; ++time) {
    const std::string id(view(wire::trusted_event(encode_event(bare(), now).value())->id()));
    ASSERT_EQ(id.size(), 36u);
    EXPECT_EQ(id.substr(0, 15), "018bcfe5-687b-7") << "milliseconds, then the version";
    EXPECT_NE(std::string("89ab").find(id[19]), std::string::npos);
    EXPECT_NE(std::exchange(before, id), id);
  }
}

TEST(EventEncoder, TakesTheLargestEventAndNotOneByteMore) {
  auto event = bare();
  event.id = "id";
  const auto envelope = load<std::uint32_t>(encode_event(event, now).value().data()) - event.payload.size();
  event.payload.resize(limits::event_bytes_max - envelope);
  expect_same(event);
  event.payload.push_back(1);
  const auto refused = encode_event(event, now);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::event_too_large);
  EXPECT_NE(refused.error().detail.find(std::to_string(limits::event_bytes_max + 1)), std::string::npos);
  expect_same(bare());
}

}  // namespace
}  // namespace bus
