// Every limit of the bus, in one place, with the relations between them checked by the compiler.
// What an operator may set is bounded here and set in broker/server/config.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace bus::limits {

using namespace std::chrono_literals;

inline constexpr std::size_t KiB = 1024;
inline constexpr std::size_t MiB = 1024 * KiB;
inline constexpr std::size_t GiB = 1024 * MiB;

// ---- events and batches
inline constexpr std::size_t event_bytes_max = 1 * MiB;       // one Event, without its size prefix
inline constexpr std::size_t batch_bytes_max = 2 * MiB;       // body frame of one Publish
inline constexpr std::size_t batch_events_max = 16 * KiB;     // sequences of one Publish
inline constexpr std::size_t header_bytes_max = 1 * MiB;      // header frame, either way
inline constexpr std::size_t refusal_details_bytes_max = 48 * KiB;  // of one PublishResult; the codes always are there
inline constexpr std::size_t frame_bytes_max = batch_bytes_max + 4 * KiB;  // ZMQ_MAXMSGSIZE
inline constexpr std::size_t conditions_max = 16;             // of one event
inline constexpr std::size_t batch_conditions_max = 24 * KiB;
inline constexpr std::size_t event_id_row_bytes = 64;         // what an id that is to be unique takes of a record and a checkpoint
inline constexpr std::size_t snapshots_max = 64;              // that may be kept of one key
inline constexpr std::size_t snapshots_default = 2;
inline constexpr std::size_t snapshot_row_bytes = 8 * KiB;    // what one takes besides its own bytes, at most: the rest of a page, and of its tree
inline constexpr std::size_t condition_bytes_target = 256 * KiB;  // of a batch's conditions and their keys: libbus begins another one
inline constexpr std::size_t step_events_max = 1024;
inline constexpr std::size_t step_settlements_max = 1024;
inline constexpr std::size_t step_header_bytes_max = 384 * KiB;   // its conditions, settlements and cancels
inline constexpr std::size_t topic_bytes_max = 255;
inline constexpr std::size_t key_bytes_max = 255;
inline constexpr std::size_t id_bytes_max = 64;
inline constexpr std::size_t text_bytes_max = 255;            // source, subject, ids of others, dataschema
inline constexpr std::size_t attributes_max = 64;
inline constexpr std::size_t publisher_bytes_max = 128;
inline constexpr std::size_t group_bytes_max = 128;
inline constexpr unsigned verifier_depth_max = 16;
inline constexpr std::size_t struct_depth_max = 64;           // structs in structs
inline constexpr unsigned verifier_tables_max = 1024;

// ---- sessions
inline constexpr std::size_t sessions_max = 10'000;
inline constexpr std::size_t subscriptions_per_session_max = 64;
inline constexpr std::size_t filter_entries_max = 64;         // patterns, types and keys of one filter, each
inline constexpr std::size_t filter_attributes_max = 16;
inline constexpr std::size_t groups_max = 10'000;
inline constexpr std::size_t topics_max = 1'000'000;
inline constexpr std::size_t publishers_max = 1'000'000;
inline constexpr std::size_t window_bytes = 16 * MiB;         // published and not yet receipted, a session
inline constexpr std::size_t window_events = 64 * KiB;
inline constexpr std::size_t staged_bytes_max = 64 * MiB;     // in all: parked, staged and being committed
inline constexpr std::size_t newcomers_part = 8;              // of that an eighth is for publishers that hold nothing of it
inline constexpr std::size_t staged_share = 4;                // no other may hold more than so many times what is free
inline constexpr std::size_t requests_per_session_max = 64;   // unanswered
inline constexpr std::size_t settlements_max = 16 * KiB;      // of one Settle
inline constexpr std::size_t settlement_texts_max = 256;      // of one Settle that libbus sends
inline constexpr std::size_t reply_bytes_target = 256 * KiB;  // longer lists are told in parts
inline constexpr std::size_t member_names_max = 256;          // of one group, in a reply
inline constexpr std::size_t faults_max = 256;                // of one slice of log verify
inline constexpr std::size_t outbox_bytes_max = 8 * MiB;      // held for a session that does not read
inline constexpr std::size_t outbox_messages_max = 4096;
inline constexpr std::size_t round_bytes_max = 2 * MiB;       // handed to the socket at once for one session
inline constexpr std::size_t credit_events_max = 64 * KiB;    // outstanding, a subscription
inline constexpr std::size_t credit_bytes_max = 16 * MiB;
inline constexpr auto clock_slack = 60s;                      // by which a client's clock may be ahead of the broker's
inline constexpr auto heartbeat = 5s;
inline constexpr auto session_timeout = 15s;
inline constexpr auto transient_hold = 1h;                  // a transient name waits so long for a holder that said no Bye

// ---- sockets: what libzmq may hold for one peer is these times the largest message
inline constexpr int send_high_water_mark = 64;
inline constexpr int receive_high_water_mark = 4;

// ---- records and commits
inline constexpr std::size_t record_bytes_target = 256 * KiB; // split here; one larger event stands alone
inline constexpr std::size_t record_events_max = 4096;
// Bodies of one commit; the rest waits for the next one. Larger ones have shown to be no faster, and all who are in one wait
// for all of it.
inline constexpr std::size_t commit_bytes_max = 4 * MiB;
inline constexpr auto settle_delay = 50ms;                    // settlements wait this long for a publish
inline constexpr std::size_t tail_bytes_max = 64 * MiB;       // committed records kept for live delivery
inline constexpr std::size_t cold_bytes_max = 32 * MiB;       // records read back for those behind
inline constexpr std::size_t read_bytes_max = 1 * MiB;        // one answer of the log reader
inline constexpr std::size_t reads_in_flight_max = 16;
inline constexpr std::size_t key_reads_max = 256;             // heads of keys that one read looks up
inline constexpr std::size_t key_heads_max = 1024;            // and one request
inline constexpr std::size_t key_page_events = 64;            // of one key: each such number of versions has a row that leads to it
inline constexpr std::size_t key_page_bytes = 4 * KiB;        // what such a row counts for in a commit: a page of its table
inline constexpr std::size_t key_limit_max = 1024 * KiB;      // events that one request may ask for
// Looked into by one request that walks along a publisher's chain. Their indexes have less than 16 MiB together: tens of
// milliseconds, after which others have their turn.
inline constexpr std::size_t chain_records_max = 64;
inline constexpr std::size_t deliver_bytes_max = 256 * KiB;   // body of one Deliver, or one larger event
inline constexpr std::size_t deliver_events_max = 1024;
// Looked at, matching or not: by one source in one turn, and by all of them before the loop looks after sockets and commits
// again. A row takes some 10 to 100 ns, so that the loop is back within a few milliseconds.
inline constexpr std::size_t turn_rows_max = 16 * KiB;
inline constexpr std::size_t pump_rows_max = 64 * KiB;

// ---- checkpoints
inline constexpr std::size_t key_shards = 256;                // by the first byte of the key's hash
inline constexpr std::size_t checkpoint_bytes_max = 256 * KiB;// of one commit
inline constexpr std::size_t checkpoint_step_bytes = 256 * KiB;  // log between two shards
inline constexpr std::size_t checkpoint_step_events = 1024;
inline constexpr std::size_t checkpoint_step_batches = 64;    // so that the journal stays short
inline constexpr std::size_t checkpoint_stretch_max = 8;      // so much further apart where steps save many keys
inline constexpr std::size_t checkpoint_step_keys = 128;      // many
inline constexpr std::size_t final_steps = 16;                // in one of the last commits: they share what one alone would need
inline constexpr std::size_t keys_resident_max = 2048 * 1024; // beyond, clean ones are left to LMDB
inline constexpr std::size_t keys_evicted_max = commit_bytes_max / 64;  // at once; no event with a key is that small

// ---- groups
inline constexpr std::size_t ahead_max = 16 * MiB;            // positions beyond the scan from which urgent events are taken
inline constexpr std::size_t ahead_searches_max = 4;          // for the next urgent events in old records, of all groups together
inline constexpr std::uint32_t priority_share = 8;            // after so many events of higher priority one of a lower has its turn
inline constexpr std::size_t open_max = 128 * KiB;            // in flight, delayed or ready again, a group
inline constexpr std::size_t lane_waiting_max = 64;           // events behind an open one of their key that are kept in mind, a key
inline constexpr std::size_t waiting_max = 128 * KiB;         // and a group; those beyond are found again in the log
inline constexpr std::size_t lane_found_max = 1024;           // by one search
inline constexpr std::size_t in_flight_default = 1024;
inline constexpr auto ack_wait_default = 30s;
inline constexpr auto ack_wait_min = 100ms;
inline constexpr auto ack_wait_max = 24h;
inline constexpr auto nack_delay_max = 24h * 7;
inline constexpr std::uint32_t attempts_default = 20;         // failures; with the delays below they take 10 min 42 s, more or less
inline constexpr std::uint32_t attempts_max = 1'000'000;
inline constexpr auto retry_delay_default = 100ms;
inline constexpr auto retry_delay_max_default = 1min;
inline constexpr std::size_t error_bytes_max = 1024;          // of one failure, or a note
inline constexpr std::size_t failures_kept_max = 64;          // of one event, the last ones
inline constexpr std::size_t searches_in_flight_max = 16;     // for the next events of keys, of all groups together
inline constexpr std::size_t failure_bytes_max = 4 * MiB;     // rows of one commit; beyond, groups get nothing more to fail at
inline constexpr std::size_t letters_moved_max = 64 * KiB;    // that go with a seek or a group at once
inline constexpr std::size_t letters_settled_max = 1024;      // in one request
inline constexpr std::size_t dead_letters_max = 1024 * KiB;   // a group
inline constexpr std::uint32_t jitter_default = 20;           // percent

// ---- schedule
inline constexpr std::size_t schedule_max = 1024 * KiB;       // events that are not due yet
inline constexpr auto schedule_ahead_max = 24h * 3650;
inline constexpr std::size_t schedule_taken_max = 4 * KiB;    // that go into the log with one commit, or
inline constexpr std::size_t schedule_taken_bytes_max = 2 * MiB;  // so many: one answer of the log reader, or one event
inline constexpr std::size_t schedule_ids_max = 1024;         // cancelled by one request, or the steps of one batch
inline constexpr std::size_t schedule_row_bytes = 256;        // what an event takes besides its own bytes, at most

// ---- projections: libbus-projection
inline constexpr std::size_t projection_name_bytes_max = 128;
inline constexpr std::size_t projection_key_bytes_max = 500;      // of a row; LMDB's own bound is 511
inline constexpr std::size_t projection_value_bytes_max = 1 * MiB;
inline constexpr std::size_t projection_changes_max = 16 * KiB;   // rows that the fold of one event may put or erase,
inline constexpr std::size_t projection_change_bytes_max = 16 * MiB;  // with so many bytes of keys and values
// A checkpoint comes at the latest after so much: of events, which are kept until then and folded again if the map has to grow
// first, and of changes, which are pages in memory until they are committed.
inline constexpr std::size_t projection_group_events = 16 * KiB;
inline constexpr std::size_t projection_group_bytes = 8 * MiB;
inline constexpr std::size_t projection_group_changes = 16 * KiB;
inline constexpr std::size_t projection_group_change_bytes = 16 * MiB;
inline constexpr auto projection_group_delay = 1s;                // behind the head of the log; there it comes at once
inline constexpr std::size_t projection_scan_bytes = 64 * KiB;    // rows copied at once for a scan
inline constexpr std::size_t projection_snapshots_max = 64;       // at a time, of one state
inline constexpr auto projection_snapshot_life = 5s;
inline constexpr std::size_t projection_map_bytes = 64 * MiB;     // at first; doubled when it is full
inline constexpr std::size_t projection_map_bytes_max = 1024 * GiB;

// ---- topics
inline constexpr std::size_t topic_settings_max = 64 * KiB;      // topics with settings; they are kept in memory
inline constexpr std::size_t topic_settings_bytes_max = 64 * MiB;// of all of them
inline constexpr std::size_t topic_types_max = 64;               // that one admits
inline constexpr std::size_t topic_properties_max = 32;
inline constexpr std::size_t property_name_bytes_max = 64;
inline constexpr std::size_t description_bytes_max = 1024;       // also of a property's value, and why a type is deprecated

// ---- schemas
inline constexpr std::size_t schema_bytes_max = 256 * KiB;       // of one reflection schema
inline constexpr std::size_t schema_types_max = 4 * KiB;         // that are registered
inline constexpr std::size_t schema_versions_max = 256;          // of one type
inline constexpr std::size_t schemas_bytes_max = 64 * MiB;       // of all versions together; they are kept in memory
inline constexpr std::size_t schema_compared_changes_max = 4 * KiB;  // between two versions
inline constexpr std::size_t schema_changes_max = 256;           // that one answer tells of one type
inline constexpr std::size_t schema_comparisons_max = 256 * KiB; // fields and values that one request compares, with all versions: 60 ms

// ---- retention
inline constexpr std::size_t retention_policies_max = 256;
inline constexpr std::size_t legal_holds_max = 1024;
inline constexpr std::size_t hold_reason_bytes_max = 1024;
inline constexpr auto retention_age_max = std::chrono::hours(24 * 365 * 100);
inline constexpr auto retention_clock_trust = std::chrono::hours(24);  // so far a clock may jump ahead and be believed
inline constexpr auto retention_interval = 60s;                 // between two runs
inline constexpr int retention_rest = 20;                       // and this many times as long as the last one took
inline constexpr std::size_t retention_records_read = 4;        // whose indexes are looked at in one step
inline constexpr std::size_t retention_trims_max = 16;          // records that one commit deletes
inline constexpr std::size_t retention_keys_max = 256 * 1024;   // that one run keeps the last events of
inline constexpr std::size_t retention_results_max = 256;       // policies that a reply tells the outcome of

// ---- backups
inline constexpr std::size_t backup_records_read = 1024;        // of which one request tells; each costs a look at one page
inline constexpr std::size_t backup_rows_read = 4 * KiB;        // in one reply, and of rows and records
inline constexpr std::size_t backup_bytes_read = 1 * MiB;       // so many bytes, or one larger
inline constexpr auto backup_snapshot_idle = 30s;               // then it is given up: pages that it sees are not used again

// ---- space
inline constexpr std::size_t map_bytes_default = 1024 * GiB;  // address space only
inline constexpr std::size_t map_bytes_min = 64 * MiB;
inline constexpr std::size_t settle_reserve_bytes = 16 * MiB; // kept for settlements when the log is full
inline constexpr std::size_t fill_slice_bytes = 1 * MiB;
inline constexpr std::size_t fill_ahead_bytes = 64 * MiB;
inline constexpr std::size_t grow_ahead_min = 8 * MiB;        // allocated beyond the reserve, however little is filled

// A legal event always fits into an empty batch; otherwise publish could never succeed.
static_assert(event_bytes_max + 8 <= batch_bytes_max);
static_assert(batch_bytes_max < frame_bytes_max && header_bytes_max < frame_bytes_max);
// The answer to a batch fits into a header even if every event was refused: a receipt and a refusal each, and the details.
static_assert(batch_events_max * (24 + 36) + refusal_details_bytes_max + 4 * KiB <= header_bytes_max);
// The most that libbus says in one Settle fits into a header.
static_assert(settlements_max * 24 + settlement_texts_max * (error_bytes_max + 32) + 4 * KiB <= header_bytes_max);
// So do the conditions and steps of a batch, and one step has no more conditions than a batch may.
static_assert(condition_bytes_target <= step_header_bytes_max && 2 * step_header_bytes_max <= header_bytes_max);
static_assert(step_header_bytes_max / 16 <= batch_conditions_max);
// What publishers with something on the way may hold together, of so many bytes that may be staged.
constexpr std::size_t shared_bytes(std::size_t staged_bytes) { return staged_bytes - staged_bytes / newcomers_part; }
// A full window is a fair share of what may be staged, so that one publisher within its credit is never told Busy: also
// while half of the space grown ahead is used, and a quarter of the rest is for index and pages.
static_assert(window_bytes <= staged_share * (shared_bytes(staged_bytes_max) - window_bytes));
static_assert(window_bytes <= staged_share * (shared_bytes(fill_ahead_bytes / 2 / 4 * 3) - window_bytes));
// What is kept for newcomers is a batch at least.
static_assert(batch_bytes_max <= staged_bytes_max / newcomers_part && batch_bytes_max <= fill_ahead_bytes / 2 / 4 * 3 / newcomers_part);
// A batch is staged as a whole.
static_assert(batch_bytes_max <= commit_bytes_max);
// While the disk has space any batch is admitted: half of what was grown may be gone, a quarter is for index and pages.
static_assert(grow_ahead_min / 2 - grow_ahead_min / 8 >= batch_bytes_max);
// A read answer is not evicted before the one who asked has seen it: as many as are asked for at once are kept till then.
static_assert(reads_in_flight_max * read_bytes_max < cold_bytes_max);
static_assert(key_shards % final_steps == 0);
// The keys of a batch, and of its conditions, stay known until it is staged.
static_assert(batch_events_max + batch_conditions_max <= keys_resident_max);
static_assert(deliver_events_max <= turn_rows_max && turn_rows_max <= pump_rows_max);
static_assert(deliver_bytes_max <= credit_bytes_max && batch_bytes_max < outbox_bytes_max);
// A socket that takes nothing of a round leaves a session that still fits into its outbox.
static_assert(round_bytes_max + event_bytes_max + deliver_bytes_max < outbox_bytes_max);
static_assert(record_events_max < 0xffff);
static_assert(in_flight_default <= open_max);
static_assert(heartbeat < session_timeout);
// A client that has lost its connection, or whose broker was restarted, finds its name again.
static_assert(session_timeout < transient_hold);

// What a group of a projection holds when its last event may still be folded is far from what one LMDB transaction keeps in
// memory, 131,071 pages of 4 KiB: a changed row rewrites its leaf.
static_assert(projection_group_changes + projection_changes_max < 131'071 / 3);
static_assert((projection_group_change_bytes + projection_change_bytes_max) / 4096 < 131'071 / 3);
static_assert(projection_value_bytes_max <= projection_change_bytes_max);
// The first map holds more than one group changes.
static_assert(projection_group_change_bytes + projection_change_bytes_max <= projection_map_bytes);

}  // namespace bus::limits
