// GroupDisk is what is on disk of one group in the model test: journals, and the rows of checkpoints that are written in parts.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/model/group_log.hpp"

namespace bus::broker {

class GroupDisk {
 public:
  void commit(ConsumerGroup& group) { journals_.push_back(group.take_journal()); }
  // After commit(): begins a checkpoint, or goes on with one, by so many chunks. They are saved as they are by then, and the
  // journals from before its beginning are needed until it ends.
  void save(ConsumerGroup& group, std::size_t chunks) {
    if (to_save_.empty()) {
      head_ = group.head();
      to_save_ = group.take_changed_chunks();
      kept_from_ = journals_.size();
    }
    for (; chunks > 0 && !to_save_.empty(); --chunks) {
      const auto number = to_save_.back();
      to_save_.pop_back();
      const auto chunk = group.save_chunk(number);
      if (chunk.empty()) {
        chunks_.erase(number);
      } else {
        chunks_[number] = chunk;
      }
    }
    if (!to_save_.empty()) return;
    journals_.erase(journals_.begin(), journals_.begin() + static_cast<std::ptrdiff_t>(kept_from_));
    kept_from_ = 0;
  }
  // What the next broker finds; nothing if it cannot be read.
  std::optional<ConsumerGroup> restore(const GroupSettings& settings, const Lines& lines, Now now) {
    to_save_.clear();
    kept_from_ = 0;
    auto group = ConsumerGroup::restore(settings, head_);
    if (!group) return std::nullopt;
    for (const auto& [chunk, bytes] : chunks_) {
      if (!group->restore_chunk(chunk, bytes, now)) return std::nullopt;
    }
    for (const auto& [position, line] : lines) {
      if (line.place == Line::Place::parked || line.place == Line::Place::stopped) group->restore_letter(Position{position}, line.attempt);
    }
    for (const auto& journal : journals_) {
      if (!group->apply_journal(journal, now)) return std::nullopt;
    }
    group->recovered();
    return group;
  }

 private:
  std::string head_;
  std::map<std::uint64_t, std::string> chunks_;
  std::vector<std::string> journals_;
  std::vector<std::uint64_t> to_save_;                    // chunks of the checkpoint under way
  std::size_t kept_from_ = 0;                             // and the journals that it makes superfluous
};

}  // namespace bus::broker
