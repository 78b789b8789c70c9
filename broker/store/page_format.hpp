// Pages of an LMDB 0.9 data file as they lie on disk, little endian, 64 bits: what is needed to follow its trees without trusting
// them. All fields were observed in files that LMDB has written; docs/STORAGE.md has them in words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace bus::store::page {

enum Flag : std::uint16_t { branch = 1, leaf = 2, overflow = 4, meta = 8 };

struct Header {
  std::uint64_t number = 0;
  std::uint16_t unused = 0;
  std::uint16_t flags = 0;
  // Overflow: both together are the number of pages.
  std::uint16_t lower = 0;            // end of the list of nodes, two bytes for each
  std::uint16_t upper = 0;            // where the first node begins; they fill the page from there on
};

// A row of a leaf, or a child of a branch; the key follows, then, in a leaf, the value or the number of its overflow page.
struct Node {
  std::uint16_t low = 0, high = 0;    // leaf: bytes of the value; branch: page number, `flags` above them
  std::uint16_t flags = 0;
  std::uint16_t key_bytes = 0;
};
enum NodeFlag : std::uint16_t { is_large = 1, is_table = 2 };

struct Tree {
  std::uint32_t unused = 0;           // of the list of free pages: bytes of a page
  std::uint16_t flags = 0;
  std::uint16_t depth = 0;
  std::uint64_t branches = 0, leaves = 0, overflows = 0;
  std::uint64_t rows = 0;
  std::uint64_t root = 0;
};

struct Meta {
  std::uint32_t magic = 0;
  std::uint32_t version = 0;
  std::uint64_t address = 0;
  std::uint64_t map_bytes = 0;
  Tree free, main;                    // lists of free pages by transaction; tables by name
  std::uint64_t last_page = 0;
  std::uint64_t transaction = 0;      // it lies in page 0 if even, 1 if odd
};

inline constexpr std::uint32_t meta_magic = 0xbeefc0de;
inline constexpr std::uint32_t meta_version = 1;
inline constexpr std::uint16_t free_flags = 8;       // keys are numbers
inline constexpr std::uint64_t no_page = ~std::uint64_t{0};
inline constexpr std::uint64_t first_page = 2;       // after the two meta pages
inline constexpr std::size_t key_bytes_max = 511;
inline constexpr std::size_t depth_max = 32;

static_assert(sizeof(Header) == 16 && sizeof(Node) == 8 && sizeof(Tree) == 48 && sizeof(Meta) == 136);
static_assert(std::is_trivially_copyable_v<Meta>);

}  // namespace bus::store::page
