// From the newer meta page: the tree of free pages, the tree of tables, and their trees. A page that is wrong costs what is below
// it, and the walk goes on beside it.
#include "broker/store/page_walk.hpp"

#include <algorithm>

#include "broker/store/lmdb.hpp"
#include "broker/store/page_format.hpp"

namespace bus::store {

namespace {

using page::Flag;
using page::Meta;
using page::Node;
using page::Tree;

using Page = std::array<std::uint8_t, lmdb::page_bytes>;

constexpr std::size_t faults_max = 1000;            // the extent is known by then
constexpr std::size_t value_bytes_max = 16 * limits::MiB;

// One row or child of a page; views into it.
struct Item {
  std::uint16_t at = 0, end = 0;
  std::uint16_t flags = 0;
  std::string_view key;
  std::uint64_t child = 0;                          // of a branch
  std::uint64_t value_bytes = 0;                    // of a leaf
  Bytes inner;                                      // the value, or where it lies
};

Item item_of(const Page& bytes, std::uint16_t at, bool is_branch) {
  const auto node = load<Node>(bytes.data() + at);
  Item item;
  item.at = at;
  const std::uint64_t number = node.low | std::uint64_t{node.high} << 16;
  item.child = number | std::uint64_t{node.flags} << 32;
  item.value_bytes = number;
  item.flags = node.flags;
  const bool is_large = (node.flags & page::is_large) != 0;
  const std::uint64_t inner = is_branch ? 0 : is_large ? sizeof(std::uint64_t) : number;
  const std::uint64_t end = at + sizeof node + node.key_bytes + inner;
  if (node.key_bytes > page::key_bytes_max || end > bytes.size()) return item;  // `end` 0: it does not fit
  item.end = static_cast<std::uint16_t>(round_up(end, 2));
  const std::uint8_t* key = bytes.data() + at + sizeof node;
  item.key = text_of({key, node.key_bytes});
  item.inner = {key + node.key_bytes, inner};
  return item;
}

// What is wrong with the order of bytes in a page, or nothing; then `items` has its rows.
const char* page_fault(const Page& bytes, bool is_branch, std::vector<Item>& items) {
  const auto header = load<page::Header>(bytes.data());
  if (header.lower <= sizeof header || header.lower % 2 != 0 || header.lower > header.upper || header.upper > bytes.size()) {
    return "its bounds are impossible";
  }
  for (std::size_t slot = sizeof header; slot < header.lower; slot += 2) {
    const auto at = load<std::uint16_t>(bytes.data() + slot);
    if (at < header.upper || at + sizeof(Node) > bytes.size()) return "a row lies outside of it";
    items.push_back(item_of(bytes, at, is_branch));
    if (items.back().end == 0) return "a row lies outside of it";
  }
  std::vector<std::pair<std::uint16_t, std::uint16_t>> places;
  for (const Item& item : items) places.emplace_back(item.at, item.end);
  std::sort(places.begin(), places.end());
  std::uint16_t end = header.upper;
  for (const auto& [at, after] : places) {
    if (at != end) return "its rows do not lie side by side";
    end = after;
  }
  return end == bytes.size() ? nullptr : "its rows do not lie side by side";
}

// Walk is one walk through one file.
class Walk {
 public:
  Walk(const PageFile& file, LogValues values, const PageRowVisitor& visit, CutOff cut_off) : file_(file), values_(values), visit_(visit), cut_off_(cut_off) {}

  Result<PageFindings> run() {
    if (auto chosen = choose_meta(); !chosen) return chosen.error();
    found_.placed.assign(meta_.last_page + 1, false);
    found_.values.assign(meta_.last_page + 1, false);
    found_.placed[0] = found_.placed[1] = true;
    found_.is_whole.fill(true);
    table_ = nullptr;
    walk_tree("free pages", meta_.free, page::free_flags, [this](const Item& item) { take_free(item); });
    std::vector<std::pair<TableId, Tree>> trees;
    walk_tree("tables", meta_.main, 0, [&](const Item& item) { take_table(item, trees); });
    for (const auto& [id, tree] : trees) {
      id_ = id;
      table_ = name_of(id);
      walk_tree(table_, tree, 0, [this](const Item& item) { take_row(item); });
    }
    if (found_.faults.empty()) check_places();
    return std::move(found_);
  }

 private:
  using Take = std::function<void(const Item&)>;
  // The keys that a page may have: from `low` on, below `high`.
  struct Range {
    std::string low;
    std::optional<std::string> high;
  };
  struct Counts {
    std::uint64_t branches = 0, leaves = 0, overflows = 0, rows = 0;
  };

  Result<void> choose_meta();
  void check_metas(const Meta& even, const Meta& odd);
  void fault(const std::string& what, Position position = Position::none) {
    if (found_.faults.size() < faults_max) found_.faults.push_back({position, what});
    if (table_ != nullptr) found_.is_whole[static_cast<std::size_t>(id_)] = false;
    if (table_ == nullptr && is_tables_) found_.is_whole.fill(false);
  }
  // Of a page, or what is below it.
  void page_is_bad(std::uint64_t number, const Range& range, const std::string& what);
  // True: it is in the file and has no other place.
  bool place(std::uint64_t number, std::uint64_t count, const Range& range, const char* what);
  void walk_tree(const char* name, const Tree& tree, std::uint16_t flags, const Take& take);
  void walk_page(std::uint64_t number, std::size_t level, const Range& range, const Take& take);
  void walk_children(const std::vector<Item>& items, std::uint64_t number, std::size_t level, const Range& range, const Take& take);
  bool are_in_order(const std::vector<Item>& items, std::size_t first, const Range& range) const;
  bool is_below(std::string_view a, std::string_view b) const;
  bool read_value(const Item& item, const Range& range, Buffer& into, bool wants_bytes);
  void take_free(const Item& item);
  void take_table(const Item& item, std::vector<std::pair<TableId, Tree>>& trees);
  void take_row(const Item& item);
  void check_places();

  const PageFile& file_;
  const LogValues values_;
  const PageRowVisitor& visit_;
  const CutOff cut_off_;
  PageFindings found_;
  Meta meta_;
  TableId id_ = TableId::log;
  const char* table_ = nullptr;                     // none: one of LMDB's own trees, `tree_name_`
  const char* tree_name_ = "";
  bool is_tables_ = false;
  std::size_t depth_ = 0;
  Counts counts_;
  Range leaf_range_;
  std::uint64_t leaf_ = 0;
  std::uint64_t value_at_ = 0;                      // of the value read last
};

Result<Meta> read_meta(const PageFile& file, std::uint64_t number) {
  Page bytes;
  const auto what = [&](const char* fault) { return Error{Code::damaged, "meta page " + std::to_string(number) + ": " + fault}; };
  if (!file.read(number * bytes.size(), bytes)) return what("it cannot be read");
  const auto header = load<page::Header>(bytes.data());
  const auto meta = load<Meta>(bytes.data() + sizeof header);
  if (header.number != number || header.flags != Flag::meta) return what("it is no meta page");
  if (meta.magic != page::meta_magic) return what("its magic number is wrong");
  if (meta.version != page::meta_version) return what("its version is not known");
  if (meta.free.unused != lmdb::page_bytes) return what("its page size is not 4096");
  return meta;
}

Result<void> Walk::choose_meta() {
  const auto even = read_meta(file_, 0), odd = read_meta(file_, 1);
  if (!even && !odd) return Error{Code::bad_format, "this is no LMDB file, or both its meta pages are damaged: " + even.error().detail + "; " + odd.error().detail};
  for (const auto* meta : {&even, &odd}) {
    if (*meta) continue;
    fault(meta->error().detail);
    found_.is_latest = false;
  }
  if (even && odd) check_metas(*even, *odd);
  meta_ = !odd || (even && even->transaction >= odd->transaction) ? *even : *odd;
  found_.transaction = meta_.transaction;
  const std::uint64_t pages = file_.bytes() / lmdb::page_bytes;
  if (meta_.last_page >= page::first_page - 1 && meta_.last_page < pages) return {};
  const std::string what = "the data file is cut off: it has " + std::to_string(pages) + " pages of " + std::to_string(meta_.last_page + 1);
  if (cut_off_ == CutOff::refuse) return Error{Code::damaged, what};
  fault(what);
  meta_.last_page = std::max(pages, page::first_page) - 1;
  return {};
}

// Transactions take turns between the two pages. A flipped bit in the number of one would bring back what was before.
void Walk::check_metas(const Meta& even, const Meta& odd) {
  const bool are_new = even.transaction == 0 && odd.transaction == 0;
  const auto step = even.transaction > odd.transaction ? even.transaction - odd.transaction : odd.transaction - even.transaction;
  if (!are_new && (step != 1 || even.transaction % 2 != 0)) {
    fault("the meta pages name transactions " + std::to_string(even.transaction) + " and " + std::to_string(odd.transaction) + ", which do not follow each other");
    found_.is_latest = false;
  }
}

std::string shown(TableId table, std::string_view key) {
  const auto position = table == TableId::log ? NumberKey::read(key) : std::nullopt;
  return position ? "position " + std::to_string(*position) : key.empty() ? "the first key" : "key " + hexadecimal(bytes_of(key));
}

void Walk::page_is_bad(std::uint64_t number, const Range& range, const std::string& what) {
  if (table_ == nullptr) return fault(std::string("LMDB's tree of ") + tree_name_ + ", page " + std::to_string(number) + ": " + what);
  const auto low = id_ == TableId::log ? NumberKey::read(range.low) : std::nullopt;
  std::string place = std::string("table ") + table_ + ", page " + std::to_string(number) + ", from " + shown(id_, range.low);
  if (range.high) place += " up to before " + shown(id_, *range.high);
  fault(place + ": " + what, id_ == TableId::log ? Position{low.value_or(1)} : Position::none);
}

bool Walk::place(std::uint64_t number, std::uint64_t count, const Range& range, const char* what) {
  if (number < page::first_page || number > meta_.last_page || count > meta_.last_page - number + 1) {
    page_is_bad(number, range, std::string(what) + " lies outside of the file");
    return false;
  }
  for (std::uint64_t at = number; at < number + count; ++at) {
    if (found_.placed[at]) {
      page_is_bad(at, range, std::string(what) + " has two places");
      return false;
    }
  }
  std::fill_n(found_.placed.begin() + static_cast<std::ptrdiff_t>(number), count, true);
  return true;
}

void Walk::walk_tree(const char* name, const Tree& tree, std::uint16_t flags, const Take& take) {
  tree_name_ = name;
  is_tables_ = &tree == &meta_.main;
  counts_ = {};
  depth_ = tree.depth;
  const std::size_t faults = found_.faults.size();
  const bool is_empty = tree.root == page::no_page;
  const std::string what = std::string(table_ == nullptr ? "LMDB's tree of " : "table ") + name;
  if (tree.flags != flags || depth_ > page::depth_max || is_empty != (depth_ == 0)) return fault(what + ": what describes it is impossible");
  if (!is_empty) walk_page(tree.root, 1, {}, take);
  if (found_.faults.size() != faults) return;
  const bool fits = tree.branches == counts_.branches && tree.leaves == counts_.leaves && tree.overflows == counts_.overflows;
  if (!fits) return fault(what + " has other pages than it should have");
  if (tree.rows != counts_.rows) fault(what + " has " + std::to_string(counts_.rows) + " rows and should have " + std::to_string(tree.rows));
}

void Walk::walk_page(std::uint64_t number, std::size_t level, const Range& range, const Take& take) {
  if (!place(number, 1, range, "it")) return;
  Page bytes;
  if (!file_.read(number * bytes.size(), bytes)) return page_is_bad(number, range, "it cannot be read");
  const auto header = load<page::Header>(bytes.data());
  const bool is_branch = level < depth_;
  if (header.number != number || header.flags != (is_branch ? Flag::branch : Flag::leaf)) return page_is_bad(number, range, "it is another page than its place says");
  std::vector<Item> items;
  if (const char* what = page_fault(bytes, is_branch, items)) return page_is_bad(number, range, what);
  // What is left of the first child needs no key.
  if (!are_in_order(items, is_branch ? 1 : 0, range)) return page_is_bad(number, range, "its keys are not in order");
  if (is_branch) return walk_children(items, number, level, range, take);
  counts_.leaves += 1;
  counts_.rows += items.size();
  leaf_range_ = range;
  leaf_ = number;
  for (const Item& item : items) take(item);
}

void Walk::walk_children(const std::vector<Item>& items, std::uint64_t number, std::size_t level, const Range& range, const Take& take) {
  counts_.branches += 1;
  if (level >= page::depth_max) return page_is_bad(number, range, "it lies too deep");
  for (std::size_t at = 0; at < items.size(); ++at) {
    const Range below{at == 0 ? range.low : std::string(items[at].key),
                      at + 1 < items.size() ? std::optional<std::string>(items[at + 1].key) : range.high};
    walk_page(items[at].child, level + 1, below, take);
  }
}

bool Walk::is_below(std::string_view a, std::string_view b) const {
  if (table_ != nullptr || is_tables_) return a < b;
  return load<std::uint64_t>(bytes_of(a).data()) < load<std::uint64_t>(bytes_of(b).data());
}

bool Walk::are_in_order(const std::vector<Item>& items, std::size_t first, const Range& range) const {
  const bool are_numbers = table_ == nullptr && !is_tables_;
  for (std::size_t at = first; at < items.size(); ++at) {
    const auto key = items[at].key;
    if (are_numbers && key.size() != sizeof(std::uint64_t)) return false;
    if (at > first && !is_below(items[at - 1].key, key)) return false;
    if (!range.low.empty() && is_below(key, range.low)) return false;
    if (range.high && !is_below(key, *range.high)) return false;
  }
  return true;
}

bool Walk::read_value(const Item& item, const Range& range, Buffer& into, bool wants_bytes) {
  if ((item.flags & page::is_large) == 0) {
    into.assign(item.inner.begin(), item.inner.end());
    value_at_ = leaf_ * lmdb::page_bytes + item.at + sizeof(Node) + item.key.size();
    return true;
  }
  const auto number = load<std::uint64_t>(item.inner.data());
  Page first;
  if (number < page::first_page || number > meta_.last_page || !file_.read(number * first.size(), first)) {
    page_is_bad(number, range, "a value lies outside of the file");
    return false;
  }
  const auto header = load<page::Header>(first.data());
  const std::uint64_t pages = header.lower | std::uint64_t{header.upper} << 16;
  if (header.number != number || header.flags != Flag::overflow || pages < lmdb::large_value_pages(item.value_bytes)) {
    page_is_bad(number, range, "it is not the value of the row that names it");
    return false;
  }
  if (!place(number, pages, range, "a value")) return false;
  std::fill_n(found_.values.begin() + static_cast<std::ptrdiff_t>(number), pages, true);
  counts_.overflows += pages;
  value_at_ = number * first.size() + sizeof header;
  if (!wants_bytes) return true;
  if (item.value_bytes > value_bytes_max) {
    page_is_bad(number, range, "a value has an impossible size");
    return false;
  }
  into.resize(item.value_bytes);
  if (file_.read(number * first.size() + sizeof header, into)) return true;
  page_is_bad(number, range, "it cannot be read");
  return false;
}

// Lists of pages that each transaction has freed, the highest first.
void Walk::take_free(const Item& item) {
  Buffer value;
  if ((item.flags & ~page::is_large) != 0 || !read_value(item, leaf_range_, value, true)) return fault("LMDB's tree of free pages: a row cannot be read");
  const auto transaction = load<std::uint64_t>(bytes_of(item.key).data());
  const std::uint64_t rows = value.size() / sizeof(std::uint64_t);
  const std::uint64_t count = rows == 0 ? 0 : load<std::uint64_t>(value.data());
  if (rows == 0 || count >= rows || transaction > meta_.transaction) return fault("LMDB's tree of free pages: a row cannot be read");
  std::uint64_t last = page::no_page;
  for (std::uint64_t at = 1; at <= count; ++at) {
    const auto number = load<std::uint64_t>(value.data() + at * sizeof(std::uint64_t));
    if (number >= last) return fault("LMDB's tree of free pages: a list is not in order");
    last = number;
    if (!place(number, 1, leaf_range_, "a free page")) return;
  }
}

void Walk::take_table(const Item& item, std::vector<std::pair<TableId, Tree>>& trees) {
  for (std::size_t id = 0; id < table_ids; ++id) {
    if (item.key != name_of(static_cast<TableId>(id))) continue;
    if (item.flags != page::is_table || item.inner.size() != sizeof(Tree)) break;
    trees.emplace_back(static_cast<TableId>(id), load<Tree>(item.inner.data()));
    return;
  }
  fault("LMDB's tree of tables: a row names no table of a log");
}

void Walk::take_row(const Item& item) {
  Range range{std::string(item.key), std::nullopt};
  const bool is_log = id_ == TableId::log;
  if ((item.flags & ~page::is_large) != 0) return page_is_bad(0, range, "a row has flags that are not known");
  Buffer value;
  const bool wants_bytes = !is_log || values_ == LogValues::read;
  if (!read_value(item, range, value, wants_bytes) || !visit_) return;
  visit_({id_, item.key, wants_bytes ? Bytes(value) : Bytes(), value_at_, item.value_bytes});
}

// Each page is in a tree, in a value or free. What is nowhere was lost from the list of free pages.
void Walk::check_places() {
  std::uint64_t lost = 0, first = 0;
  for (std::uint64_t number = page::first_page; number <= meta_.last_page; ++number) {
    if (!found_.placed[number] && lost++ == 0) first = number;
  }
  if (lost > 0) fault("LMDB's tree of free pages: " + std::to_string(lost) + " pages are neither used nor free, page " + std::to_string(first) + " the first");
}

}  // namespace

void visit_leaf(std::span<const std::uint8_t> bytes, std::uint64_t number, const std::function<void(std::string_view key, Bytes value)>& visit) {
  Page page;
  if (bytes.size() != page.size()) return;
  std::memcpy(page.data(), bytes.data(), page.size());
  const auto header = load<page::Header>(page.data());
  std::vector<Item> items;
  if (header.number != number || header.flags != Flag::leaf || page_fault(page, false, items) != nullptr) return;
  for (const Item& item : items) {
    if (item.flags == 0) visit(item.key, item.inner);
  }
}

Result<PageFindings> walk_pages(const PageFile& file, LogValues values, const PageRowVisitor& visit, CutOff cut_off) {
  return Walk(file, values, visit, cut_off).run();
}

}  // namespace bus::store
