#include "tools/log_repair.hpp"

#include "broker/store/repair.hpp"
#include "tools/progress.hpp"

namespace bus::tools {

Repaired repair(const RepairPlan& plan) {
  Progress progress("looked at", 1000);
  store::RepairOptions options;
  options.dir = plan.dir;
  options.aside = plan.aside;
  options.dry_run = plan.dry_run;
  options.progress = [&](Position done, Position last) { progress.update(last == Position::none ? 1000 : number(done) * 1000 / number(last), number(done)); };
  auto report = store::repair(options).value();
  progress.clear();
  Repaired repaired{report.last, {}, std::move(report.notes), {}};
  for (auto& damage : report.damages) {
    RepairedPlace place{damage.first, damage.last, damage.kept, {}, std::move(damage.topics), std::move(damage.what), std::move(damage.file)};
    for (const auto& range : damage.lost) place.lost.emplace_back(range.first, range.last);
    repaired.places.push_back(std::move(place));
  }
  for (auto& fault : report.left) repaired.left.push_back({fault.position, std::move(fault.what)});
  return repaired;
}

}  // namespace bus::tools
