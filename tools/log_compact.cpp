#include "tools/log_compact.hpp"

#include "broker/store/compact.hpp"
#include "tools/exit_code.hpp"
#include "tools/progress.hpp"

namespace bus::tools {

CompactedLog compact(const std::filesystem::path& dir) {
  constexpr std::uint64_t steps = 1000;
  Progress progress("bytes copied", steps);
  const auto done = store::write_compacted(dir, [&](store::CompactProgress at) { progress.update(at.most == 0 ? 0 : at.done * steps / at.most, at.done); }).value();
  progress.clear();
  return {done.log_bytes, done.bytes};
}

bool discard_compacted(const std::filesystem::path& dir) { return store::discard_compacted(dir).value(); }

}  // namespace bus::tools
