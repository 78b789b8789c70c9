// The events of a saga in words.
#pragma once

#include <bus/client.hpp>

#include <string>

// Prints a line for each as it comes, with the time since the first one, until the saga has ended. Returns 0 if it completed, 3 if it was undone, 4 if a
// step of it could not be. Throws bus::Failed if the log cannot be read.
int follow(bus::Client& client, const std::string& saga_id);
