// Which events of a log belong to the conversation of one of them, and how they caused each other. Pure: whoever reads the log
// hands its events over.
//
//   Conversation: one pass over the log ──> positions ──> Nodes, read from there ──> tree_of(): lines
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/types.hpp"

namespace bus::tools {

// When an id was made, if it is a UUID of version 7, as libbus makes them.
std::optional<WallTime> time_in_id(std::string_view id);

// What an event says of its place in a conversation.
struct Ties {
  std::string_view id, cause, correlation;
  Position position = Position::none;
};

// Conversation gathers the events of one conversation while the log is read: those with the correlation id of the named event, or,
// if that has none, those that are linked with it by their causes, over any number of steps. Of an event that may belong to it it
// keeps 32 bytes.
class Conversation {
 public:
  struct Limits {
    std::size_t events = 10'000;         // of the conversation
    std::size_t links = 2'000'000;       // that may belong to it
  };
  // Of the event with that id, which take() finds, the first one in the order of the calls.
  Conversation(std::string id, Limits limits) : id_(std::move(id)), limits_(limits) {}
  // Of that event.
  Conversation(const Ties& named, Limits limits) : id_(named.id), limits_(limits) { found(named); }

  void take(const Ties& event);
  Position named() const { return named_; }  // none: not found yet
  // Begins anew, with all that is known of the named event.
  void forget();

  // More events might belong to it before the named one was found than could be kept: forget(), and read the log again.
  bool has_missed() const { return has_missed_; }
  // True once as many belong to it, or may, as can be kept: the rest need not be read.
  bool is_full() const { return has_all_events_ || has_all_links_; }
  bool has_too_many_links() const { return has_all_links_; }
  // The events that belong to it, in order. If there are more than may be, is_full() from then on.
  std::vector<Position> events();

 private:
  struct Link {
    std::uint64_t id, cause, correlation;  // hashes; cause 0: none
    Position position;
  };
  void found(const Ties& named);
  void keep(const Ties& event);
  void follow_causes();

  std::string id_, correlation_;
  Limits limits_;
  Position named_ = Position::none;
  std::vector<Link> links_;                // candidates, of which with a correlation id all belong to it
  bool has_missed_ = false, has_all_events_ = false, has_all_links_ = false;
};

// An event of the tree.
struct Node {
  Position position = Position::none;
  WallTime time;
  std::string id, cause, correlation, topic, type, key;
  bool is_outside = false;                 // of another conversation, and here as a cause only
};

struct TreeLine {
  enum class Cause { none, parent, missing, cycle, not_followed };
  const Node* node = nullptr;              // nullptr: the place of a cause that is not there
  const Node* parent = nullptr;
  std::string_view missing;                // then its id
  Cause cause = Cause::none;
  std::size_t depth = 0;
  bool is_last = true;                     // of those below the same line
};

// The events below their causes, each once, causes and effects in the order of the log. Those whose cause is not there are below a
// line that stands for it. A circle of causes begins with its first event. Of several events with the same id the first one is the
// cause. Sorts the nodes, which the lines point to.
std::vector<TreeLine> tree_of(std::vector<Node>& nodes);

}  // namespace bus::tools
