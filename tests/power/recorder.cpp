// The calls of libc that LMDB and the store use to write, defined once more: a dynamic library finds those of the
// executable first. Each carries out the system call itself and notes what it did.
#undef _FILE_OFFSET_BITS  // so that pwrite and pwrite64 are two names, as the libraries know them

#include "tests/power/recorder.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <map>

namespace bus::power {

namespace {

struct OpenFile {
  Inode inode = 0;
  bool is_directory = false;
  bool is_synced = false;
};

Recorder* recorder = nullptr;
std::map<int, OpenFile> open_files;

Inode inode_of(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_ino : 0;
}

std::string parent_of(const std::string& path) { return path.substr(0, path.rfind('/')); }
std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

const OpenFile* find(int file) {
  if (recorder == nullptr) return nullptr;
  const auto it = open_files.find(file);
  return it == open_files.end() ? nullptr : &it->second;
}

Operation on(Operation::Kind kind, const OpenFile& file) {
  Operation operation;
  operation.kind = kind;
  operation.inode = file.inode;
  operation.is_directory = file.is_directory;
  return operation;
}

void note_link(const std::string& path, bool is_directory) {
  Operation operation = on(Operation::Kind::link, {inode_of(path), is_directory, false});
  operation.parent = inode_of(parent_of(path));
  operation.name = name_of(path);
  recorder->add(std::move(operation));
}

void note_write(int file, const void* data, std::size_t bytes, std::uint64_t offset) {
  const OpenFile* open = find(file);
  if (open == nullptr) return;
  Operation operation = on(Operation::Kind::write, *open);
  operation.offset = offset;
  operation.data.assign(static_cast<const char*>(data), bytes);
  operation.is_synced = open->is_synced;
  recorder->add(std::move(operation));
}

void note_size(Operation::Kind kind, int file, std::uint64_t size) {
  const OpenFile* open = find(file);
  if (open == nullptr) return;
  Operation operation = on(kind, *open);
  operation.size = size;
  recorder->add(std::move(operation));
}

void note_sync(int file) {
#ifndef BUS_CANARY_LYING_SYNC
  if (const OpenFile* open = find(file)) recorder->add(on(Operation::Kind::sync, *open));
#else
  static_cast<void>(file);
#endif
}

int open_file(const char* path, int flags, mode_t mode) {
  const bool is_ours = recorder != nullptr && recorder->covers(path);
  const bool is_new = is_ours && inode_of(path) == 0;
  const int file = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
  if (file < 0 || !is_ours) return file;
  struct stat info {};
  ::fstat(file, &info);
  open_files[file] = {info.st_ino, S_ISDIR(info.st_mode), (flags & O_DSYNC) != 0};
  if (is_new) note_link(path, false);
  if ((flags & O_TRUNC) != 0) note_size(Operation::Kind::cut, file, 0);
  return file;
}

ssize_t write_at(int file, const void* data, std::size_t bytes, off_t offset) {
  const ssize_t written = ::syscall(SYS_pwrite64, file, data, bytes, offset);
  if (written > 0) note_write(file, data, static_cast<std::size_t>(written), static_cast<std::uint64_t>(offset));
  return written;
}

// Where the next write() of a file goes.
std::uint64_t place_of(int file) {
  return find(file) == nullptr ? 0 : static_cast<std::uint64_t>(::syscall(SYS_lseek, file, 0, SEEK_CUR));
}

int cut(int file, off_t size) {
  const int status = static_cast<int>(::syscall(SYS_ftruncate, file, size));
  if (status == 0) note_size(Operation::Kind::cut, file, static_cast<std::uint64_t>(size));
  return status;
}

int grow(int file, int mode, off_t offset, off_t bytes) {
  const int status = static_cast<int>(::syscall(SYS_fallocate, file, mode, offset, bytes));
  if (status == 0) note_size(Operation::Kind::grow, file, static_cast<std::uint64_t>(offset + bytes));
  return status;
}

int sync(long call, int file) {
  const int status = static_cast<int>(::syscall(call, file));
  if (status == 0) note_sync(file);
  return status;
}

}  // namespace

Recorder::Recorder(const std::filesystem::path& root) : path_(root.string()), root_(inode_of(path_)) {
  open_files.clear();
  recorder = this;
}
Recorder::~Recorder() { recorder = nullptr; }

bool Recorder::covers(const std::string& path) const { return path == path_ || path.starts_with(path_ + "/"); }

void Recorder::mark(std::uint64_t batch, std::uint64_t epoch) {
  Operation operation;
  operation.batch = batch;
  operation.epoch = epoch;
  add(std::move(operation));
}

}  // namespace bus::power

namespace power = bus::power;

extern "C" {

int open(const char* path, int flags, ...) {
  std::va_list rest;
  va_start(rest, flags);
  const auto mode = va_arg(rest, mode_t);
  va_end(rest);
  return power::open_file(path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  std::va_list rest;
  va_start(rest, flags);
  const auto mode = va_arg(rest, mode_t);
  va_end(rest);
  return power::open_file(path, flags, mode);
}
int close(int file) {
  power::open_files.erase(file);
  return static_cast<int>(::syscall(SYS_close, file));
}

ssize_t pwrite(int file, const void* data, size_t bytes, off_t offset) { return power::write_at(file, data, bytes, offset); }
ssize_t pwrite64(int file, const void* data, size_t bytes, off64_t offset) {
  return power::write_at(file, data, bytes, offset);
}
ssize_t write(int file, const void* data, size_t bytes) {
  const auto place = power::place_of(file);
  const ssize_t written = ::syscall(SYS_write, file, data, bytes);
  if (written > 0) power::note_write(file, data, static_cast<size_t>(written), place);
  return written;
}
// Noted as one write: the parts follow each other.
ssize_t writev(int file, const struct iovec* parts, int count) {
  const auto place = power::place_of(file);
  const ssize_t written = ::syscall(SYS_writev, file, parts, count);
  if (written <= 0 || power::find(file) == nullptr) return written;
  std::string data;
  for (int at = 0; at < count; ++at) data.append(static_cast<const char*>(parts[at].iov_base), parts[at].iov_len);
  power::note_write(file, data.data(), static_cast<size_t>(written), place);
  return written;
}

int ftruncate(int file, off_t size) noexcept { return power::cut(file, size); }
int ftruncate64(int file, off64_t size) noexcept { return power::cut(file, size); }
int fallocate(int file, int mode, off_t offset, off_t bytes) { return power::grow(file, mode, offset, bytes); }
int fallocate64(int file, int mode, off64_t offset, off64_t bytes) { return power::grow(file, mode, offset, bytes); }
int posix_fallocate(int file, off_t offset, off_t bytes) { return power::grow(file, 0, offset, bytes) == 0 ? 0 : errno; }
int posix_fallocate64(int file, off64_t offset, off64_t bytes) {
  return power::grow(file, 0, offset, bytes) == 0 ? 0 : errno;
}

int fsync(int file) { return power::sync(SYS_fsync, file); }
int fdatasync(int file) { return power::sync(SYS_fdatasync, file); }

int mkdir(const char* path, mode_t mode) noexcept {
  const int status = static_cast<int>(::syscall(SYS_mkdir, path, mode));
  if (status == 0 && power::recorder != nullptr && power::recorder->covers(path)) power::note_link(path, true);
  return status;
}
int rename(const char* from, const char* to) noexcept {
  const int status = static_cast<int>(::syscall(SYS_rename, from, to));
  if (status != 0 || power::recorder == nullptr || !power::recorder->covers(from)) return status;
  power::Operation operation;
  operation.kind = power::Operation::Kind::rename;
  operation.inode = power::inode_of(to);
  operation.is_directory = true;
  operation.parent = power::inode_of(power::parent_of(from));
  operation.name = power::name_of(from);
  operation.to = power::name_of(to);
  power::recorder->add(std::move(operation));
  return status;
}

}  // extern "C"
