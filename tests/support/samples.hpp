// Samples: one message of every kind, with every field set, and events as libbus makes them. Always the same bytes.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bus/suoke_saga_generated.h"
#include "tests/support/backup_samples.hpp"
#include "tests/support/registry_samples.hpp"
#include "tests/support/state_samples.hpp"
#include "wire/message.hpp"

namespace bus::testing {

struct SampleMessage {
  std::string name;
  Buffer frame;
};

inline std::vector<std::uint8_t> sample_payload(const std::string& saga) {
  suoke::saga::SagaStartedT started;
  started.saga_id = saga;
  started.steps_count = 3;
  started.name = "health_data_entry";
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(suoke::saga::SagaStarted::Pack(builder, &started));
  return {builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize()};
}

inline wire::EventT sample_event(const std::string& topic, const std::string& key) {
  wire::EventT event;
  event.topic = topic;
  event.type = "suoke.saga.SagaStarted";
  event.key = key;
  event.id = "8c7f1a3e-0000-4000-8000-000000000001";
  event.source = "gateway";
  event.subject = "user-17";
  event.time = 1'700'000'000'000'000'000;
  event.correlation_id = "conversation-1";
  event.causation_id = "cause-1";
  event.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  event.dataschema = "https://schemas.example/saga";
  auto attribute = std::make_unique<wire::AttributeT>();
  attribute->name = "region";
  attribute->value = "north";
  event.attributes.push_back(std::move(attribute));
  event.payload = sample_payload(key);
  return event;
}

// Size-prefixed and padded to 8, as in a body frame; the payload is aligned to 8 within.
inline Buffer encode_event(const wire::EventT& event) {
  flatbuffers::FlatBufferBuilder builder;
  builder.ForceVectorAlignment(event.payload.size(), 1, 8);
  builder.FinishSizePrefixed(wire::Event::Pack(builder, &event));
  Buffer bytes(round_up(builder.GetSize(), 8), 0);
  std::copy_n(builder.GetBufferPointer(), builder.GetSize(), bytes.begin());
  return bytes;
}

inline Buffer join(const std::vector<Buffer>& events) {
  Buffer body;
  for (const Buffer& event : events) body.insert(body.end(), event.begin(), event.end());
  return body;
}

class Samples {
 public:
  // Every member of the unions Body, Ask and Answer.
  static std::vector<SampleMessage> all() {
    Samples samples;
    samples.add_session();
    samples.add_publish();
    samples.add_subscribe();
    samples.add_requests();
    samples.add_replies();
    return std::move(samples.messages_);
  }

  static wire::HelloT hello(const std::string& publisher) {
    wire::HelloT hello;
    hello.protocol = wire::protocol_version;
    hello.client = "samples 1.0";
    hello.publisher = publisher;
    return hello;
  }
  static wire::SubscribeT subscribe(std::uint32_t subscription, const std::string& group) {
    wire::SubscribeT subscribe;
    subscribe.subscription = subscription;
    subscribe.group = group;
    subscribe.filter = std::make_unique<wire::FilterT>();
    subscribe.filter->patterns = {"saga.>"};
    subscribe.from = wire::Start::start;
    subscribe.credit_events = 100;
    subscribe.credit_bytes = 1'000'000;
    return subscribe;
  }
  template <typename Ask>
  static wire::RequestT request(std::uint64_t number, Ask ask) {
    wire::RequestT request;
    request.request = number;
    request.ask.Set(std::move(ask));
    return request;
  }

 private:
  template <typename T>
  void add(const T& message, const std::string& part = "") {
    messages_.push_back({wire::EnumNameBody(wire::BodyTraits<typename T::TableType>::enum_value) + part,
                         wire::encode(message)});
  }
  template <typename Ask>
  void ask(Ask question) {
    const std::string name = wire::EnumNameAsk(wire::AskTraits<typename Ask::TableType>::enum_value);
    add(request(41, std::move(question)), " " + name);
  }
  template <typename Answer>
  void reply(Answer answer) {
    const std::string name = wire::EnumNameAnswer(wire::AnswerTraits<typename Answer::TableType>::enum_value);
    wire::ReplyT reply;
    reply.request = 41;
    reply.answer.Set(std::move(answer));
    add(reply, " " + name);
  }

  void add_session() {
    wire::HelloT hello = Samples::hello("anonymous-5-17");
    hello.resume = 0x1122334455667788;
    hello.transient = true;
    hello.instance = 0x99aabbccddeeff00;
    hello.attempt = 2;
    hello.last_sequence = 77;
    add(hello);
    wire::WelcomeT welcome;
    welcome.protocol = 1;
    welcome.session = 0x8877665544332211;
    welcome.broker = "0.1.0";
    for (std::uint8_t byte = 1; byte <= 16; ++byte) welcome.log_id.push_back(byte);
    welcome.history = 1;
    welcome.epoch = 5;
    welcome.committed = 1'000'000;
    welcome.last_sequence = 77;
    welcome.fence = 3;
    welcome.window_events = 65'536;
    welcome.window_bytes = 16'777'216;
    welcome.event_bytes_max = 1'048'576;
    welcome.batch_bytes_max = 2'097'152;
    welcome.batch_events_max = 16'384;
    welcome.conditions_max = 16;
    welcome.heartbeat_ms = 5'000;
    welcome.timeout_ms = 15'000;
    welcome.publisher = "anonymous-5-17";
    add(welcome);
    wire::PingT ping;
    ping.nonce = 7;
    add(ping);
    wire::PongT pong;
    pong.nonce = 7;
    add(pong);
    add(wire::ByeT());
    messages_.push_back({"Failure", wire::encode_failure({Code::sequence_gap, "sequence 78 is missing"}, 41, 2, 79)});
  }
  void add_publish() {
    wire::PublishT publish;
    publish.first_sequence = 78;
    publish.count = 2;
    publish.fence = 3;
    publish.conditions = {wire::Condition(7, 0, 0, wire::Expect::version), wire::Condition(0, 1, 1, wire::Expect::absent)};
    publish.condition_keys = {"saga-8"};
    publish.steps.push_back(std::make_unique<wire::StepT>());
    publish.steps[0]->count = 2;
    publish.steps[0]->settles.push_back(std::make_unique<wire::SettleT>());
    publish.steps[0]->settles[0]->settlements.emplace_back(17, 2, 0, wire::Verdict::ack);
    add(publish);
    wire::PublishResultT result;
    result.first_sequence = 78;
    result.receipts = {wire::Receipt(1'000'001, 4, false, false), wire::Receipt(0, 0, false, true), wire::Receipt(5, 1, true, false)};
    auto refusal = std::make_unique<wire::RefusalT>();
    refusal->sequence = 79;
    refusal->code = Code::bad_topic;
    refusal->detail = "topic 'a..b'";
    refusal->version = 6;
    result.refusals.push_back(std::move(refusal));
    add(result);
  }
  void add_subscribe() {
    wire::SubscribeT subscribe = Samples::subscribe(2, "projector");
    subscribe.filter->types = {"suoke.saga.SagaStarted"};
    subscribe.filter->keys = {"saga-1", "saga-2"};
    subscribe.filter->time_from = 1;
    subscribe.filter->time_to = 1'800'000'000'000'000'000;
    subscribe.filter->priorities = {wire::Priority::high};
    subscribe.filter->attributes.push_back(std::make_unique<wire::AttributeFilterT>());
    subscribe.filter->attributes[0]->name = "ward";
    subscribe.filter->attributes[0]->values = {"3", "4"};
    subscribe.from = wire::Start::position;
    subscribe.from_value = 10;
    subscribe.to = wire::Start::position;
    subscribe.to_value = 20;
    subscribe.settings = std::make_unique<wire::GroupSettingsT>();
    subscribe.settings->ack_wait_ms = 30'000;
    subscribe.settings->in_flight_max = 64;
    add(subscribe);
    wire::SubscribedT subscribed;
    subscribed.subscription = 2;
    subscribed.next = 10;
    subscribed.to = 20;
    subscribed.committed = 1'000'001;
    subscribed.created = true;
    add(subscribed);
    wire::CreditT credit;
    credit.subscription = 2;
    credit.events = 10;
    credit.bytes = 65'536;
    add(credit);
    wire::UnsubscribeT unsubscribe;
    unsubscribe.subscription = 2;
    add(unsubscribe);
    wire::DeliverT deliver;
    deliver.subscription = 2;
    deliver.epoch = 5;
    deliver.deliveries = {wire::Delivery(10, 4, 1'700'000'001'000'000'000, 78, 0, 1)};
    deliver.publishers = {"gateway-1"};
    add(deliver);
    wire::CaughtUpT caught_up;
    caught_up.subscription = 2;
    caught_up.position = 20;
    add(caught_up);
    wire::SubscriptionEndT end;
    end.subscription = 2;
    end.position = 20;
    end.code = Code::group_removed;
    end.detail = "by an operator";
    add(end);
    wire::SettleT settle;
    settle.subscription = 2;
    settle.epoch = 5;
    settle.settlements = {wire::Settlement(10, 1, 0, wire::Verdict::ack), wire::Settlement(11, 2, 500, wire::Verdict::nack),
                          wire::Settlement(12, 1, 0, wire::Verdict::extend)};
    settle.request = 42;
    settle.texts.push_back(std::make_unique<wire::SettlementTextT>());
    settle.texts[0]->settlement = 1;
    settle.texts[0]->text = "the database is away";
    add(settle);
    wire::SettledT settled;
    settled.subscription = 2;
    settled.request = 42;
    settled.refused = {wire::Unsettled(11, 2, Code::stale_ack)};
    add(settled);
  }
  void add_requests() {
    ask(wire::StatusRequestT());
    wire::TopicsRequestT topics;
    topics.name = "saga.started";
    ask(topics);
    wire::GroupsRequestT groups;
    groups.name = "projector";
    ask(groups);
    wire::GroupSeekT seek;
    seek.name = "projector";
    seek.to = wire::Start::position;
    seek.to_value = 3;
    ask(seek);
    wire::GroupRemoveT remove;
    remove.name = "projector";
    ask(remove);
    wire::EventGetT get;
    get.position = 3;
    ask(get);
    wire::SchemasRequestT schemas;
    schemas.name = "suoke.saga.SagaStarted";
    schemas.with_schema = true;
    ask(schemas);
    ask(wire::LogStatRequestT());
    wire::LogVerifyT verify;
    verify.from = 1;
    verify.chain = 99;
    ask(verify);
    wire::GroupCreateT create;
    create.name = "projector";
    create.filter = std::make_unique<wire::FilterT>();
    create.filter->patterns = {"saga.>"};
    create.from = wire::Start::end;
    create.settings = settings();
    ask(create);
    wire::GroupEditT edit;
    edit.name = "projector";
    edit.settings = std::make_unique<wire::GroupSettingsT>();
    edit.settings->paused = true;
    ask(edit);
    wire::GroupPendingT pending;
    pending.name = "projector";
    pending.after = 3;
    pending.blocking = true;
    ask(pending);
    wire::DeadLettersRequestT letters;
    letters.group = "projector";
    letters.filter = std::make_unique<wire::FilterT>();
    letters.filter->keys = {"saga-1"};
    letters.cause = wire::DeadCause::reject;
    letters.reason = "database";
    letters.limit = 10;
    ask(letters);
    wire::DeadLetterGetT letter;
    letter.group = "projector";
    letter.position = 3;
    ask(letter);
    wire::DeadLettersSettleT settle;
    settle.group = "projector";
    settle.positions = {3, 5};
    settle.action = wire::DeadAction::redrive;
    settle.again = true;
    ask(settle);
    wire::ScheduleRequestT schedule;
    schedule.filter = std::make_unique<wire::FilterT>();
    schedule.filter->patterns = {"saga.>"};
    schedule.publisher = "gateway-1";
    schedule.after = {1, 2, 3};
    ask(schedule);
    wire::ScheduleGetT one;
    one.id = schedule_id();
    ask(one);
    wire::ScheduleCancelT cancel;
    cancel.ids.push_back(schedule_id());
    ask(cancel);
    wire::ScheduleRunT run;
    run.id = schedule_id();
    ask(run);
    wire::KeyReadT key;
    key.key = "saga-7";
    key.from = 12;
    key.backwards = true;
    key.limit = 10;
    ask(key);
    wire::KeyHeadsT heads;
    heads.keys = {"saga-7", "saga-8"};
    ask(heads);
    state_asks([this](auto question) { ask(std::move(question)); });
    backup_asks([this](auto question) { ask(std::move(question)); });
    registry_asks([this](auto question) { ask(std::move(question)); });
  }
  static std::unique_ptr<wire::ScheduleIdT> schedule_id() {
    auto id = std::make_unique<wire::ScheduleIdT>();
    id->publisher = "gateway-1";
    id->sequence = 78;
    return id;
  }
  static std::unique_ptr<wire::ScheduledEventT> scheduled_event() {
    auto event = std::make_unique<wire::ScheduledEventT>();
    event->id = schedule_id();
    event->due_at = 1'700'000'002'000'000'000;
    event->scheduled_at = 1'700'000'001'000'000'000;
    event->topic = "saga.started";
    event->type = "suoke.saga.SagaStarted";
    event->event_id = "e-1";
    event->bytes = 200;
    return event;
  }
  static std::unique_ptr<wire::GroupSettingsT> settings() {
    auto all = std::make_unique<wire::GroupSettingsT>();
    all->ack_wait_ms = 30'000;
    all->in_flight_max = 64;
    all->member_in_flight_max = 16;
    all->sharing = wire::Sharing::key_ordered;
    all->attempts_max = 5;
    all->backoff = wire::Backoff::linear;
    all->retry_delay_ms = 100;
    all->retry_delay_max_ms = 60'000;
    all->jitter_percent = 0;
    all->dead_letter = wire::DeadLetterPolicy::stop_key;
    all->paused = false;
    return all;
  }
  static std::unique_ptr<wire::DeadLetterT> dead_letter() {
    auto letter = std::make_unique<wire::DeadLetterT>();
    letter->position = 3;
    letter->died_at = 1'700'000'001'000'000'000;
    letter->cause = wire::DeadCause::reject;
    letter->attempt = 4;
    letter->failures = 3;
    letter->reason = "the database is away";
    letter->topic = "saga.started";
    letter->type = "suoke.saga.SagaStarted";
    letter->key = "saga-1";
    return letter;
  }
  void add_replies() {
    reply(wire::DoneT());
    wire::StatusReplyT status;
    status.version = "0.1.0";
    status.log_id = {1, 2, 3};
    status.committed = 17;
    status.endpoints = {"ipc:///run/busd/bus.sock"};
    status.keys_resident = 4;
    reply(status);
    wire::TopicsReplyT topics;
    topics.topics.push_back(std::make_unique<wire::TopicInfoT>());
    topics.topics[0]->name = "saga.started";
    topics.topics[0]->events = 6;
    topics.topics[0]->groups = {"projector"};
    topics.topics[0]->settings = sample_settings();
    reply(topics);
    wire::GroupsReplyT groups;
    groups.groups.push_back(std::make_unique<wire::GroupInfoT>());
    groups.groups[0]->name = "projector";
    groups.groups[0]->patterns = {"saga.>"};
    groups.groups[0]->floor = 3;
    groups.groups[0]->settings = settings();
    groups.groups[0]->dead_letters = 2;
    reply(groups);
    wire::SeekReplyT seek;
    seek.floor_before = 9;
    seek.floor = 3;
    reply(seek);
    wire::EventReplyT event;
    event.delivery = std::make_unique<wire::Delivery>(3, 1, 1'700'000'001'000'000'000, 3, 0, 0);
    event.publisher = "gateway-1";
    reply(event);
    wire::SchemasReplyT schemas;
    schemas.schemas.push_back(std::make_unique<wire::SchemaInfoT>());
    schemas.schemas[0]->type = "suoke.saga.SagaStarted";
    schemas.schemas[0]->builtin = true;
    schemas.schemas[0]->deprecated = "no service needs it";
    reply(schemas);
    wire::LogStatReplyT stat;
    stat.first = 1;
    stat.last = 17;
    stat.chain = 99;
    stat.chain_at = 17;
    reply(stat);
    wire::VerifyReplyT verify;
    verify.next = 5;
    verify.chain = 99;
    verify.faults.push_back(std::make_unique<wire::FaultT>());
    verify.faults[0]->position = 3;
    verify.faults[0]->what = "the body does not match its checksum";
    reply(verify);
    wire::PendingReplyT pending;
    pending.events.push_back(std::make_unique<wire::PendingInfoT>());
    pending.events[0]->position = 3;
    pending.events[0]->place = wire::PendingPlace::in_flight;
    pending.events[0]->attempt = 1;
    pending.events[0]->member = "worker";
    pending.events[0]->note = "half of it is done";
    pending.events[0]->key = "saga-1";
    pending.events[0]->waiting = 2;
    pending.more = 3;
    reply(pending);
    wire::DeadLettersReplyT letters;
    letters.letters.push_back(dead_letter());
    letters.seen = 7;
    reply(letters);
    wire::DeadLetterReplyT letter;
    letter.letter = dead_letter();
    letter.failures.push_back(std::make_unique<wire::AttemptFailureT>());
    letter.failures[0]->failure = 1;
    letter.failures[0]->attempt = 2;
    letter.failures[0]->error = "the database is away";
    reply(letter);
    wire::DeadLettersSettledT settled;
    settled.done = 1;
    settled.refused = {wire::DeadResult(5, Code::not_found)};
    reply(settled);
    wire::ScheduleReplyT schedule;
    schedule.events.push_back(scheduled_event());
    schedule.more = {1, 2, 3};
    reply(schedule);
    wire::ScheduleGetReplyT one;
    one.event = scheduled_event();
    reply(one);
    wire::ScheduleCancelledT cancelled;
    cancelled.codes = {Code::ok, Code::conflict};
    reply(cancelled);
    wire::ScheduleRunReplyT run;
    run.position = 18;
    run.version = 2;
    reply(run);
    wire::KeyReadReplyT key;
    key.head = std::make_unique<wire::KeyHead>(12, 900);
    key.deliveries = {wire::Delivery(900, 12, 1'800'000'000'000'000'000, 78, 0, 0)};
    key.publishers = {"gateway-1"};
    key.more = 11;
    reply(key);
    wire::KeyHeadsReplyT heads;
    heads.heads = {wire::KeyHead(12, 900), wire::KeyHead(0, 0)};
    reply(heads);
    state_replies([this](auto answer) { reply(std::move(answer)); });
    backup_replies([this](auto answer) { reply(std::move(answer)); });
    registry_replies([this](auto answer) { reply(std::move(answer)); });
  }

  std::vector<SampleMessage> messages_;
};

}  // namespace bus::testing
