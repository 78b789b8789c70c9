// Publishing where the broker has as much of something as it may.
#pragma once

#include <functional>
#include <set>

#include "broker/core/intake.hpp"
#include "tests/support/harness.hpp"

namespace bus::test {

// The broker knows as many names, or holds as many scheduled events, as it may: filling in a million of them by messages takes
// too long for a test. `fill` does it; then one event is published.
inline std::set<Code> publish_at_limit(const std::function<void(broker::State&, broker::Schedule&)>& fill, const wire::EventT& event) {
  using namespace broker;
  State state;
  state.keys.set_complete(true);
  Sessions sessions({1, 2});
  Staging staging(state, sessions, {});
  Reads reads;
  Schedule schedule(state, staging, reads);
  fill(state, schedule);
  LogView log(reads, [] {});
  Delivery delivery(state, sessions, staging, reads, log, 1, 1);
  Snapshots snapshots(state, sessions, staging, reads, 1);
  TopicTable topics(state, true);
  Intake intake(state, sessions, staging, reads, schedule, delivery, snapshots, Harness::types(), topics, 1);
  intake.set_space({.free_bytes = limits::GiB}, 0);
  Session& session = sessions.begin("p", SteadyTime());
  session.publisher = "alpha";
  std::uint64_t batch = 0;
  intake.claim(session, batch);
  const Buffer header = wire::encode(wire::Body::Publish, [&](auto& builder) {
    return wire::CreatePublish(builder, 1, 1, session.fence).Union();
  });
  const auto* publish = wire::parse(header).value()->body_as_Publish();
  const auto done = intake.publish(session, *publish, Frame::of(encode(event)), Now{wall_time(1), SteadyTime()});
  if (!done) return {done.error().code};
  staging.take(wall_time(1), {});
  staging.committed();
  staging.release();
  std::set<Code> codes;
  for (const auto& message : sessions.take()) {
    for (const auto* refusal : *wire::parse(message.header.bytes).value()->body_as_PublishResult()->refusals()) {
      codes.insert(refusal->code());
    }
  }
  return codes;
}

template <typename Table>
void fill_names(Table& table, std::size_t most) {
  for (std::size_t at = 0; at < most; ++at) table.add(std::to_string(at));
}

}  // namespace bus::test
