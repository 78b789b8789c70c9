// Goal: a typed value is what it was made of, and is never read as something that it is not.
// Method: values of a built-in type, whole, of another type, and cut off.
#include <gtest/gtest.h>

#include "bus/saga.hpp"
#include "bus/suoke_health_generated.h"

namespace bus::saga {
namespace {

using ::suoke::health::HealthDataUpdate;
using ::suoke::health::HealthDataUpdateT;

Value steps_of_a_day() {
  HealthDataUpdateT update;
  update.record_id = "r-1";
  update.user_id = "user-7";
  update.value = std::make_unique<::suoke::health::ValueT>();
  update.value->number = 4200;
  return Value::of(update);
}

TEST(Value, IsWhatItWasMadeOf) {
  const auto value = steps_of_a_day();
  EXPECT_EQ(value.type, "suoke.health.HealthDataUpdate");
  EXPECT_EQ(value.text, "");
  const auto update = value.as<HealthDataUpdate>();
  ASSERT_TRUE(update) << describe(update.error());
  EXPECT_EQ((*update)->user_id()->string_view(), "user-7");
  EXPECT_EQ((*update)->value()->number(), 4200);
}

TEST(Value, IsNotReadAsAnotherType) {
  auto value = steps_of_a_day();
  value.type = "clinic.Visit";
  const auto refused = value.as<HealthDataUpdate>();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::bad_payload);
  EXPECT_NE(refused.error().detail.find("clinic.Visit"), std::string::npos) << refused.error().detail;
  EXPECT_EQ(Value().as<HealthDataUpdate>().error().code, Code::bad_payload);
}

// They come from whoever published the event that they are in.
TEST(Value, IsNotReadWhereItsBytesAreNone) {
  const auto whole = steps_of_a_day();
  for (std::size_t length = 0; length < whole.bytes.size() / 2; ++length) {
    auto cut = whole;
    cut.bytes.resize(length);
    EXPECT_EQ(cut.as<HealthDataUpdate>().error().code, Code::bad_payload) << length;
  }
  auto wild = whole;
  std::fill(wild.bytes.begin(), wild.bytes.begin() + 4, std::uint8_t{0xff});
  EXPECT_EQ(wild.as<HealthDataUpdate>().error().code, Code::bad_payload);
}

}  // namespace
}  // namespace bus::saga
