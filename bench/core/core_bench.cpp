// What the core and the store do for one event, counted in instructions: no sockets, one thread, always the same bytes.
//
// Run by bench/core/instructions under callgrind, which counts between the marks that a Count makes. What the clients do
// is not counted: their messages are made before, what they receive is read after. Prints how many events each part had.
#include <valgrind/callgrind.h>

#include <iostream>

#include "bus/suoke_health_generated.h"
#include "bus/suoke_realtime_generated.h"
#include "tests/support/core_driver.hpp"

namespace bus::bench {

namespace {

using namespace bus::testing;

constexpr std::size_t batches = 96;
constexpr std::size_t batch_events = 256;
constexpr std::size_t event_bytes = 296;  // with its envelope: 256 bytes of payload and names, and what FlatBuffers add
constexpr std::size_t keys = 1000;
constexpr std::size_t topics = 8;
constexpr std::size_t batches_per_commit = 8;
constexpr std::uint64_t events = batches * batch_events;

// Count counts what happens in its scope.
class Count {
 public:
  Count() { CALLGRIND_TOGGLE_COLLECT; }
  ~Count() { CALLGRIND_TOGGLE_COLLECT; }
  Count(const Count&) = delete;
  Count& operator=(const Count&) = delete;
};

// Closes the figures of one part.
void close(const char* part, std::uint64_t count) {
  CALLGRIND_DUMP_STATS_AT(part);
  std::cout << part << ' ' << count << '\n';
}

std::vector<std::uint8_t> notification(std::size_t text_bytes) {
  flatbuffers::FlatBufferBuilder builder;
  suoke::realtime::SystemNotificationT payload;
  payload.notification_id = "n-1";
  payload.title = std::string(text_bytes, 'x');
  builder.Finish(suoke::realtime::SystemNotification::Pack(builder, &payload));
  return {builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize()};
}

Buffer make_event(std::uint64_t number) {
  wire::EventT event;
  event.topic = "bench.topic-" + std::to_string(number % topics);
  event.type = suoke::realtime::SystemNotification::GetFullyQualifiedName();
  event.key = "key-" + std::to_string(1000 + number * 7 % keys);
  event.id = "01234567-89ab-7cde-8f01-" + std::to_string(100'000'000'000 + number);
  event.time = 1'700'000'000'000'000'000;
  event.payload = notification(0);
  event.payload = notification(event_bytes - encode_event(event).size());
  auto bytes = encode_event(event);
  BUS_CHECK(bytes.size() == event_bytes);
  return bytes;
}

// One message as the socket hands it over.
using Message = std::vector<Buffer>;

Message make_batch(std::size_t batch) {
  std::vector<Buffer> bodies;
  for (std::size_t at = 0; at < batch_events; ++at) bodies.push_back(make_event(batch * batch_events + at));
  wire::PublishT publish;
  publish.first_sequence = batch * batch_events + 1;
  publish.count = batch_events;
  publish.fence = 1;
  return {wire::encode(publish), join(bodies)};
}

void hello(CoreDriver& driver, const std::string& peer) {
  wire::HelloT hello;
  hello.protocol = wire::protocol_version;
  hello.publisher = peer;
  driver.send(peer, hello);
}

void turn(CoreDriver& driver, bool all = false) {
  const Count count;
  driver.turn(all);
}

// ---- the parts

// From the frames of Publish messages to receipts, committed.
void publish(CoreDriver& driver) {
  hello(driver, "publisher");
  for (std::size_t batch = 0; batch < batches; ++batch) {
    auto message = make_batch(batch);
    const Count count;
    driver.receive("publisher", std::move(message));
    if ((batch + 1) % batches_per_commit == 0) driver.turn();
  }
  driver.take_outgoing();
  close("publish", events);
}

Message subscribe(const std::string& group, wire::Start to, std::uint32_t credit_events) {
  wire::SubscribeT subscribe;
  subscribe.subscription = 1;
  subscribe.group = group;
  subscribe.filter = std::make_unique<wire::FilterT>();
  subscribe.filter->patterns = {"bench.>"};
  subscribe.from = wire::Start::start;
  subscribe.to = to;
  subscribe.credit_events = credit_events;
  subscribe.credit_bytes = limits::credit_bytes_max;
  return {wire::encode(subscribe)};
}

// What a member answers to one Deliver: every event acknowledged by itself, and credit for as many.
struct Answer {
  Message settle, credit;
  std::uint64_t events = 0;
};

Answer answer_to(const wire::Deliver& deliver, std::size_t bytes) {
  wire::SettleT settle;
  settle.subscription = 1;
  settle.epoch = deliver.epoch();
  for (const auto* one : *deliver.deliveries()) settle.settlements.emplace_back(one->position(), one->attempt(), 0, wire::Verdict::ack);
  wire::CreditT credit;
  credit.subscription = 1;
  credit.events = deliver.deliveries()->size();
  credit.bytes = static_cast<std::uint32_t>(bytes);
  return {{wire::encode(settle)}, {wire::encode(credit)}, credit.events};
}

std::vector<Answer> answers_to(const std::vector<broker::Outgoing>& outgoing) {
  std::vector<Answer> answers;
  for (const auto& message : outgoing) {
    const auto* deliver = wire::parse(message.header.bytes).value()->body_as_Deliver();
    if (deliver != nullptr) answers.push_back(answer_to(*deliver, message.body.bytes.size()));
  }
  return answers;
}

// To a group of one member, from memory, each event acknowledged, the acknowledgements committed.
void deliver(CoreDriver& driver) {
  hello(driver, "reader");
  auto message = subscribe("group", wire::Start::unspecified, batch_events);
  {
    const Count count;
    driver.receive("reader", std::move(message));
  }
  for (std::uint64_t seen = 0; seen < events;) {
    driver.now.steady += std::chrono::milliseconds(5);
    turn(driver);
    for (auto& answer : answers_to(driver.take_outgoing())) {
      const Count count;
      seen += answer.events;
      driver.receive("reader", std::move(answer.settle));
      driver.receive("reader", std::move(answer.credit));
    }
  }
  turn(driver, true);
  BUS_CHECK(driver.core().delivery().groups().at("group")->group->state.acked() == events);
  close("deliver", events);
}

// A plain subscription reads the log from the disk.
void replay(CoreDriver& driver) {
  hello(driver, "reader");
  auto message = subscribe("", wire::Start::end, limits::credit_events_max);
  static_assert(events <= limits::credit_events_max && events * event_bytes <= limits::credit_bytes_max);
  {
    const Count count;
    driver.receive("reader", std::move(message));
  }
  for (std::uint64_t seen = 0; seen < events;) {
    turn(driver);
    for (const auto& answer : answers_to(driver.take_outgoing())) seen += answer.events;
  }
  close("replay", events);
}

// ---- one payload

// A heart rate with as many notes as bring it to `bytes`, or somewhat beyond.
Buffer heart_rate(std::size_t bytes) {
  flatbuffers::FlatBufferBuilder builder;
  suoke::health::HealthDataUpdateT update;
  update.record_id = "0198c5a0-7f1e-7c3a-9d2b-1f0e3a5b7c9d";
  update.user_id = "user-4711";
  update.data_type = suoke::health::DataType::heart_rate;
  update.measured_at_ns = 1'700'000'000'000'000'000;
  update.value = std::make_unique<suoke::health::ValueT>();
  update.value->number = 72;
  update.loinc_code = "8867-4";
  while (builder.GetSize() < bytes) {
    builder.Clear();
    builder.Finish(suoke::health::HealthDataUpdate::Pack(builder, &update));
    auto& note = update.metadata.emplace_back(std::make_unique<suoke::health::MetadataT>());
    note->name = "note-" + std::to_string(update.metadata.size());
    note->value = std::string(100, 'x');
  }
  return copy_of(Bytes(builder.GetBufferPointer(), builder.GetSize()));
}

void verify(const broker::PayloadTypes& types, const std::string& type, std::size_t bytes, const char* part) {
  const auto payload = heart_rate(bytes);
  const auto* found = types.find(type);
  constexpr std::uint64_t times = 100;
  for (std::uint64_t at = 0; at < times; ++at) {
    const Count count;
    BUS_CHECK(broker::PayloadTypes::verify(*found, payload));
  }
  close(part, times);
}

// A payload of the same bytes, of a type that is compiled in, and of one of which only the schema is there.
void verify() {
  broker::PayloadTypes types;
  const std::string builtin = suoke::health::HealthDataUpdate::GetFullyQualifiedName();
  std::string schema(types.find(builtin)->builtin_bfbs);
  for (auto at = schema.find("suoke."); at != std::string::npos; at = schema.find("suoke.", at)) schema.replace(at, 5, "other");
  BUS_CHECK(types.add(schema, "other.bfbs").ok());
  verify(types, builtin, 200, "verify");
  verify(types, "other" + builtin.substr(5), 200, "verify_by_schema");
  verify(types, builtin, 64 * limits::KiB, "verify_64k");
  verify(types, "other" + builtin.substr(5), 64 * limits::KiB, "verify_64k_by_schema");
}

}  // namespace

}  // namespace bus::bench

int main() {
  using namespace bus::bench;
  const bus::testing::StoreDir dir;
  auto options = dir.options(bus::limits::GiB);
  options.fill_ahead_bytes = bus::limits::fill_ahead_bytes;
  const bus::broker::PayloadTypes types;
  {
    CoreDriver driver(options, types);
    publish(driver);
    deliver(driver);
  }
  std::optional<CoreDriver> driver;
  {
    const Count count;
    driver.emplace(options, types);
  }
  close("recover", events);
  replay(*driver);
  verify();
  return 0;
}
