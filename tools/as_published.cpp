#include "tools/as_published.hpp"

namespace bus::tools {

NewEvent as_published(const Event& event) {
  NewEvent out;
  out.topic = event.topic();
  out.type = event.type();
  out.key = event.key();
  out.payload.assign(event.payload().begin(), event.payload().end());
  out.id = event.id();
  out.source = event.source().empty() ? event.publisher() : event.source();
  out.subject = event.subject();
  out.time = event.time();
  out.priority = event.priority();
  out.correlation_id = event.correlation_id();
  out.causation_id = event.causation_id();
  out.traceparent = event.traceparent();
  out.dataschema = event.dataschema();
  for (const auto& [name, value] : event.attributes()) out.attributes.emplace_back(name, value);
  out.deliver_at = event.deliver_at();
  out.expires_at = event.expires_at();
  return out;
}

}  // namespace bus::tools
