// Goal: whatever a peer sends, it gets a code that is documented, nothing changes, and the broker serves others as before.
// Method: a busd of its own and raw DEALER sockets. After each test the log is as long as it was, and sound.
#include "tests/support/broker_process.hpp"
#include "tests/support/events.hpp"
#include "tests/support/raw_peer.hpp"

namespace bus::test {
namespace {

class BadInput : public ::testing::Test {
 protected:
  BadInput() : peer_(broker_.endpoint()), witness_(broker_.endpoint()) {
    witness_.hello();
    fence_ = peer_.hello("raw").fence;
    publish(1, {encode(event())});
    EXPECT_EQ(receipts(), std::vector<Code>{Code::ok});
  }
  void TearDown() override {
    EXPECT_EQ(status().committed, expected_);
    wire::LogVerifyT verify;
    const auto reply = ask(verify);
    ASSERT_NE(reply.answer.AsVerifyReply(), nullptr);
    EXPECT_TRUE(reply.answer.AsVerifyReply()->faults.empty());
    EXPECT_EQ(broker_.stop(), 0);
  }

  template <typename Ask>
  wire::ReplyT ask(const Ask& question) {
    wire::RequestT request;
    request.request = ++requests_;
    request.ask.Set(Ask(question));
    witness_.say(request);
    wire::ReplyT reply;
    const auto* message = witness_.hear(wire::Body::Reply);
    if (message != nullptr) message->body_as_Reply()->UnPackTo(&reply);
    return reply;
  }
  wire::StatusReplyT status() {
    const auto reply = ask(wire::StatusRequestT());
    return reply.answer.AsStatusReply() != nullptr ? *reply.answer.AsStatusReply() : wire::StatusReplyT();
  }

  void publish(std::uint64_t first_sequence, const std::vector<Buffer>& events) {
    wire::PublishT message;
    message.first_sequence = first_sequence;
    message.count = static_cast<std::uint32_t>(events.size());
    message.fence = fence_;
    Buffer body;
    for (const Buffer& one : events) body.insert(body.end(), one.begin(), one.end());
    peer_.say(message, body);
  }
  // One code per event of the next PublishResult: ok, or why it was refused.
  std::vector<Code> receipts() {
    const auto* message = peer_.hear(wire::Body::PublishResult);
    if (message == nullptr) return {};
    wire::PublishResultT result;
    message->body_as_PublishResult()->UnPackTo(&result);
    std::vector<Code> codes(result.receipts.size(), Code::ok);
    for (const auto& refusal : result.refusals) {
      codes.at(refusal->sequence - result.first_sequence) = refusal->code;
      EXPECT_FALSE(refusal->detail.empty());
    }
    return codes;
  }
  Code refusal_of(const wire::EventT& event) {
    publish(next_sequence_, {encode(event)});
    ++next_sequence_;
    const auto codes = receipts();
    return codes.size() == 1 ? codes[0] : Code::timed_out;
  }
  wire::SubscribeT subscribe(std::uint32_t number, const std::string& pattern, const std::string& group = "") {
    wire::SubscribeT message;
    message.subscription = number;
    message.group = group;
    message.filter = std::make_unique<wire::FilterT>();
    message.filter->patterns = {pattern};
    message.credit_events = 100;
    message.credit_bytes = 100'000;
    return message;
  }

  BrokerProcess broker_;
  RawPeer peer_, witness_;
  std::uint64_t fence_ = 0, requests_ = 0, next_sequence_ = 2, expected_ = 1;
};

// ---- frames

TEST_F(BadInput, GarbageIsMalformed) {
  peer_.send({Buffer(100, 0xee)});
  EXPECT_EQ(peer_.hear_failure(), Code::malformed);
  peer_.send({Buffer()});
  EXPECT_EQ(peer_.hear_failure(), Code::malformed);
  RawPeer stranger(broker_.endpoint());
  stranger.send({Buffer(8, 0)});
  EXPECT_EQ(stranger.hear_failure(), Code::malformed);
}

TEST_F(BadInput, AWrongNumberOfFramesIsMalformed) {
  const Buffer ping = wire::encode(wire::PingT());
  peer_.send({ping, ping});
  EXPECT_EQ(peer_.hear_failure(), Code::malformed);
  peer_.send({ping, ping, ping});
  EXPECT_EQ(peer_.hear_failure(), Code::malformed);
  peer_.send(std::vector<Buffer>(50, ping));
  EXPECT_EQ(peer_.hear_failure(), Code::malformed);
  wire::PublishT alone;
  alone.first_sequence = 2;
  alone.count = 1;
  peer_.say(alone);
  EXPECT_EQ(peer_.hear_failure(), Code::malformed);
}

TEST_F(BadInput, ATruncatedMessageIsMalformed) {
  const Buffer whole = wire::encode(subscribe(1, ">"));
  for (std::size_t size = 0; size < whole.size(); size += 5) {
    peer_.send({Buffer(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size))});
    ASSERT_EQ(peer_.hear_failure(), Code::malformed) << size << " bytes of " << whole.size();
  }
}

TEST_F(BadInput, AHeaderBeyondItsLimitIsMalformed) {
  peer_.send({Buffer(limits::header_bytes_max + 1, 0)});
  EXPECT_EQ(peer_.hear_failure(), Code::malformed);
}

// libzmq ends the connection: there is nobody to tell.
TEST_F(BadInput, AFrameBeyondTheLimitOfAllEndsTheConnection) {
  RawPeer huge(broker_.endpoint());
  huge.hello();
  const auto sessions = status().sessions;
  huge.send({Buffer(limits::frame_bytes_max + 1, 0)});
  while (status().sessions == sessions) {
  }
}

TEST_F(BadInput, ABodyThatDoesNotFitItsHeaderIsMalformed) {
  wire::PublishT message;
  message.first_sequence = 2;
  message.count = 2;
  message.fence = fence_;
  peer_.say(message, encode(event()));
  EXPECT_EQ(peer_.hear_failure(), Code::malformed);
  Buffer cut = encode(event());
  cut.resize(cut.size() - 8);
  message.count = 1;
  peer_.say(message, cut);
  EXPECT_EQ(peer_.hear_failure(), Code::malformed);
}

// ---- sessions

TEST_F(BadInput, SomethingBeforeHelloIsOfAnUnknownSession) {
  RawPeer stranger(broker_.endpoint());
  stranger.say(subscribe(1, ">"));
  EXPECT_EQ(stranger.hear_failure(), Code::unknown_session);
}

TEST_F(BadInput, AnotherProtocolVersionIsRefused) {
  RawPeer stranger(broker_.endpoint());
  wire::HelloT hello;
  hello.protocol = wire::protocol_version + 1;
  stranger.say(hello);
  EXPECT_EQ(stranger.hear_failure(), Code::unsupported_version);
}

TEST_F(BadInput, APublishersNameHasRules) {
  for (const std::string& name : {std::string(limits::publisher_bytes_max + 1, 'p'), std::string("with space"), std::string("a\nb"),
                                  std::string("anonymous-1-1")}) {
    RawPeer stranger(broker_.endpoint());
    wire::HelloT hello;
    hello.protocol = wire::protocol_version;
    hello.publisher = name;
    stranger.say(hello);
    EXPECT_EQ(stranger.hear_failure(), Code::bad_publisher) << name;
  }
  RawPeer longest(broker_.endpoint());
  EXPECT_NE(longest.hello(std::string(limits::publisher_bytes_max, 'p')).session, 0u);
}

// ---- events

TEST_F(BadInput, TopicsHaveRules) {
  for (const std::string& topic : {std::string(), std::string("a."), std::string("a..b"), std::string("a.*"), std::string("a.>"),
                                   std::string("a b"), std::string(limits::topic_bytes_max + 1, 't')}) {
    EXPECT_EQ(refusal_of(event(topic)), Code::bad_topic) << topic;
  }
  EXPECT_EQ(refusal_of(event(std::string(limits::topic_bytes_max, 't'))), Code::ok);
  expected_ += 1;
}

TEST_F(BadInput, KeysHaveALength) {
  EXPECT_EQ(refusal_of(event("a", std::string(limits::key_bytes_max + 1, 'k'))), Code::bad_key);
  EXPECT_EQ(refusal_of(event("a", std::string(limits::key_bytes_max, 'k'))), Code::ok);
  expected_ += 1;
}

TEST_F(BadInput, AnUnknownTypeIsRefused) {
  auto unknown = event();
  unknown.type = "suoke.health.Nothing";
  EXPECT_EQ(refusal_of(unknown), Code::unknown_type);
}

TEST_F(BadInput, APayloadOfAnotherTypeIsRefused) {
  auto other = event();
  other.type = "suoke.health.HealthDataUpdate";
  EXPECT_EQ(refusal_of(other), Code::bad_payload);
  auto garbage = event();
  garbage.payload.assign(64, 0xff);
  EXPECT_EQ(refusal_of(garbage), Code::bad_payload);
}

TEST_F(BadInput, AnEnvelopeThatDoesNotVerifyIsRefused) {
  Buffer garbage = encode(event());
  std::fill(garbage.begin() + 4, garbage.end(), std::uint8_t{0xee});
  publish(2, {garbage});
  EXPECT_EQ(receipts(), std::vector<Code>{Code::bad_event});
}

TEST_F(BadInput, AnEventHasASize) {
  // What the envelope takes is the same for both.
  const auto of_size = [](std::size_t bytes) {
    auto large = event();
    large.payload = notification(std::string(bytes, 'x'));
    return encode(large);
  };
  const auto envelope = of_size(100'000).size() - 100'000;
  publish(2, {of_size(limits::event_bytes_max + 64 - envelope)});
  EXPECT_EQ(receipts(), std::vector<Code>{Code::event_too_large});
  publish(3, {of_size(limits::event_bytes_max - 64 - envelope)});
  EXPECT_EQ(receipts(), std::vector<Code>{Code::ok});
  expected_ += 1;
}

TEST_F(BadInput, OneBadEventDoesNotHarmItsNeighbours) {
  auto bad = event();
  bad.type = "no.Type";
  publish(2, {encode(event()), encode(bad), encode(event())});
  EXPECT_EQ(receipts(), (std::vector<Code>{Code::ok, Code::unknown_type, Code::ok}));
  expected_ += 2;
}

TEST_F(BadInput, ABatchHasALimitAndAnOrder) {
  publish(9, {encode(event())});
  EXPECT_EQ(peer_.hear_failure(), Code::sequence_gap);
  wire::PublishT message;
  message.first_sequence = 2;
  message.count = limits::batch_events_max + 1;
  message.fence = fence_;
  peer_.say(message, encode(event()));
  EXPECT_EQ(peer_.hear_failure(), Code::batch_too_large);
  message.count = 1;
  message.fence = fence_ + 1;
  peer_.say(message, encode(event()));
  EXPECT_EQ(peer_.hear_failure(), Code::publisher_fenced);
}

// ---- subscriptions

TEST_F(BadInput, PatternsHaveRules) {
  for (const std::string& pattern : {std::string(), std::string("a.>.b"), std::string("a.b*"), std::string(">a"), std::string("a..b"),
                                     std::string(limits::topic_bytes_max + 1, 'p')}) {
    peer_.say(subscribe(1, pattern));
    EXPECT_EQ(peer_.hear_failure(), Code::bad_pattern) << pattern;
  }
}

TEST_F(BadInput, ASessionHoldsSoManySubscriptions) {
  for (std::uint32_t number = 1; number <= limits::subscriptions_per_session_max; ++number) {
    peer_.say(subscribe(number, ">"));
    ASSERT_NE(peer_.hear(wire::Body::Subscribed), nullptr);
  }
  peer_.say(subscribe(1, ">"));
  EXPECT_EQ(peer_.hear_failure(), Code::subscription_exists);
  peer_.say(subscribe(limits::subscriptions_per_session_max + 1, ">"));
  EXPECT_EQ(peer_.hear_failure(), Code::too_many_subscriptions);
}

TEST_F(BadInput, AnUnknownGroupIsSaidToBeUnknown) {
  wire::RequestT request;
  request.request = 1;
  wire::GroupsRequestT groups;
  groups.name = "nobody";
  request.ask.Set(groups);
  peer_.say(request);
  EXPECT_EQ(peer_.hear_failure(), Code::unknown_group);
}

TEST_F(BadInput, AStaleOrInventedAckChangesNothing) {
  peer_.say(subscribe(1, ">", "g"));
  const auto* deliver = peer_.hear(wire::Body::Deliver);
  ASSERT_NE(deliver, nullptr);
  const auto epoch = deliver->body_as_Deliver()->epoch();
  const auto refused = [&](std::uint64_t of_epoch, std::uint64_t position, std::uint32_t attempt) {
    wire::SettleT settle;
    settle.subscription = 1;
    settle.epoch = of_epoch;
    settle.settlements = {{position, attempt, 0, wire::Verdict::ack}};
    settle.request = 7;
    peer_.say(settle);
    const auto* settled = peer_.hear(wire::Body::Settled);
    const auto* list = settled != nullptr ? settled->body_as_Settled()->refused() : nullptr;
    return list != nullptr && list->size() == 1 ? list->Get(0)->code() : Code::ok;
  };
  EXPECT_EQ(refused(epoch, 1, 2), Code::stale_ack);
  EXPECT_EQ(refused(epoch + 1, 1, 1), Code::stale_ack);
  EXPECT_EQ(refused(epoch, 2, 1), Code::not_delivered);
  EXPECT_EQ(refused(epoch, 1, 1), Code::ok);
  EXPECT_EQ(refused(epoch, 1, 1), Code::not_delivered);
  wire::SettleT nowhere;
  nowhere.subscription = 9;
  peer_.say(nowhere);
  EXPECT_EQ(peer_.hear_failure(), Code::unknown_subscription);
}

// ---- memory

// The bound of docs/ARCHITECTURE.md for one busd: what is staged, what is kept for live delivery, and the outboxes.
constexpr std::size_t memory_bound_kib = 320 * 1024;

Buffer flood_event() {
  auto large = event("flood.x");
  large.payload = notification(std::string(200'000, 'x'));
  return encode(large);
}

TEST_F(BadInput, PublishersThatReadNoReceiptsCannotMakeItGrow) {
  std::vector<std::unique_ptr<RawPeer>> flood;
  std::vector<std::uint64_t> fences;
  for (int at = 0; at < 6; ++at) {
    flood.push_back(std::make_unique<RawPeer>(broker_.endpoint()));
    fences.push_back(flood.back()->hello("flood-" + std::to_string(at)).fence);
  }
  const Buffer body = flood_event();
  std::size_t most = 0;
  for (std::uint64_t sequence = 1; sequence <= 300; ++sequence) {
    for (std::size_t at = 0; at < flood.size(); ++at) {
      wire::PublishT message;
      message.first_sequence = sequence;
      message.count = 1;
      message.fence = fences[at];
      flood[at]->try_send(wire::encode(message), body);
    }
    most = std::max(most, broker_.memory_kib());
  }
  EXPECT_GT(status().committed, 1u);
  EXPECT_LT(most, memory_bound_kib);
  flood.clear();
  while (status().sessions > 2 || status().staged_bytes > 0) {
  }
  expected_ = status().committed;
}

TEST_F(BadInput, ASubscriberThatDoesNotReadCannotMakeItGrow) {
  std::vector<std::unique_ptr<RawPeer>> deaf;
  for (int at = 0; at < 4; ++at) {
    deaf.push_back(std::make_unique<RawPeer>(broker_.endpoint()));
    deaf.back()->hello();
    auto message = subscribe(1, ">");
    message.credit_events = limits::credit_events_max;
    message.credit_bytes = limits::credit_bytes_max;
    deaf.back()->say(message);
  }
  const Buffer one = flood_event();
  std::size_t most = 0;
  for (int turn = 0; turn < 400; ++turn) {
    publish(next_sequence_++, {one});
    ASSERT_EQ(receipts(), std::vector<Code>{Code::ok});
    ++expected_;
    most = std::max(most, broker_.memory_kib());
  }
  EXPECT_LT(most, memory_bound_kib);
}

}  // namespace
}  // namespace bus::test
