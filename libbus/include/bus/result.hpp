// What a call can end in: a value, or an Error with a documented code.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

#include "bus/codes_generated.h"

// What libbus.so offers; everything else in it is hidden.
#define BUS_API __attribute__((visibility("default")))

namespace bus {

// An expected outcome that is not success. `code` is one of schemas/codes.fbs, `detail` is for people and
// names what, where and what to do.
struct Error {
  Code code = Code::ok;
  std::string detail;
  std::uint64_t version = 0;  // conflict of a condition: what the key is at
};

// "code_name: detail", as every tool prints it.
BUS_API std::string describe(const Error& error);

// True if a publish that was answered with this code stored nothing: the event was refused for good, or (busy,
// bad_argument) not taken. With any other error it may be stored or not; publishing it again under the same sequence
// (publish_at) stores it once.
BUS_API bool is_refusal(Code code);

// Thrown by Result::value() only, for those who prefer exceptions.
class BUS_API Failed : public std::runtime_error {
 public:
  explicit Failed(Error error) : std::runtime_error(describe(error)), error_(std::move(error)) {}
  const Error& error() const { return error_; }

 private:
  Error error_;
};

// Either a T or an Error; must not be ignored.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // The value; throws Failed if there is none.
  T& value() & { return check(), std::get<0>(state_); }
  const T& value() const& { return check(), std::get<0>(state_); }
  T&& value() && { return check(), std::get<0>(std::move(state_)); }

  // The value; only after ok().
  T& operator*() { return *std::get_if<0>(&state_); }
  const T& operator*() const { return *std::get_if<0>(&state_); }
  T* operator->() { return std::get_if<0>(&state_); }
  const T* operator->() const { return std::get_if<0>(&state_); }

  // The error; only after !ok().
  const Error& error() const { return *std::get_if<1>(&state_); }

 private:
  void check() const {
    if (!ok()) throw Failed(error());
  }
  std::variant<T, Error> state_;
};

// One pointer, since most are ok and every event passes through several.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(error.code == Code::ok ? nullptr : std::make_unique<Error>(std::move(error))) {}
  // No move: what is left of an error that was moved away would say ok.
  Result(const Result& other) : error_(other.error_ ? std::make_unique<Error>(*other.error_) : nullptr) {}
  Result& operator=(const Result& other) {
    if (this != &other) error_ = other.error_ ? std::make_unique<Error>(*other.error_) : nullptr;
    return *this;
  }

  bool ok() const { return error_ == nullptr; }
  explicit operator bool() const { return ok(); }
  void value() const {
    if (!ok()) throw Failed(*error_);
  }
  // The error; code ok if there is none.
  const Error& error() const {
    static const Error none;
    return error_ ? *error_ : none;
  }

 private:
  std::unique_ptr<Error> error_;
};

}  // namespace bus
