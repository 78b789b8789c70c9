// key head and key show: where a key has come to, and its events.
#include <algorithm>
#include <memory>

#include "tools/cli.hpp"
#include "tools/interrupts.hpp"
#include "tools/schemas.hpp"

namespace bus::tools {

namespace {

struct ShowVerb {
  std::string key;
  std::uint64_t from = 0, count = 0, at = 0;
  bool reverse = false, fold = false;
};

Exit head(const Globals& globals, const std::vector<std::string>& keys) {
  auto client = connect(globals);
  std::vector<Json> rows;
  for (std::size_t at = 0; at < keys.size(); at += 1024) {
    const std::vector<std::string> part(keys.begin() + static_cast<std::ptrdiff_t>(at),
                                        keys.begin() + static_cast<std::ptrdiff_t>(std::min(keys.size(), at + 1024)));
    const auto heads = client.key_heads(part).value();
    for (std::size_t each = 0; each < part.size(); ++each) {
      const KeyHead& head = heads[each];
      rows.push_back({{"key", part[each]}, {"version", head.version}, {"position", head.version == 0 ? Json() : Json(number(head.position))}});
    }
  }
  if (keys.size() == 1) print_object(globals.format, rows.front());
  else print_list(globals.format, {{"KEY", "key"}, {"VERSION", "version"}, {"POSITION", "position"}}, rows);
  const bool is_any = std::any_of(rows.begin(), rows.end(), [](const Json& row) { return row["version"] != 0; });
  return is_any ? Exit::ok : Exit::not_found;
}

Exit show(const Globals& globals, const ShowVerb& options) {
  auto client = connect(globals);
  Schemas schemas(client);
  const GracefulEnd graceful;
  Items items(globals.format);
  KeyRange range{options.key, options.from, options.reverse};
  range.skip_trimmed = true;
  std::uint64_t left = options.count, version = 0, trimmed = 0;
  do {
    range.limit = static_cast<std::uint32_t>(std::min<std::uint64_t>(left, 1u << 20));
    const auto part = client.read_key(range).value();
    for (const Event& event : part.events) schemas.print(items, event);
    version = part.head.version;
    trimmed = std::max(trimmed, part.trimmed);
    left -= std::min<std::uint64_t>(left, part.events.size());
    if (options.count != 0 && left == 0) break;
    range.from = part.more;
  } while (range.from != 0 && interrupted() == 0);
  if (interrupted() == 0) items.finish();
  if (trimmed != 0) warn("retention has removed events of this key, the last of them version " + std::to_string(trimmed));
  if (version == 0) warn("key '" + printable(options.key) + "' has no event");
  else if (!options.reverse && options.from > version) warn("key '" + printable(options.key) + "' is at version " + std::to_string(version));
  return version == 0 ? Exit::not_found : Exit::ok;
}

// The key's newest snapshot, if there is one, and the payloads of the events after it merged in, field by field (RFC 7396).
Exit show_state(const Globals& globals, const ShowVerb& options) {
  if (options.from != 0 || options.count != 0 || options.reverse) fail(Code::bad_argument, "--fold folds all events up to --at, so --from, --count and --reverse say nothing");
  auto client = connect(globals);
  Schemas schemas(client);
  Json state, type;
  std::uint64_t snapshot = 0;
  const auto restore = [&](const Event& saved) {
    state = Json::parse(schemas.text_of(saved));
    type = saved.type();
    snapshot = saved.version();
    return true;
  };
  const auto fold = [&](const Event& event) {
    state.merge_patch(Json::parse(schemas.text_of(event)));
    type = event.type();
  };
  const auto version = client.load(options.key, restore, fold, options.at != 0 ? options.at : Client::latest).value();
  if (version == 0) {
    warn("key '" + printable(options.key) + "' has no event");
    return Exit::not_found;
  }
  if (options.at > version) warn("key '" + printable(options.key) + "' is at version " + std::to_string(version));
  print_object(globals.format == Format::text ? Format::json : globals.format,
               {{"key", options.key}, {"version", version}, {"snapshot", snapshot == 0 ? Json() : Json(snapshot)}, {"type", type}, {"state", state}});
  return Exit::ok;
}

}  // namespace

void define_key(CLI::App& app, Cli& cli) {
  auto& parent = add_verb(app, "key", "look at single keys", "bus-cli key show user-7");
  parent.require_subcommand(1);
  auto& head_verb = add_verb(parent, "head", "print version and position of the last event of keys", "bus-cli key head user-7 user-8");
  auto keys = std::make_shared<std::vector<std::string>>();
  head_verb.add_option("KEY", *keys, "the keys")->required();
  head_verb.callback([keys, &cli] { cli.run = [keys, &cli] { return head(cli.globals, *keys); }; });

  auto& show_verb = add_verb(parent, "show", "print the events of a key, in the order of their versions", "bus-cli key show user-7 --reverse --count 10 -o ndjson");
  auto options = std::make_shared<ShowVerb>();
  show_verb.add_option("KEY", options->key, "the key")->required();
  add_number(show_verb, "--from", options->from, "begin with this version");
  add_number(show_verb, "--count", options->count, "end after so many events");
  show_verb.add_flag("--reverse", options->reverse, "the newest first");
  show_verb.add_flag("--fold", options->fold, "print the state instead: the newest snapshot, and the payloads of later events merged in, field by field");
  add_number(show_verb, "--at", options->at, "with --fold: as it was after the event of this version");
  show_verb.callback([options, &cli] {
    if (options->at != 0 && !options->fold) throw CLI::ValidationError("--at", "is for --fold");
    cli.run = [options, &cli] { return options->fold ? show_state(cli.globals, *options) : show(cli.globals, *options); };
  });
}

}  // namespace bus::tools
