#include "broker/core/backup_requests.hpp"

namespace bus::broker {

namespace {

using What = store::BackupAsk::What;

std::vector<wire::StoredRecord> to_wire(const std::vector<store::StoredRecord>& records) {
  std::vector<wire::StoredRecord> all;
  for (const auto& one : records) all.emplace_back(number(one.first), nanoseconds(one.committed_at), one.checksum, one.bytes, one.count);
  return all;
}

}  // namespace

bool BackupRequests::receive(Asker to, const wire::Request& message, SteadyTime now) {
  switch (message.ask_type()) {
    case wire::Ask::BackupBegin: begin(to, now); break;
    case wire::Ask::BackupEnd: end(to, message.ask_as_BackupEnd()->snapshot(), now); break;
    case wire::Ask::BackupIndex: index(to, *message.ask_as_BackupIndex(), now); break;
    case wire::Ask::BackupRecords: records(to, *message.ask_as_BackupRecords(), now); break;
    case wire::Ask::BackupRows: rows(to, *message.ask_as_BackupRows(), now); break;
    default: return false;
  }
  return true;
}

void BackupRequests::drop(SessionId session) {
  if (open_ && open_->session == session) let_go();
}

std::optional<SteadyTime> BackupRequests::tick(SteadyTime now) {
  if (open_ && now - open_->asked >= limits::backup_snapshot_idle) let_go();
  if (!open_) return std::nullopt;
  return open_->asked + limits::backup_snapshot_idle;
}

// The reader takes requests in their order, so what is asked later does not see the snapshot.
void BackupRequests::let_go() {
  open_.reset();
  reads_.ask(store::BackupAsk{.what = What::let_go}, [](const Result<ReadAnswer>&) {});
}

void BackupRequests::begin(Asker to, SteadyTime now) {
  if (open_ && open_->session != to.session) return answers_.refuse(to, {Code::busy, "another backup is under way: try again when it has ended"});
  open_ = Snapshot{++last_number_, to.session, now};
  reads_.ask(store::BackupAsk{.what = What::hold}, [this, to, snapshot = last_number_](const Result<ReadAnswer>& answer) {
    if (!answer && open_ && open_->number == snapshot) let_go();  // the reader may hold the one before
    if (!answer) return answers_.refuse(to, answer.error());
    wire::BackupBegunT reply;
    reply.snapshot = snapshot;
    answers_.answer(to, std::move(reply));
  });
}

void BackupRequests::end(Asker to, std::uint64_t snapshot, SteadyTime now) {
  if (!is_open(to, snapshot, now)) return;
  let_go();
  answers_.answer(to, wire::DoneT());
}

// True: the snapshot is this session's. False: it is refused.
bool BackupRequests::is_open(Asker to, std::uint64_t snapshot, SteadyTime now) {
  const bool is_its = open_ && open_->number == snapshot && open_->session == to.session;
  if (is_its) open_->asked = now;
  else answers_.refuse(to, {Code::not_found, "snapshot " + std::to_string(snapshot) + " is not open, or not any more: begin the backup again"});
  return is_its;
}

void BackupRequests::index(Asker to, const wire::BackupIndex& ask, SteadyTime now) {
  if (ask.snapshot() != 0 && !is_open(to, ask.snapshot(), now)) return;
  store::BackupAsk wanted{.what = What::index, .held = ask.snapshot() != 0, .from = Position{ask.from()}};
  reads_.ask(std::move(wanted), [this, to](const Result<ReadAnswer>& answer) {
    if (!answer) return answers_.refuse(to, answer.error());
    const auto& slice = std::get<store::BackupSlice>(*answer);
    wire::BackupIndexReplyT reply;
    reply.records = to_wire(slice.records);
    reply.next = number(slice.next);
    answers_.answer(to, std::move(reply));
  });
}

void BackupRequests::records(Asker to, const wire::BackupRecords& ask, SteadyTime now) {
  if (ask.snapshot() != 0 && !is_open(to, ask.snapshot(), now)) return;
  store::BackupAsk wanted{.what = What::records, .held = ask.snapshot() != 0, .from = Position{ask.from()}, .to = Position{ask.to()}};
  reads_.ask(std::move(wanted), [this, to](Result<ReadAnswer> answer) {
    if (!answer) return answers_.refuse(to, answer.error());
    auto& slice = std::get<store::BackupSlice>(*answer);
    wire::BackupRecordsReplyT reply;
    reply.records = to_wire(slice.records);
    reply.next = number(slice.next);
    answers_.answer(to, std::move(reply), slice.bytes.empty() ? Frame() : Frame::of(std::move(slice.bytes)));
  });
}

void BackupRequests::rows(Asker to, const wire::BackupRows& ask, SteadyTime now) {
  if (!is_open(to, ask.snapshot(), now)) return;
  store::BackupAsk wanted{.what = What::rows, .held = true, .table = ask.table()};
  if (ask.after() != nullptr) wanted.after.assign(ask.after()->begin(), ask.after()->end());
  reads_.ask(std::move(wanted), [this, to](const Result<ReadAnswer>& answer) {
    if (!answer) return answers_.refuse(to, answer.error());
    const auto& slice = std::get<store::BackupSlice>(*answer);
    wire::BackupRowsReplyT reply;
    reply.more = slice.has_more;
    Buffer bytes;
    for (const auto& [key, value] : slice.rows) {
      reply.rows.emplace_back(static_cast<std::uint32_t>(key.size()), static_cast<std::uint32_t>(value.size()));
      bytes.insert(bytes.end(), key.begin(), key.end());
      bytes.insert(bytes.end(), value.begin(), value.end());
    }
    answers_.answer(to, std::move(reply), bytes.empty() ? Frame() : Frame::of(std::move(bytes)));
  });
}

}  // namespace bus::broker
