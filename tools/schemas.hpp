// Schemas knows the event types as the broker does, and turns payloads into JSON and back with what it says of them.
// Each schema is asked for once. One thread at a time.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "bus/client.hpp"
#include "tools/output.hpp"
#include "tools/payload_json.hpp"

namespace bus::tools {

class Schemas {
 public:
  // The client lives longer.
  explicit Schemas(Client& client) : client_(client) {}

  // The full name of a type that may be given by its last name, "HealthDataUpdate", if only one type has it.
  // Errors: unknown_type (the detail names those that are near), bad_argument (several have it), those of requests.
  Result<std::string> full_name(const std::string& type);

  // Errors: unknown_type, those of requests.
  Result<PayloadJson> of(const std::string& type);

  // The event that event_to_json() wrote as one line, with its payload encoded. Errors: bad_event, bad_payload, and of of().
  Result<NewEvent> event_of(std::string_view json);

  // The payload as one line of JSON; `null`, with a warning for each type, if the broker has no schema for it any more.
  std::string text_of(const Event& event);
  // The whole event, as the format wants it.
  void print(Items& items, const Event& event);

 private:
  Result<PayloadJson> fetch(const std::string& type);

  Client& client_;
  std::map<std::string, Result<PayloadJson>, std::less<>> known_;
};

}  // namespace bus::tools
