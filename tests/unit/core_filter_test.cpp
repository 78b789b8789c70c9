// Goal: a filter lets through what matches all that it names, and refuses to be made of nonsense.
// Method: one record of a few events, and filters of every kind against it.
#include <gtest/gtest.h>

#include "broker/core/filter.hpp"
#include "tests/support/events.hpp"

namespace bus::broker {
namespace {

constexpr std::uint64_t secret = 99;

class FilterTest : public ::testing::Test {
 protected:
  FilterTest() {
    add("health.data", test::notification_type, "user-1", 100);
    add("health.alert", "other.Type", "user-2", 200);
    add("saga.started", test::notification_type, "", 300);
    record = builder.seal({{}, Position{1}, wall_time(1), 0, 1});
  }
  void add(const std::string& topic, const std::string& type, const std::string& key, std::int64_t time) {
    auto event = test::event(topic, key);
    event.time = time;
    const auto number = sequence;
    for (const auto& [name, value] : {std::pair("ward", std::to_string(number)), std::pair("urgent", std::string("yes"))}) {
      if (number == 2 && std::string(name) == "urgent") continue;
      event.attributes.push_back(std::make_unique<wire::AttributeT>());
      event.attributes.back()->name = name;
      event.attributes.back()->value = value;
    }
    store::Entry entry;
    entry.topic = state.topics.add(topic);
    entry.type = state.types.find(type).value_or(0);
    if (entry.type == 0) entry.type = state.types.add(type);
    entry.publisher = 1;
    entry.priority = static_cast<std::uint8_t>(number);  // medium, high, low
    entry.sequence = ++sequence;
    if (!key.empty()) entry.key = store::KeyLink{hash128(bytes_of(key), secret), 1, Position::none};
    builder.append(entry, test::encode(event));
  }
  // The places of the events that match, as digits.
  std::string matching(Filter::Spec spec) {
    Filter filter(std::move(spec), secret);
    std::string out;
    for (std::uint32_t at = 0; at < record->count(); ++at) {
      const auto kind = record->kind(record->kind_of(at));
      const bool matches = filter.matches_kind(kind, state);
      EXPECT_EQ(matches, filter.matches_kind(kind, state)) << "remembered otherwise";
      if (matches && filter.matches_event(*record, at)) out += static_cast<char>('0' + at);
    }
    return out;
  }
  State state;
  std::uint64_t sequence = 0;
  store::RecordBuilder builder;
  store::RecordPtr record;
};

TEST_F(FilterTest, LetsEverythingThroughWhenItNamesNothing) { EXPECT_EQ(matching({}), "012"); }

TEST_F(FilterTest, MatchesTopicsByAnyPattern) {
  EXPECT_EQ(matching({{"health.*"}, {}, {}}), "01");
  EXPECT_EQ(matching({{"health.data", "saga.>"}, {}, {}}), "02");
  EXPECT_EQ(matching({{"nothing"}, {}, {}}), "");
}

TEST_F(FilterTest, MatchesPriorities) {
  Filter::Spec spec;
  spec.priorities = {1};
  EXPECT_EQ(matching(spec), "1");
  spec.priorities = {0, 2};
  EXPECT_EQ(matching(spec), "02");
}

TEST_F(FilterTest, MatchesAttributesThatAreThereEqualOrOneOf) {
  Filter::Spec spec;
  spec.attributes = {{"urgent", {}}};
  EXPECT_EQ(matching(spec), "01");
  spec.attributes = {{"ward", {"2"}}};
  EXPECT_EQ(matching(spec), "2");
  spec.attributes = {{"urgent", {"yes"}}, {"ward", {"0", "2"}}};
  EXPECT_EQ(matching(spec), "0");
  spec.attributes = {{"nothing", {}}};
  EXPECT_EQ(matching(spec), "");
}

TEST_F(FilterTest, ComesBackFromItsRow) {
  const Filter::Spec spec{{"a.*"}, {"T"}, {"k"}, 1, 2, {0, 2}, {{"ward", {"x", "y"}}, {"x", {}}}};
  Writer writer;
  Filter::put(writer, spec);
  const std::string bytes = writer.take();
  Reader reader(bytes);
  EXPECT_EQ(Filter::get(reader), spec);
  EXPECT_TRUE(reader.done());
}

TEST_F(FilterTest, MatchesTypesAndKeys) {
  EXPECT_EQ(matching({{}, {"other.Type"}, {}}), "1");
  EXPECT_EQ(matching({{}, {}, {"user-1", "user-2"}}), "01");
  EXPECT_EQ(matching({{}, {}, {"user-3"}}), "");
}

TEST_F(FilterTest, NeedsAllOfWhatItNames) { EXPECT_EQ(matching({{"health.*"}, {"other.Type"}, {"user-1"}}), ""); }

TEST_F(FilterTest, IncludesBothEndsOfARangeOfEventTimes) {
  EXPECT_EQ(matching({{}, {}, {}, 200, 0}), "12");
  EXPECT_EQ(matching({{}, {}, {}, 201, 0}), "2");
  EXPECT_EQ(matching({{}, {}, {}, 0, 200}), "01");
  EXPECT_EQ(matching({{}, {}, {}, 100, 199}), "0");
}

// ---- making one

Result<Filter::Spec> check(const wire::FilterT& filter) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(wire::Filter::Pack(builder, &filter));
  return Filter::check(flatbuffers::GetRoot<wire::Filter>(builder.GetBufferPointer()));
}

Code code_of(const wire::FilterT& filter) {
  const auto spec = check(filter);
  return spec ? Code::ok : spec.error().code;
}

TEST(FilterCheck, TakesNoFilterForOneThatNamesNothing) { EXPECT_TRUE(Filter::check(nullptr)->empty()); }

TEST(FilterCheck, SortsAndDropsWhatIsSaidTwice) {
  wire::FilterT filter;
  filter.patterns = {"b", "a", "b"};
  EXPECT_EQ(check(filter)->patterns, (std::vector<std::string>{"a", "b"}));
}

TEST(FilterCheck, LimitsEveryList) {
  for (const auto list : {&wire::FilterT::patterns, &wire::FilterT::types, &wire::FilterT::keys}) {
    wire::FilterT filter;
    (filter.*list).assign(limits::filter_entries_max, "a");
    EXPECT_EQ(code_of(filter), Code::ok);
    (filter.*list).push_back("a");
    EXPECT_EQ(code_of(filter), Code::bad_filter);
  }
}

TEST(FilterCheck, LimitsEveryText) {
  for (const auto list : {&wire::FilterT::types, &wire::FilterT::keys}) {
    wire::FilterT filter;
    filter.*list = {std::string(255, 'a')};
    EXPECT_EQ(code_of(filter), Code::ok);
    filter.*list = {std::string(256, 'a')};
    EXPECT_EQ(code_of(filter), Code::bad_filter);
    filter.*list = {""};
    EXPECT_EQ(code_of(filter), Code::bad_filter);
  }
}

TEST(FilterCheck, LimitsAttributesAndPriorities) {
  wire::FilterT filter;
  const auto add = [&](const std::string& name, std::vector<std::string> values) {
    filter.attributes.push_back(std::make_unique<wire::AttributeFilterT>());
    filter.attributes.back()->name = name;
    filter.attributes.back()->values = std::move(values);
  };
  for (std::size_t at = 0; at < limits::filter_attributes_max; ++at) add("a" + std::to_string(at), {});
  EXPECT_EQ(code_of(filter), Code::ok);
  add("one more", {});
  EXPECT_EQ(code_of(filter), Code::bad_filter);
  const auto code_of_one = [&](const std::string& name, std::vector<std::string> values) {
    filter = {};
    add(name, std::move(values));
    return code_of(filter);
  };
  EXPECT_EQ(code_of_one("", {}), Code::bad_filter);
  EXPECT_EQ(code_of_one(std::string(255, 'n'), {std::string(255, 'v')}), Code::ok);
  EXPECT_EQ(code_of_one(std::string(256, 'n'), {}), Code::bad_filter);
  EXPECT_EQ(code_of_one("n", {std::string(256, 'v')}), Code::bad_filter);
  EXPECT_EQ(code_of_one("n", std::vector<std::string>(limits::filter_entries_max, "v")), Code::ok);
  EXPECT_EQ(code_of_one("n", std::vector<std::string>(limits::filter_entries_max + 1, "v")), Code::bad_filter);
  add("n", {});
  EXPECT_EQ(code_of(filter), Code::bad_filter) << "named twice";
  filter = {};
  filter.priorities = {wire::Priority::low, static_cast<wire::Priority>(3)};
  EXPECT_EQ(code_of(filter), Code::bad_filter);
}

TEST(FilterCheck, RefusesBadPatternsAndRanges) {
  wire::FilterT filter;
  filter.patterns = {"a", "a..b"};
  EXPECT_EQ(code_of(filter), Code::bad_pattern);
  filter = {};
  filter.time_from = filter.time_to = 5;
  EXPECT_EQ(code_of(filter), Code::ok);
  filter.time_to = 4;
  EXPECT_EQ(code_of(filter), Code::bad_filter);
}

}  // namespace
}  // namespace bus::broker
