#include "tests/power/disk.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

namespace bus::power {

namespace {

using Kind = Operation::Kind;
constexpr std::size_t sector_bytes = 512;

void require(bool done, const std::filesystem::path& path) {
  if (!done) throw std::runtime_error("cannot write the image " + path.string());
}

void put(int file, const std::string& data, std::size_t begin, std::size_t end, std::uint64_t offset,
         const std::filesystem::path& path) {
  const auto written = ::pwrite(file, data.data() + begin, end - begin, static_cast<off_t>(offset + begin));
  require(written == static_cast<ssize_t>(end - begin), path);
}

}  // namespace

void Disk::begin(const Operation& operation) {
  if (operation.kind != Kind::sync && operation.kind != Kind::mark) pending_.push_back(&operation);
}

// A sync of a directory is one of its entries, a sync of a file one of its bytes and size.
bool Disk::concerns(const Operation& operation, Inode synced) {
  const bool is_entry = operation.kind == Kind::link || operation.kind == Kind::rename;
  return (is_entry ? operation.parent : operation.inode) == synced;
}

// Of writes to the same bytes only the last one is left in memory, so the earlier ones cannot arrive after it.
bool Disk::overlaps(const Operation& a, const Operation& b) {
  const bool are_writes = a.kind == Kind::write && b.kind == Kind::write && a.inode == b.inode;
  return are_writes && a.offset < b.offset + b.data.size() && b.offset < a.offset + a.data.size();
}

void Disk::finish(const Operation& operation) {
  if (operation.kind == Kind::sync) {
    settle([&](const Operation& waiting) { return concerns(waiting, operation.inode); });
  } else if (operation.is_synced) {
    settle([&](const Operation& waiting) { return overlaps(waiting, operation); });  // itself among them
  }
}

template <typename Chosen>
void Disk::settle(const Chosen& chosen) {
  std::erase_if(pending_, [&](const Operation* waiting) {
    if (!chosen(*waiting)) return false;
    make_durable(*waiting);
    return true;
  });
}

void Disk::apply(const Operation& operation, Directories& directories) {
  Entries& entries = directories[operation.parent];
  if (operation.kind == Kind::rename) entries.erase(operation.name);
  entries[operation.kind == Kind::rename ? operation.to : operation.name] = operation.inode;
  if (operation.is_directory) directories[operation.inode];
}

void Disk::make_durable(const Operation& operation) {
  if (operation.kind == Kind::link || operation.kind == Kind::rename) return apply(operation, directories_);
  Content& content = files_[operation.inode];
  if (operation.kind == Kind::write) {
    const std::size_t end = operation.offset + operation.data.size();
    if (content.bytes.size() < end) content.bytes.resize(end, '\0');
    content.bytes.replace(operation.offset, operation.data.size(), operation.data);
    content.size = std::max<std::uint64_t>(content.size, end);
  } else if (operation.kind == Kind::grow) {
    content.size = std::max(content.size, operation.size);
  } else {
    content.size = operation.size;
    if (content.bytes.size() > content.size) content.bytes.resize(content.size);
  }
}

Disk::Survivor Disk::half_of(const Operation& operation, std::mt19937_64& random) {
  const std::size_t bytes = operation.data.size();
  const std::size_t cut = (random() % (bytes / sector_bytes) + 1) * sector_bytes - operation.offset % sector_bytes;
  if (random() % 2 == 0) return {&operation, 0, std::min(cut, bytes)};
  return {&operation, std::min(cut, bytes), bytes};
}

std::vector<Disk::Survivor> Disk::survivors(Kept kept, std::mt19937_64& random) const {
  std::vector<Survivor> all;
  if (kept == Kept::nothing) return all;
  std::vector<const Operation*> large;
  std::copy_if(pending_.begin(), pending_.end(), std::back_inserter(large), [](const Operation* operation) {
    return operation->kind == Kind::write && operation->data.size() > sector_bytes;
  });
  const Operation* torn = kept == Kept::torn && !large.empty() ? large[random() % large.size()] : nullptr;
  for (const Operation* operation : pending_) {
    if (operation == torn) {
      all.push_back(half_of(*operation, random));
    } else if (kept == Kept::everything || random() % 2 == 0) {
      all.push_back({operation, 0, operation->data.size()});
    }
  }
  return all;
}

void Disk::write_image(const std::filesystem::path& dir, Kept kept, std::mt19937_64& random) const {
  const auto left = survivors(kept, random);
  Directories directories = directories_;
  for (const Survivor& one : left) {
    if (one.operation->kind == Kind::link || one.operation->kind == Kind::rename) apply(*one.operation, directories);
  }
  std::filesystem::remove_all(dir);
  write_directory(dir, root_, directories, left);
}

void Disk::write_directory(const std::filesystem::path& path, Inode inode, const Directories& directories,
                           const std::vector<Survivor>& survivors) const {
  std::filesystem::create_directory(path);
  const auto found = directories.find(inode);
  if (found == directories.end()) return;
  for (const auto& [name, child] : found->second) {
    if (directories.contains(child)) {
      write_directory(path / name, child, directories, survivors);
    } else {
      write_file(path / name, child, survivors);
    }
  }
}

void Disk::write_file(const std::filesystem::path& path, Inode inode, const std::vector<Survivor>& survivors) const {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0640);
  require(file >= 0, path);
  if (const auto found = files_.find(inode); found != files_.end()) {
    put(file, found->second.bytes, 0, found->second.bytes.size(), 0, path);
    require(::ftruncate(file, static_cast<off_t>(found->second.size)) == 0, path);
  }
  for (const auto& [operation, begin, end] : survivors) {
    if (operation->inode != inode) continue;
    if (operation->kind == Kind::write) put(file, operation->data, begin, end, operation->offset, path);
    const auto size = ::lseek(file, 0, SEEK_END);
    const auto wanted = static_cast<off_t>(operation->size);
    const bool resizes = operation->kind == Kind::cut || (operation->kind == Kind::grow && wanted > size);
    if (resizes) require(::ftruncate(file, wanted) == 0, path);
  }
  ::close(file);
}

}  // namespace bus::power
