// Answers sends what becomes of a request to the one who asked, and keeps count of those unanswered. Owned by the core; one
// thread.
#pragma once

#include <string>
#include <utility>

#include "broker/core/sessions.hpp"
#include "wire/message.hpp"

namespace bus::broker {

// Who asked, and under which number.
struct Asker {
  SessionId session;
  std::uint64_t request;
};

// Of a key that somebody asks for. Error: bad_key.
inline Result<void> check_key(const flatbuffers::String* key) {
  if (key != nullptr && key->size() > 0 && key->size() <= limits::key_bytes_max) return {};
  return Error{Code::bad_key, "a key has 1 to " + std::to_string(limits::key_bytes_max) + " bytes"};
}

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
