// DurableAnswers sends answers that may rest on what is staged: each leaves once everything that was staged before it is durable, so
// that no crash takes back what somebody was told. Owned by the core; one thread.
#pragma once

#include <memory>
#include <utility>

#include "broker/core/answers.hpp"
#include "broker/core/staging.hpp"

namespace bus::broker {

class DurableAnswers {
 public:
  DurableAnswers(Staging& staging, Answers& answers) : staging_(staging), answers_(answers) {}

  template <typename T>
  void answer(Asker to, T answer) {
    staging_.when_durable([this, to, held = std::make_shared<T>(std::move(answer))] { answers_.answer(to, std::move(*held)); });
  }
  void refuse(Asker to, const Error& error) {
    staging_.when_durable([this, to, error] { answers_.refuse(to, error); });
  }

 private:
  Staging& staging_;
  Answers& answers_;
};

}  // namespace bus::broker
