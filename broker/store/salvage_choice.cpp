#include "broker/store/salvage_choice.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>
#include <unordered_map>

namespace bus::store {

namespace {

struct Place {
  Position position;
  std::uint64_t chain;
  bool operator==(const Place&) const = default;
};
struct PlaceHash {
  std::size_t operator()(const Place& place) const { return number(place.position) * 0x9e3779b97f4a7c15u ^ place.chain; }
};
using PlaceMap = std::unordered_multimap<Place, std::size_t, PlaceHash>;

constexpr std::size_t no_piece = ~std::size_t{0};

Place begin_of(const Piece& piece) { return {piece.first, piece.chain_before}; }
Place end_of(const Piece& piece) { return {piece.last, piece.chain_after}; }
std::uint64_t events_of(const Piece& piece) { return piece.last - piece.first + 1; }

bool is_same(const Piece& a, const Piece& b) { return begin_of(a) == begin_of(b) && end_of(a) == end_of(b); }

// Of copies of the same record the one of which most was removed, and of those the one with the most that is intact.
std::vector<Piece> without_copies(std::vector<Piece> pieces) {
  const auto key = [](const Piece& piece) {
    return std::tuple(piece.first, piece.last, piece.chain_before, piece.chain_after, ~piece.removed, ~piece.intact, piece.at);
  };
  std::sort(pieces.begin(), pieces.end(), [&](const Piece& a, const Piece& b) { return key(a) < key(b); });
  pieces.erase(std::unique(pieces.begin(), pieces.end(), is_same), pieces.end());
  return pieces;
}

// Whatever came in the place of what died was committed later.
struct Rank {
  WallTime last_at;                   // of the last piece that follows by the chain
  std::uint64_t events = 0;           // up to there
  auto operator<=>(const Rank&) const = default;
};
// For each piece where it leads to at best, and the next one on that way. Pieces are in the order of their positions.
struct Ways {
  std::vector<Rank> ranks;
  std::vector<std::size_t> next;
};

Ways find_ways(const std::vector<Piece>& pieces) {
  Ways ways{std::vector<Rank>(pieces.size()), std::vector<std::size_t>(pieces.size(), no_piece)};
  PlaceMap by_begin;
  for (std::size_t at = pieces.size(); at-- > 0;) {
    const auto [from, to] = by_begin.equal_range({pieces[at].last + 1, pieces[at].chain_after});
    for (auto it = from; it != to; ++it) {
      auto& next = ways.next[at];
      if (next == no_piece || ways.ranks[it->second] > ways.ranks[next]) next = it->second;
    }
    ways.ranks[at] = ways.next[at] == no_piece ? Rank{pieces[at].committed_at} : ways.ranks[ways.next[at]];
    ways.ranks[at].events += events_of(pieces[at]);
    by_begin.emplace(begin_of(pieces[at]), at);
  }
  return ways;
}

class Choice {
 public:
  Choice(const std::vector<Piece>& walked, std::vector<Piece> raw, const LogEnd& end, const Trim& trim) : raw_(std::move(raw)), end_(end), trim_(trim) {
    for (Piece piece : walked) {
      piece.is_proven = true;
      if (!overlaps(piece)) taken_.emplace(piece.first, piece);
    }
  }

  std::vector<Piece> run() {
    mend_walked();
    lead_back();
    follow();
    std::vector<Piece> pieces;
    for (const auto& [first, piece] : taken_) pieces.push_back(piece);
    return pieces;
  }

 private:
  void mend_walked();
  void lead_back();
  void follow();

  bool overlaps(const Piece& piece) const {
    const auto after = taken_.upper_bound(piece.last);
    return after != taken_.begin() && std::prev(after)->second.last >= piece.first;
  }
  static bool are_in_order(const Piece& before, const Piece& after) {
    const bool is_next = before.last + 1 == after.first;
    return before.batch <= after.batch && before.committed_at <= after.committed_at && (!is_next || before.chain_after == after.chain_before);
  }
  // With what is before and after it; a neighbour that is not there does not object.
  bool fits(const Piece& piece) const {
    if (overlaps(piece) || piece.last > end_.last || piece.first <= trim_.last) return false;
    if (piece.last == end_.last && end_.chain && piece.chain_after != *end_.chain) return false;
    const auto after = taken_.upper_bound(piece.last);
    if (after != taken_.end() && !are_in_order(piece, after->second)) return false;
    if (after == taken_.begin()) return piece.first != trim_.last + 1 || piece.chain_before == trim_.chain;
    return are_in_order(std::prev(after)->second, piece);
  }

  std::vector<Piece> raw_;            // in the order of their positions
  const LogEnd end_;
  const Trim trim_;
  std::map<Position, Piece> taken_;
};

// Another copy of a record may have the events whose bytes are damaged in this one.
void Choice::mend_walked() {
  for (const Piece& piece : raw_) {
    const auto it = taken_.find(piece.first);
    if (it == taken_.end() || !is_same(it->second, piece) || it->second.intact >= piece.intact || it->second.removed > piece.removed) continue;
    it->second = piece;
    it->second.is_proven = true;
  }
}

void Choice::lead_back() {
  PlaceMap by_end;
  for (std::size_t at = 0; at < raw_.size(); ++at) by_end.emplace(end_of(raw_[at]), at);
  const auto lead = [&](Place end) {
    while (true) {
      const auto found = by_end.equal_range(end);
      const auto it = std::find_if(found.first, found.second, [&](const auto& item) { return fits(raw_[item.second]); });
      if (it == found.second) return;
      Piece& piece = raw_[it->second];
      piece.is_proven = true;
      taken_.emplace(piece.first, piece);
      end = {piece.first - 1, piece.chain_before};
    }
  };
  if (end_.chain) lead({end_.last, *end_.chain});
  std::vector<Place> begins;
  for (const auto& [first, piece] : taken_) begins.push_back(begin_of(piece));
  for (const Place& begin : begins) lead({begin.position - 1, begin.chain});
}

void Choice::follow() {
  std::erase_if(raw_, [this](const Piece& piece) { return !fits(piece); });
  const Ways ways = find_ways(raw_);
  std::vector<std::size_t> order(raw_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return ways.ranks[a] > ways.ranks[b]; });
  for (std::size_t at : order) {
    for (; at != no_piece && fits(raw_[at]); at = ways.next[at]) taken_.emplace(raw_[at].first, raw_[at]);
  }
}

}  // namespace

std::vector<Piece> choose_pieces(std::vector<Piece> walked, std::vector<Piece> raw, const LogEnd& end, const Trim& trim) {
  return Choice(walked, without_copies(std::move(raw)), end, trim).run();
}

LogEnd follow_pieces(const std::vector<Piece>& raw, Position last, std::uint64_t chain) {
  const auto pieces = without_copies(raw);
  const Ways ways = find_ways(pieces);
  std::size_t best = no_piece;
  for (std::size_t at = 0; at < pieces.size(); ++at) {
    if (!(begin_of(pieces[at]) == Place{last + 1, chain})) continue;
    if (best == no_piece || ways.ranks[at] > ways.ranks[best]) best = at;
  }
  LogEnd end{last, chain};
  for (; best != no_piece; best = ways.next[best]) end = {pieces[best].last, pieces[best].chain_after};
  return end;
}

}  // namespace bus::store
