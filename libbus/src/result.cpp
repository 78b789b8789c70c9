#include "bus/result.hpp"

namespace bus {

std::string describe(const Error& error) {
  std::string text = EnumNameCode(error.code);
  if (text.empty()) text = "code " + std::to_string(static_cast<unsigned>(error.code));
  return error.detail.empty() ? text : text + ": " + error.detail;
}

bool is_refusal(Code code) {
  switch (code) {
    case Code::bad_event:
    case Code::bad_topic:
    case Code::bad_key:
    case Code::unknown_type:
    case Code::bad_payload:
    case Code::event_too_large:
    case Code::too_many_topics:
    case Code::unknown_topic:
    case Code::type_not_admitted:
    case Code::refused_before:
    case Code::schedule_full:
    case Code::step_refused:
    case Code::stale_ack:
    case Code::not_delivered:
    case Code::not_scheduled:
    case Code::unknown_subscription:
    case Code::conflict:
    case Code::damaged:
    case Code::busy:
    case Code::bad_argument: return true;
    default: return false;
  }
}

}  // namespace bus
