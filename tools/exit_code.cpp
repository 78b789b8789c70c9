#include "tools/exit_code.hpp"

namespace bus::tools {

Exit exit_for(Code code) {
  switch (code) {
    case Code::ok: return Exit::ok;

    case Code::bad_argument:
    case Code::bad_filter:
    case Code::bad_group:
    case Code::bad_pattern:
    case Code::bad_publisher:
    case Code::bad_settings: return Exit::usage;

    case Code::beyond_end:
    case Code::not_found:
    case Code::trimmed:
    case Code::unknown_group:
    case Code::unknown_topic:
    case Code::unknown_type: return Exit::not_found;

    case Code::conflict:
    case Code::group_busy:
    case Code::group_exists:
    case Code::group_mismatch:
    case Code::group_removed:
    case Code::incompatible_schema:
    case Code::log_changed:
    case Code::not_delivered:
    case Code::not_scheduled:
    case Code::publisher_fenced:
    case Code::stale_ack: return Exit::conflict;

    case Code::denied: return Exit::denied;

    case Code::busy:
    case Code::closed:
    case Code::disconnected:
    case Code::locked:
    case Code::log_full:
    case Code::shutting_down:
    case Code::timed_out:
    case Code::too_many_groups:
    case Code::too_many_publishers:
    case Code::too_many_sessions:
    case Code::too_many_subscriptions:
    case Code::too_many_topics:
    case Code::unknown_session: return Exit::unavailable;

    default: return Exit::failed;
  }
}

}  // namespace bus::tools
