// Republish publishes the events of a range of the log again, as new events of one topic that name their origin. Event n of the
// range has the sequence n of the publisher, so that it goes on where it was when it is run again.
#pragma once

#include <deque>
#include <string>

#include "bus/client.hpp"
#include "tools/source_publisher.hpp"

namespace bus::tools {

// The event as a new one of that topic: with an id of its own, caused by the origin, and due at once, for ever. `log` names the
// log of the origin.
NewEvent copy_of(const Event& origin, const std::string& topic, const std::string& log);

// The publisher's name for a range that is to be published to that topic: the same for the same topic, begin and filter, in
// whatever order its lists are. The end has no part in it: with a later one it goes on.
std::string republisher(const ReplayOptions& range, const std::string& topic);

struct RepublishOptions {
  std::string topic;
  std::string publisher;                 // the client's, for messages
  std::uint64_t count = 0;               // end after so many events of the range; 0: all
  bool dry_run = false;
  Duration patience;                     // without an answer, before it is given up
};

class Republish {
 public:
  struct Summary {
    std::uint64_t events = 0;            // of the range, without those of the topic itself
    std::uint64_t own = 0;               // those
    Position first = Position::none, last = Position::none;
    std::uint64_t duplicates = 0;        // published by an earlier run
    SourcePublisher::Summary published;
  };

  // `client` publishes under the name of the range, or in a dry run under none, and lives longer.
  Republish(RepublishOptions options, Client& client);

  // Reads the range once. Returns early if interrupted, or once the broker takes no more or the log cannot be read further,
  // which `published.trouble` says. Throws Failed before anything is published: conflict, if the publisher has published
  // something else.
  Summary run(const ReplayOptions& range);

 private:
  void read(Replay& events, Position end);
  void take(const Event& event);
  void compare_with_earlier_run();

  RepublishOptions options_;
  Client& client_;
  std::string log_;
  std::uint64_t done_before_;            // sequences that an earlier run has used
  struct Earlier {
    std::uint64_t sequence;
    Position origin;
    NewEvent copy;
  };
  std::deque<Earlier> earlier_;          // the last of them
  bool is_compared_ = false;
  SourcePublisher publisher_;
  Summary summary_;
  Error unreadable_;                     // why the range was not read to its end
};

}  // namespace bus::tools
