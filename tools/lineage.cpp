#include "tools/lineage.hpp"

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <numeric>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace bus::tools {

namespace {

// 0 stands for no text.
std::uint64_t hash_of(std::string_view text) { return text.empty() ? 0 : std::max<std::uint64_t>(1, std::hash<std::string_view>()(text)); }

}  // namespace

std::optional<WallTime> time_in_id(std::string_view id) {
  if (id.size() != 36 || id[8] != '-' || id[13] != '-' || id[14] != '7') return {};
  const auto digits = std::string(id.substr(0, 8)) + std::string(id.substr(9, 4));
  std::uint64_t milliseconds = 0;
  const auto [after, error] = std::from_chars(digits.data(), digits.data() + digits.size(), milliseconds, 16);
  // Beyond that nanoseconds do not fit into 63 bits.
  if (error != std::errc{} || after != digits.data() + digits.size() || milliseconds > INT64_MAX / 1'000'000) return {};
  return wall_time(static_cast<std::int64_t>(milliseconds) * 1'000'000);
}

// ---- Conversation

void Conversation::found(const Ties& named) {
  named_ = named.position;
  correlation_ = named.correlation;
  const auto correlation = hash_of(correlation_);
  std::erase_if(links_, [&](const Link& link) { return correlation != 0 ? link.correlation != correlation : link.cause == 0; });
  // It belongs to its conversation, whatever it says.
  links_.push_back({hash_of(named.id), hash_of(named.cause), correlation, named.position});
}

void Conversation::keep(const Ties& event) {
  const bool is_known = named_ != Position::none, is_certain = is_known && !correlation_.empty();
  if (links_.size() >= (is_certain ? limits_.events : limits_.links)) {
    (is_certain ? has_all_events_ : is_known ? has_all_links_ : has_missed_) = true;
    return;
  }
  links_.push_back({hash_of(event.id), hash_of(event.cause), hash_of(event.correlation), event.position});
}

void Conversation::take(const Ties& event) {
  if (event.position == named_) return;
  if (named_ == Position::none) {
    if (event.id == id_) return found(event);
    if (!event.cause.empty() || !event.correlation.empty()) keep(event);
    return;
  }
  if (correlation_.empty() ? !event.cause.empty() : event.correlation == correlation_) keep(event);
}

void Conversation::forget() {
  std::erase_if(links_, [this](const Link& link) { return link.position != named_; });
  has_missed_ = has_all_events_ = has_all_links_ = false;
}

// Leaves the links that lead to the first cause of the named event, or from there to any other. There may be millions: they are
// sorted, which takes less memory than a map of them.
void Conversation::follow_causes() {
  std::vector<std::uint32_t> by_id(links_.size());
  std::iota(by_id.begin(), by_id.end(), 0u);
  std::sort(links_.begin(), links_.end(), [](const Link& a, const Link& b) { return std::pair(a.cause, a.position) < std::pair(b.cause, b.position); });
  const auto id_at = [this](std::uint32_t at) { return links_[at].id; };
  const auto place_at = [this](std::uint32_t at) { return std::pair(links_[at].id, links_[at].position); };
  std::ranges::sort(by_id, {}, place_at);
  const auto with_id = [&](std::uint64_t id) { return std::ranges::equal_range(by_id, id, {}, id_at); };

  auto first = hash_of(id_);
  std::unordered_set<std::uint64_t> passed{first};
  for (auto found = with_id(first); !found.empty(); found = with_id(first)) {
    const auto cause = links_[found.front()].cause;
    if (cause == 0 || !passed.insert(cause).second) break;
    first = cause;
  }
  std::set<Position> linked{named_};
  for (const auto at : with_id(first)) linked.insert(links_[at].position);
  std::unordered_set<std::uint64_t> followed{first};
  for (std::vector<std::uint64_t> causes{first}; !causes.empty() && !has_all_events_;) {
    const auto effects = std::ranges::equal_range(links_, causes.back(), {}, &Link::cause);
    causes.pop_back();
    for (const Link& effect : effects) {
      has_all_events_ = linked.size() >= limits_.events && !linked.contains(effect.position);
      if (has_all_events_) break;
      linked.insert(effect.position);
      if (followed.insert(effect.id).second) causes.push_back(effect.id);
    }
  }
  std::erase_if(links_, [&linked](const Link& link) { return !linked.contains(link.position); });
}

std::vector<Position> Conversation::events() {
  if (correlation_.empty()) follow_causes();
  std::vector<Position> positions;
  for (const Link& link : links_) positions.push_back(link.position);
  std::sort(positions.begin(), positions.end());
  // The log may have been full of candidates when the named event was found.
  if (positions.size() > limits_.events) {
    has_all_events_ = true;
    positions.resize(limits_.events);
    if (positions.back() < named_) positions.back() = named_;
  }
  return positions;
}

// ---- the tree

namespace {

class Tree {
 public:
  explicit Tree(std::vector<Node>& nodes) : nodes_(nodes), parent_(nodes.size()), children_(nodes.size()), is_placed_(nodes.size()) {
    std::sort(nodes.begin(), nodes.end(), [](const Node& a, const Node& b) { return a.position < b.position; });
  }

  std::vector<TreeLine> lines() {
    link();
    // What none of these leads to is a circle, or hangs below one.
    for (const auto& top : tops_) {
      for (const auto at : top.second.nodes) mark_placed(at);
    }
    for (std::size_t at = 0; at < nodes_.size(); ++at) {
      if (is_placed_[at]) continue;
      const auto first = first_of_circle(at);
      tops_[first] = {TreeLine::Cause::cycle, {}, {first}};
      mark_placed(first);
    }
    is_placed_.assign(nodes_.size(), false);
    for (const auto& [first, top] : tops_) add(top);
    return std::move(lines_);
  }

 private:
  // An event without a cause above it, or those that share a cause that is not there.
  struct Top {
    TreeLine::Cause cause = TreeLine::Cause::none;
    std::string_view missing;
    std::vector<std::size_t> nodes;
  };

  void link() {
    std::unordered_map<std::string_view, std::size_t> by_id, missing;
    for (std::size_t at = 0; at < nodes_.size(); ++at) by_id.emplace(nodes_[at].id, at);
    for (std::size_t at = 0; at < nodes_.size(); ++at) {
      const Node& node = nodes_[at];
      if (node.cause.empty() || node.is_outside) {
        tops_[at] = {node.cause.empty() ? TreeLine::Cause::none : TreeLine::Cause::not_followed, {}, {at}};
      } else if (const auto cause = by_id.find(node.cause); cause != by_id.end()) {
        parent_[at] = cause->second;
        children_[cause->second].push_back(at);
      } else {
        Top& top = tops_[missing.emplace(node.cause, at).first->second];
        top.cause = TreeLine::Cause::missing;
        top.missing = node.cause;
        top.nodes.push_back(at);
      }
    }
  }

  // Of the circle to which the causes of an event lead.
  std::size_t first_of_circle(std::size_t at) const {
    std::unordered_set<std::size_t> passed;
    while (passed.insert(at).second) at = parent_[at];
    auto first = at;
    for (auto next = parent_[at]; next != at; next = parent_[next]) first = std::min(first, next);
    return first;
  }

  void mark_placed(std::size_t first) {
    std::vector<std::size_t> open{first};
    while (!open.empty()) {
      const auto at = open.back();
      open.pop_back();
      if (is_placed_[at]) continue;
      is_placed_[at] = true;
      open.insert(open.end(), children_[at].begin(), children_[at].end());
    }
  }

  void add(const Top& top) {
    const bool is_missing = top.cause == TreeLine::Cause::missing;
    if (is_missing) lines_.push_back({.missing = top.missing});
    for (const auto at : top.nodes) {
      TreeLine line{.node = &nodes_[at], .cause = top.cause, .depth = is_missing ? 1u : 0u};
      line.is_last = at == top.nodes.back();
      add_below(at, line);
    }
  }

  // A stack of its own, since a chain of causes may be long.
  void add_below(std::size_t first, const TreeLine& first_line) {
    std::vector<std::pair<std::size_t, TreeLine>> open{{first, first_line}};
    while (!open.empty()) {
      const auto [at, line] = open.back();
      open.pop_back();
      is_placed_[at] = true;
      lines_.push_back(line);
      bool is_last = true;
      for (auto child = children_[at].rbegin(); child != children_[at].rend(); ++child) {
        if (is_placed_[*child]) continue;  // where a circle closes
        open.push_back({*child, {.node = &nodes_[*child], .parent = &nodes_[at], .cause = TreeLine::Cause::parent, .depth = line.depth + 1, .is_last = is_last}});
        is_last = false;
      }
    }
  }

  std::vector<Node>& nodes_;
  std::vector<std::size_t> parent_;        // of those that have one
  std::vector<std::vector<std::size_t>> children_;
  std::vector<bool> is_placed_;
  std::map<std::size_t, Top> tops_;        // by their first event
  std::vector<TreeLine> lines_;
};

}  // namespace

std::vector<TreeLine> tree_of(std::vector<Node>& nodes) { return Tree(nodes).lines(); }

}  // namespace bus::tools
