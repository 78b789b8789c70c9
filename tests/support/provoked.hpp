// What the broker answers with, for tests that provoke it.
#pragma once

#include <set>

#include "tests/support/harness.hpp"
#include "tests/support/schema_text.hpp"

namespace bus::test {

// What the broker answered a peer with: of Failures, refusals, refused settlements and ends of subscriptions.
inline std::set<Code> said(Harness& bus, const broker::Peer& peer) {
  std::set<Code> codes;
  for (const auto& one : bus.received(peer)) {
    const wire::BodyUnion& body = one.message->body;
    if (const auto* failure = body.AsFailure()) codes.insert(failure->code);
    if (const auto* end = body.AsSubscriptionEnd()) codes.insert(end->code);
    if (const auto* result = body.AsPublishResult()) {
      for (const auto& refusal : result->refusals) codes.insert(refusal->code);
    }
    if (const auto* settled = body.AsSettled()) {
      for (const auto& refused : settled->refused) codes.insert(refused.code());
    }
  }
  return codes;
}

inline std::set<Code> raw_publish(Harness& bus, std::uint64_t first, std::uint32_t count, const Buffer& body) {
  wire::PublishT publish;
  publish.first_sequence = first;
  publish.count = count;
  publish.fence = bus.fence("p");
  bus.send("p", publish, Buffer(body));
  bus.run();
  return said(bus, "p");
}

inline std::set<Code> publish_where_topics_are_created() {
  Harness bus;
  bus.auto_create_topics = false;
  bus.crash();
  bus.hello("p", "alpha");
  return raw_publish(bus, 1, 1, encode(event()));
}

inline std::set<Code> publish_what_is_not_admitted() {
  Harness bus;
  bus.hello("p", "alpha");
  wire::TopicCreateT create;
  create.settings = std::make_unique<wire::TopicSettingsT>();
  create.settings->name = "test.topic";
  create.settings->types = {"suoke.saga.SagaStarted"};
  bus.ask("p", std::move(create));
  bus.run();
  return raw_publish(bus, 1, 1, encode(event()));
}

inline std::set<Code> register_what_breaks() {
  Harness bus;
  bus.hello("s");
  for (const char* fields : {"x:int;", "x:long;"}) {
    wire::SchemaAddT add;
    add.bfbs = compile_schema(std::string("table T { ") + fields + " } root_type T;");
    bus.ask("s", add);
    bus.run();
  }
  return said(bus, "s");
}

}  // namespace bus::test
