// Whatever a publisher sends as a body frame is cut into events, and each is refused or can be read to its last field.
#include "broker/core/payload_types.hpp"
#include "tests/fuzz/target.hpp"
#include "tests/support/samples.hpp"
#include "wire/envelope.hpp"
#include "wire/event_codec.hpp"

namespace bus::fuzz {

std::vector<std::string> seeds() {
  const Buffer one = testing::encode_event(testing::sample_event("saga.started", "saga-1"));
  wire::EventT small;
  small.topic = "a";
  small.type = "suoke.saga.SagaStarted";
  small.id = "1";
  small.payload = testing::sample_payload("s");
  const Buffer skipped(8, 0), two = testing::encode_event(small);
  return {text_of(one), text_of(two), text_of(testing::join({one, skipped, two})), text_of(skipped)};
}

void read(const wire::Event& event, const broker::PayloadTypes& types) {
  const auto object = std::unique_ptr<wire::EventT>(event.UnPack());
  require(wire::check_topic(object->topic).ok(), "an accepted event has a bad topic");
  require(object->key.size() <= limits::key_bytes_max, "an accepted event has a long key");
  const Bytes payload(event.payload()->data(), event.payload()->size());
  if (!types.verify(object->type, payload)) return;
  if (object->type != "suoke.saga.SagaStarted") return;
  const Buffer aligned(payload.begin(), payload.end());
  (void)std::unique_ptr<suoke::saga::SagaStartedT>(flatbuffers::GetRoot<suoke::saga::SagaStarted>(aligned.data())->UnPack());
}

// The short way through an envelope accepts nothing that the generated verifier refuses.
void compare_ways(Bytes event) {
  wire::Envelope envelope;
  if (!wire::read_plain_envelope(event, envelope)) return;
  const auto checked = wire::check_event(event);
  require(checked.ok() || checked.error().code == Code::bad_topic, "the short way accepts what the long one refuses");
  if (!checked) return;
  require(envelope.topic == (*checked)->topic()->string_view() && envelope.payload.data() == (*checked)->payload()->data(),
          "the two ways read different things");
}

}  // namespace bus::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  static const bus::broker::PayloadTypes types;
  const bus::Buffer body = bus::fuzz::buffer_of(data, bytes);
  bus::wire::EventCursor cursor(body);
  while (!cursor.done()) {
    const auto event = cursor.next();
    if (!event) return 0;
    bus::fuzz::require(event->size() >= 8 && event->size() % 8 == 0, "an event is not padded");
    // As intake does: a size of 0 gives up a sequence.
    if (bus::load<std::uint32_t>(event->data()) == 0) continue;
    bus::fuzz::compare_ways(*event);
    if (const auto envelope = bus::wire::check_event(*event)) bus::fuzz::read(**envelope, types);
  }
  return 0;
}
