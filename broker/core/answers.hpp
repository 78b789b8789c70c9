// Answers sends what becomes of a request to the one who asked, and keeps count of those unanswered. Owned by the core; one
// thread.
#pragma once

#include <utility>

#include "broker/core/sessions.hpp"
#include "wire/message.hpp"

namespace bus::broker {

// Who asked, and under which number.
struct Asker {
  SessionId session;
  std::uint64_t request;
};

class Answers {
 public:
  explicit Answers(Sessions& sessions) : sessions_(sessions) {}

  template <typename T>
  void answer(Asker to, T answer, Frame body = {}) {
    settle(to);
    wire::ReplyT reply;
    reply.request = to.request;
    reply.answer.Set(std::move(answer));
    sessions_.send(to.session, Frame::of(wire::encode(reply)), std::move(body));
  }
  void refuse(Asker to, const Error& error) {
    settle(to);
    sessions_.send(to.session, wire::encode_failure(error, to.request));
  }

 private:
  void settle(Asker to) {
    if (Session* session = sessions_.find(to.session)) --session->requests;
  }

  Sessions& sessions_;
};

}  // namespace bus::broker
