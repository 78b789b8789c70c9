#include "tools/event_export.hpp"

#include "tools/cli.hpp"
#include "tools/interrupts.hpp"
#include "tools/position.hpp"
#include "tools/progress.hpp"

namespace bus::tools {

EventExport::EventExport(Client& client, std::function<void(std::string_view)> write)
    : client_(client), write_(std::move(write)), registry_(fetch_registry(client)) {
  for (const auto& [type, versions] : registry_.versions()) waiting_.insert(type);
}

void EventExport::write_line(std::string line) {
  line += '\n';
  hash_.add(line);
  write_(line);
}

void EventExport::write_schema() {
  const auto& schema = registry_.schemas.at(next_++);
  for (const auto& [type, version] : schema.types) {
    payloads_.insert_or_assign(type, PayloadJson::open(schema.bfbs, type));
    waiting_.erase(type);
  }
  write_line(export_line(schema));
  ++summary_.schemas;
}

// Those that were there when the broker verified it; and one of its type in any case, should the clock have been set back.
void EventExport::write_schemas_before(const Event& event) {
  while (next_ < registry_.schemas.size() && (registry_.schemas[next_].added_at <= nanoseconds(event.committed_at()) || waiting_.contains(event.type()))) write_schema();
}

void EventExport::write_event(const Event& event) {
  const auto schema = payloads_.find(event.type());
  const auto payload = schema != payloads_.end() && schema->second ? schema->second->decode(event.payload()) : Error{Code::unknown_type, ""};
  write_line(export_line(event, payload ? *payload : "null"));
  if (++summary_.events == 1) summary_.first = event.position();
  summary_.last = event.position();
}

void EventExport::write_events(const ReplayOptions& range, std::uint64_t count) {
  const auto end = range.to.kind == wire::Start::position ? static_cast<std::uint64_t>(range.to.value) : number(client_.server().committed);
  auto events = client_.replay(range);
  std::optional<Progress> progress;
  std::uint64_t before = 0;              // the first event
  while (count == 0 || summary_.events < count) {
    if (interrupted() != 0) fail(Code::closed, "interrupted: the export is not whole");
    const auto event = events.read().value();
    if (!event) break;
    const auto at = number(event->position());
    if (!progress) {
      before = at - 1;
      progress.emplace("exported", std::max(at, end) - before);
    }
    write_schemas_before(*event);
    write_event(*event);
    progress->update(at - before, summary_.events);
  }
  summary_.trimmed = events.trimmed();
}

EventExport::Summary EventExport::run(const ReplayOptions& range, std::uint64_t count) {
  write_line(export_head({hexadecimal(client_.server().log_id), client_.server().version, wall_now()}));
  write_events(range, count);
  while (next_ < registry_.schemas.size()) write_schema();
  for (const auto& type : registry_.types) write_line(export_line(type));
  write_(export_line(ExportEnd{summary_.events, summary_.schemas, hash_.digits()}) + "\n");
  return summary_;
}

}  // namespace bus::tools
