// The settings of a group as options of a verb, and as JSON.
#pragma once

#include "tools/cli.hpp"

namespace bus::tools {

// Defines --sharing, --ack-wait, … on the verb; what is not given stays empty. `settings` lives as long as the verb.
void add_group_settings(CLI::App& verb, GroupSettings& settings);
bool is_empty(const GroupSettings& settings);

// Durations in milliseconds; what is unlimited is null.
Json settings_to_json(const wire::GroupSettingsT& settings);

inline bool is_paused(const wire::GroupInfoT& group) { return group.settings && group.settings->paused.value_or(false); }

}  // namespace bus::tools
