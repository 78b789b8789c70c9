// Goal: what libbus makes of the broker's answers: what it keeps and sends again, what it tells its caller, and what it says
// stands in the way.
// Method: a ClientCore by hand; the test is the broker, and the clock.
#include <gtest/gtest.h>

#include "src/client_core.hpp"

namespace bus {
namespace {

using namespace std::chrono_literals;

class ClientPublishTest : public ::testing::Test {
 protected:
  explicit ClientPublishTest(const std::string& publisher = "alpha")
      : core({"test", publisher, 10ms, 10ms, 1},
             {[](const wire::WelcomeT&) {}, [this](const Batch&) { ++answered; }, [this](const Error& why) { failed = why; }}) {}

  // What the client says after this much time has passed, as `Message`s of one kind.
  template <typename T>
  std::vector<T> said(Duration passed = 0ms) {
    now.steady += passed;
    core.tick(now);
    core.take_action();
    std::vector<T> all;
    for (const auto& message : core.take_outgoing()) {
      const std::unique_ptr<wire::MessageT> copy(wire::parse(message.header.bytes).value()->UnPack());
      if (copy->body.type == wire::BodyTraits<typename T::TableType>::enum_value) all.push_back(*static_cast<T*>(copy->body.value));
    }
    return all;
  }
  template <typename T>
  void say(const T& message) {
    core.receive({Frame::of(wire::encode(message))}, now);
  }
  void fail(const Error& error, std::uint64_t sequence = 0) {
    core.receive({Frame::of(wire::encode_failure(error, 0, 0, sequence))}, now);
  }
  wire::WelcomeT welcome(const std::string& publisher, std::uint64_t last_sequence = 0) {
    wire::WelcomeT message;
    message.protocol = wire::protocol_version;
    message.session = 1;
    message.publisher = publisher;
    message.last_sequence = last_sequence;
    message.heartbeat_ms = message.timeout_ms = 1'000'000;
    message.conditions_max = 16;
    return message;
  }
  void publish(std::uint64_t sequence) {
    core.publish({sequence, Frame::of(Buffer(8, 1)), {[this](const Result<Receipt>& receipt) { told.push_back(receipt); }}});
  }
  void connect(const std::string& publisher, std::uint64_t last_sequence = 0) {
    said<wire::HelloT>(1s);
    say(welcome(publisher, last_sequence));
  }
  static std::vector<std::uint64_t> sequences(const std::vector<wire::PublishT>& messages) {
    std::vector<std::uint64_t> all;
    for (const auto& message : messages) all.push_back(message.first_sequence);
    return all;
  }

  Now now;
  int answered = 0;
  Error failed;
  std::vector<Result<Receipt>> told;
  ClientCore core;
};

TEST_F(ClientPublishTest, KeepsABatchOfWhichTheBrokerCannotReadWhatBecameOfItAndSaysWhy) {
  connect("alpha");
  publish(1);
  publish(2);
  EXPECT_EQ(sequences(said<wire::PublishT>()), (std::vector<std::uint64_t>{1, 2}));
  for (int attempt = 0; attempt < 20; ++attempt) {
    fail({Code::damaged, "position 1"}, 1);
    fail({Code::sequence_gap, "the batch before"}, 2);
    EXPECT_EQ(core.trouble().code, Code::damaged);
    EXPECT_EQ(core.trouble().detail, "position 1");
    EXPECT_TRUE(said<wire::PublishT>().empty()) << "not at once";
    EXPECT_EQ(sequences(said<wire::PublishT>(500ms)), (std::vector<std::uint64_t>{1, 2}));
  }
  EXPECT_TRUE(told.empty());
  EXPECT_FALSE(core.is_over());
  wire::PublishResultT result;
  result.first_sequence = 1;
  result.receipts = {wire::Receipt(1, 0, true, false)};
  say(result);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_TRUE(told[0]->duplicate);
  EXPECT_EQ(core.trouble().code, Code::ok);
}

// Or it would be sent for ever, and nothing behind it.
TEST_F(ClientPublishTest, EndsWithTrimmedWhatNobodyKnowsAnyMore) {
  connect("alpha");
  const auto tell = [this](const Result<Receipt>& receipt) { told.push_back(receipt); };
  core.publish({1, Frame::of(Buffer(16, 1)), {tell, tell}});
  said<wire::PublishT>();
  wire::PublishResultT result;
  result.first_sequence = 1;
  result.receipts = {wire::Receipt(0, 0, false, false), wire::Receipt(2, 0, false, false)};
  auto refusal = std::make_unique<wire::RefusalT>();
  refusal->sequence = 1;
  refusal->code = Code::trimmed;
  result.refusals.push_back(std::move(refusal));
  say(result);
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(told[0].error().code, Code::trimmed);
  EXPECT_FALSE(is_refusal(told[0].error().code)) << "it may be stored";
  EXPECT_TRUE(told[1].ok());
}

class WithoutAName : public ClientPublishTest {
 protected:
  WithoutAName() : ClientPublishTest("") {}
};

TEST_F(WithoutAName, AsksForOneAndForThatOneEverAfter) {
  const auto first = said<wire::HelloT>().at(0);
  EXPECT_TRUE(first.transient);
  EXPECT_EQ(first.publisher, "");
  say(welcome("anonymous-1-1", 7));
  core.lost({Code::disconnected, ""}, now.steady);
  const auto second = said<wire::HelloT>(1s).at(0);
  EXPECT_TRUE(second.transient);
  EXPECT_EQ(second.publisher, "anonymous-1-1");
  EXPECT_EQ(second.last_sequence, 7u);
  EXPECT_EQ(second.instance, first.instance);
  EXPECT_NE(second.instance, 0u);
}

// It would store what it sends again without looking at the conditions.
TEST_F(ClientPublishTest, SendsNothingConditionalToABrokerThatKnowsNoConditions) {
  connect("alpha");
  Batch batch{1, Frame::of(Buffer(8, 1)), {[this](const Result<Receipt>& receipt) { told.push_back(receipt); }}};
  batch.conditions.emplace_back(0, 0, 0, wire::Expect::absent);
  core.publish(std::move(batch));
  EXPECT_EQ(said<wire::PublishT>().size(), 1u);
  core.lost({Code::disconnected, ""}, now.steady);
  connect("alpha");
  EXPECT_EQ(said<wire::PublishT>().size(), 1u) << "again, as it is not known what became of it";
  core.lost({Code::disconnected, ""}, now.steady);
  said<wire::HelloT>(1s);
  auto older = welcome("alpha");
  older.conditions_max = 0;
  say(older);
  EXPECT_TRUE(said<wire::PublishT>().empty());
  EXPECT_EQ(failed.code, Code::unsupported_version);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].error().code, Code::unsupported_version);
}

// It was made while the broker was a newer one, and came out of the window after the reconnect.
TEST_F(ClientPublishTest, SendsNothingConditionalThatComesAfterTheWelcomeOfSuchABroker) {
  said<wire::HelloT>();
  auto older = welcome("alpha");
  older.conditions_max = 0;
  say(older);
  publish(1);
  EXPECT_EQ(said<wire::PublishT>().size(), 1u);
  Batch batch{2, Frame::of(Buffer(8, 1)), {{}}};
  batch.steps.push_back({0, 1, {}});
  core.publish(std::move(batch));
  EXPECT_TRUE(said<wire::PublishT>().empty());
  EXPECT_EQ(failed.code, Code::unsupported_version);
  EXPECT_TRUE(core.is_over());
}

// It would store the events and leave what is to be cancelled where it is.
class Cancelling : public ClientPublishTest, public ::testing::WithParamInterface<bool> {};

TEST_P(Cancelling, IsNotSentToABrokerThatDoesNotKnowIt) {
  connect("alpha");
  const bool without_events = GetParam();
  Batch batch{1, Frame::of(Buffer(8, 0)), {[this](const Result<Receipt>& receipt) { told.push_back(receipt); }}};
  batch.steps.push_back({0, 1, {}, {}, without_events});
  if (!without_events) batch.steps[0].cancels.resize(1);
  core.publish(std::move(batch));
  EXPECT_TRUE(said<wire::PublishT>().empty());
  EXPECT_EQ(failed.code, Code::unsupported_version);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].error().code, Code::unsupported_version);
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutEvents, Cancelling, ::testing::Bool());

TEST_F(ClientPublishTest, TakesTheReceiptOfAStepWithoutEvents) {
  said<wire::HelloT>();
  auto newer = welcome("alpha");
  newer.cancels_max = 1;
  say(newer);
  Batch batch{1, Frame::of(Buffer(16, 0)), {2, [this](const Result<Receipt>& receipt) { told.push_back(receipt); }}};
  batch.steps.push_back({0, 1, {}, {}, true});
  core.publish(std::move(batch));
  EXPECT_EQ(said<wire::PublishT>().size(), 1u);
  wire::PublishResultT result;
  result.first_sequence = 1;
  result.receipts.resize(2);
  say(result);
  ASSERT_EQ(told.size(), 2u);
  EXPECT_TRUE(told[0].ok());
  EXPECT_EQ(told[0]->sequence, 1u);
  EXPECT_EQ(told[1].error().code, Code::malformed) << "the other one needs a place";
}

TEST_F(WithoutAName, TellsWhatItCannotKnowIfTheNameHasGone) {
  connect("anonymous-1-1");
  publish(1);
  said<wire::PublishT>();
  core.lost({Code::disconnected, ""}, now.steady);
  said<wire::HelloT>(1s);
  fail({Code::publisher_fenced, "gone"});
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].error().code, Code::publisher_fenced);
  EXPECT_EQ(failed.code, Code::publisher_fenced);
  EXPECT_EQ(answered, 1);
  EXPECT_TRUE(core.is_over());
}

TEST_F(WithoutAName, NeverGoesOnUnderAnother) {
  connect("anonymous-1-1");
  core.lost({Code::disconnected, ""}, now.steady);
  said<wire::HelloT>(1s);
  say(welcome("anonymous-1-2"));
  EXPECT_EQ(failed.code, Code::publisher_fenced);
}

// What a PublishResult says of an event is final; all else leaves open whether it is stored.
TEST(IsRefusal, TellsWhatIsFinal) {
  for (const Code code : {Code::bad_event, Code::bad_topic, Code::bad_key, Code::unknown_type, Code::bad_payload, Code::event_too_large, Code::too_many_topics, Code::unknown_topic, Code::type_not_admitted,
                          Code::schedule_full, Code::refused_before, Code::damaged, Code::busy, Code::bad_argument}) {
    EXPECT_TRUE(is_refusal(code)) << EnumNameCode(code);
  }
  for (const Code code : {Code::ok, Code::timed_out, Code::disconnected, Code::closed, Code::publisher_fenced, Code::log_changed, Code::disk_error, Code::shutting_down}) {
    EXPECT_FALSE(is_refusal(code)) << EnumNameCode(code);
  }
}

}  // namespace
}  // namespace bus
