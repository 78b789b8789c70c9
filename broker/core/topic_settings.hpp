// What operators say of topics: description, properties, and which types they admit; and whether a topic is there at all. Owned by
// the core; docs/STORAGE.md says how the rows look.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "broker/core/state.hpp"

namespace bus::broker {

struct TopicSettings {
  std::string description;
  std::map<std::string, std::string> properties;
  std::vector<std::string> types;        // admitted, in order; none: all
  WallTime created_at;                   // by request
  std::uint32_t revision = 0;            // counts the changes
  bool removed = false;                  // the topic has had events, and is there only if it has some again

  // Errors: bad_settings.
  Result<void> check() const;
  bool admits(std::string_view type) const;
  // Of its row.
  std::size_t bytes() const;
};

class TopicTable {
 public:
  // `auto_create`: a topic that is published to is there.
  TopicTable(const State& state, bool auto_create) : state_(state), auto_create_(auto_create) {}

  // Recovery. Error damaged.
  Result<void> restore_row(std::string_view topic, std::string_view value);
  // The row is for the next commit.
  store::Row put(const std::string& topic, TopicSettings settings);
  store::Row erase(const std::string& topic);

  // As it was put, also if it is removed; null: it has no settings.
  const TopicSettings* find(std::string_view topic) const;
  // It was created, or has had events; one that was removed: it has some.
  bool exists(std::string_view topic) const;
  // May an event of this type be published to the topic? `number` is the topic's, 0: it has none yet. Errors: unknown_topic,
  // type_not_admitted.
  Result<void> admit(std::uint32_t number, std::string_view topic, std::string_view type);

  bool auto_create() const { return auto_create_; }
  const std::map<std::string, TopicSettings, std::less<>>& all() const { return settings_; }
  // Of those that are not removed.
  std::size_t count() const { return count_; }
  // Of all settings, as their rows have them.
  std::size_t bytes() const { return bytes_; }

 private:
  void add(const std::string& topic, TopicSettings settings, std::size_t bytes);
  void take_out(std::string_view topic);
  const TopicSettings* of(std::uint32_t number, std::string_view topic);

  const State& state_;
  bool auto_create_;
  std::map<std::string, TopicSettings, std::less<>> settings_;
  std::size_t count_ = 0, bytes_ = 0;
  // By number, as they are asked for.
  struct Known {
    bool looked_up = false;
    const TopicSettings* settings = nullptr;
  };
  std::vector<Known> known_;
};

}  // namespace bus::broker
