// What tests say about a Result: EXPECT_TRUE(is_ok(store->commit(batch))), EXPECT_TRUE(fails(opened, Code::locked)).
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "bus/result.hpp"

namespace bus::testing {

template <typename T>
::testing::AssertionResult is_ok(const Result<T>& result) {
  if (result.ok()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << describe(result.error());
}

// `part` must be in the detail: people read it.
template <typename T>
::testing::AssertionResult fails(const Result<T>& result, Code code, const std::string& part = "") {
  if (result.ok()) return ::testing::AssertionFailure() << "it succeeded";
  const bool named = result.error().detail.find(part) != std::string::npos;
  if (result.error().code == code && named) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << describe(result.error());
}

}  // namespace bus::testing
