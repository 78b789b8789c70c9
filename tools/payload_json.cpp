#include "tools/payload_json.hpp"

#include "tools/json_to_payload.hpp"
#include "tools/payload_schema.hpp"
#include "tools/payload_to_json.hpp"

namespace bus::tools {

Result<PayloadJson> PayloadJson::open(Bytes bfbs, std::string_view type) {
  auto schema = PayloadSchema::open(bfbs, type);
  if (!schema) return schema.error();
  return PayloadJson(std::make_shared<const PayloadSchema>(*std::move(schema)));
}

Result<std::vector<std::uint8_t>> PayloadJson::encode(std::string_view json) const {
  return json_to_payload(*schema_, json);
}

Result<std::string> PayloadJson::decode(Bytes payload) const {
  Buffer aligned;
  if (reinterpret_cast<std::uintptr_t>(payload.data()) % 8 != 0) {
    aligned.assign(payload.begin(), payload.end());
    payload = aligned;
  }
  if (!schema_->verify(payload)) {
    return Error{Code::bad_payload, "the bytes do not verify as " + schema_->root().name};
  }
  return payload_to_json(*schema_, payload);
}

}  // namespace bus::tools
