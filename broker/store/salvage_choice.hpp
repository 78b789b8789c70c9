// Which of the records that lie in a broken file are the log. Pages that are free, or were never made current, hold records, too: older
// copies, and what a transaction has written that died before it was committed. The chain tells them apart: what comes after a record
// has folded it in.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "broker/store/batch.hpp"
#include "bus/types.hpp"

namespace bus::store {

// A record in the file, whose header and index verify.
struct Piece {
  std::uint64_t at = 0;               // of its stored bytes
  Position first = Position::none, last = Position::none;
  std::uint64_t chain_before = 0, chain_after = 0;
  WallTime committed_at;
  std::uint64_t batch = 0;
  std::uint32_t intact = 0;           // events that match their checksums, or were removed
  bool is_proven = false;             // a tree leads to it, or the chain of what comes after it
  std::uint32_t removed = 0;          // events of which retention has removed the body
};

// Nothing beyond `last` was committed; what ends there has this chain, if it is known.
struct LogEnd {
  Position last = Position::none;
  std::optional<std::uint64_t> chain;
};

// `walked`: those that the trees lead to, which are the log whatever else there is. Of `raw` those whose chain, batch and time fit to their
// neighbours: first what leads back from a neighbour or the end, then, where nothing does, what goes on to the latest commit. In order,
// none reaches into another, or lies where retention has deleted the log.
std::vector<Piece> choose_pieces(std::vector<Piece> walked, std::vector<Piece> raw, const LogEnd& end, const Trim& trim = {});

// How far the log goes on after this place by pieces that follow each other, and the chain there.
LogEnd follow_pieces(const std::vector<Piece>& raw, Position last, std::uint64_t chain);

}  // namespace bus::store
