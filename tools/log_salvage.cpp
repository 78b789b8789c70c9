#include "tools/log_salvage.hpp"

#include <flatbuffers/flatbuffers.h>

#include "broker/store/salvage.hpp"
#include "bus/event.hpp"
#include "tools/cli.hpp"
#include "tools/progress.hpp"

namespace bus::tools {

Salvaged salvage(const std::filesystem::path& from, const std::filesystem::path& to) {
  Progress progress("salvaged MiB", 1000);
  store::SalvageOptions options{from, to, {}, {}};
  options.now = wall_now();
  options.names_of = [](std::span<const std::uint8_t> body) {
    // What lay in a broken file may be anything, even with a right checksum.
    flatbuffers::Verifier verifier(body.data(), body.size());
    if (!verifier.VerifySizePrefixedBuffer<wire::Event>(nullptr)) return store::EventNames();
    const Event event({}, nullptr, body);
    return store::EventNames{std::string(event.topic()), std::string(event.type())};
  };
  options.progress = [&](std::uint64_t done, std::uint64_t total) { progress.update(total == 0 ? 1000 : done * 1000 / total, done >> 20); };
  auto report = store::salvage(options).value();
  progress.clear();
  Salvaged salvaged{report.records, report.events, {report.last, report.chain}, {}, std::move(report.faults), std::move(report.notes)};
  for (const auto& range : report.lost) salvaged.lost.emplace_back(range.first, range.last);
  return salvaged;
}

}  // namespace bus::tools
