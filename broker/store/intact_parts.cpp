#include "broker/store/intact_parts.hpp"

namespace bus::store {

std::vector<RecordPtr> intact_parts(const Record& record) {
  std::vector<RecordPtr> parts;
  std::uint64_t chain = record.chain_before();
  RecordBuilder builder;
  RecordBuilder::Seal seal{};
  const auto end = [&] {
    if (!builder.empty()) parts.push_back(builder.seal(seal));
  };
  for (std::uint32_t at = 0; at < record.count(); ++at) {
    const Position position = record.first() + at;
    if (record.body_intact(at)) {
      Entry entry = record.entry(at);
      const bool is_scheduled = (entry.flags & format::scheduled) != 0;
      if (builder.empty()) {
        seal = {record.log_id(), position, record.committed_at(), chain, record.batch()};
        if (record.run_of(at).first_index != at && !is_scheduled) entry.publisher_previous = position - 1;
      }
      builder.append(entry, record.body(at));
    } else {
      end();
    }
    chain = chain_fold(chain, number(position), record.event_checksum(at));
  }
  end();
  return parts;
}

}  // namespace bus::store
