// What tests against a real busd begin with: a client that is patient and comes back soon, and an event for it to publish.
#pragma once

#include <chrono>
#include <string>
#include <thread>

#include "bus/client.hpp"
#include "bus/suoke_realtime_generated.h"

namespace bus::test {

inline constexpr auto patience = std::chrono::seconds(60);

inline Client connect(const std::string& endpoint, const std::string& publisher = "") {
  ClientOptions options;
  options.server = endpoint;
  options.publisher = publisher;
  options.connect_timeout = options.request_timeout = options.publish_timeout = std::chrono::seconds(30);
  options.backoff_max = std::chrono::milliseconds(100);
  return Client::connect(std::move(options)).value();
}

inline NewEvent note(const std::string& topic, const std::string& key, const std::string& title = "hello") {
  suoke::realtime::SystemNotificationT payload;
  payload.notification_id = "n";
  payload.title = title;
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(suoke::realtime::SystemNotification::Pack(builder, &payload));
  NewEvent event;
  event.topic = topic;
  event.type = "suoke.realtime.SystemNotification";
  event.key = key;
  event.payload.assign(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
  return event;
}

template <typename Question>
std::unique_ptr<wire::ReplyT> ask(Client& client, Question question) {
  wire::AskUnion any;
  any.Set(std::move(question));
  return client.request(std::move(any)).value().reply;
}

// Retention leaves the newest `events` of topics like `pattern`, from now on; returns once it has.
inline void keep_newest(Client& client, const std::string& pattern, std::uint64_t events, bool past_groups = false) {
  wire::RetentionSetT set;
  set.policy = std::make_unique<wire::RetentionPolicyT>();
  set.policy->pattern = pattern;
  set.policy->max_events = events;
  set.policy->past_groups = past_groups;
  ask(client, std::move(set));
  ask(client, wire::RetentionRunT());
  while (ask(client, wire::RetentionRequestT())->answer.AsRetentionReply()->run->running) std::this_thread::yield();
}

}  // namespace bus::test
