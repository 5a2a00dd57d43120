// The command line. Prints a line for each recommended item: the item, its score and, if the model gives reasons, the
// item of the history that raised the score most.

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <limits>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <system_error>
#include <type_traits>
#include <vector>

#include "recommend.hpp"

namespace {

using multvae::Error;
using Tokens = std::vector<std::string>;

const char* const usage = "recommend MODEL.onnx ITEM... [-k 10] [--exclude ITEMS] [--among ITEMS] [--gpu]";
/// At most so many unknown items are named.
constexpr std::size_t shown = 10;

struct Arguments {
  Tokens positional;
  std::int64_t k = 10;
  std::optional<Tokens> exclude;
  std::optional<Tokens> among;
  bool gpu = false;
  bool help = false;
};

/// A text as a number, if the whole text is one.
std::optional<std::int64_t> number(const std::string& text) {
  std::int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

/// The tokens of a file, one a line, or of a text, separated by commas.
Tokens read_items(const std::string& text) {
  std::error_code ignored;
  const bool is_file = std::filesystem::is_regular_file(text, ignored);
  std::ifstream file(is_file ? text : "");
  std::istringstream list(text);
  std::istream& source = is_file ? static_cast<std::istream&>(file) : list;
  Tokens tokens;
  for (std::string token; std::getline(source, token, is_file ? '\n' : ',');) {
    if (is_file && !token.empty() && token.back() == '\r') token.pop_back();
    if (!token.empty()) tokens.push_back(token);
  }
  return tokens;
}

Arguments parse(const Tokens& words) {
  Arguments arguments;
  bool items_only = false;
  for (auto at = words.begin(); at != words.end(); ++at) {
    const auto& name = *at;
    const auto value = [&] {
      if (++at == words.end()) throw Error(name + " has no value: expected " + usage + ".");
      return *at;
    };
    if (items_only || name.size() < 2 || name[0] != '-') {
      arguments.positional.push_back(name);
    } else if (name == "--") {
      items_only = true;
    } else if (name == "-k") {
      const auto text = value();
      arguments.k = number(text).value_or(0);
      if (arguments.k < 1) throw Error("-k is " + text + ": expected 1 or more.");
    } else if (name == "--exclude") {
      arguments.exclude = read_items(value());
    } else if (name == "--among") {
      arguments.among = read_items(value());
    } else if (name == "--gpu") {
      arguments.gpu = true;
    } else if (name == "--help" || name == "-h") {
      arguments.help = true;
    } else {
      throw Error("there is no option " + name + ": expected " + usage + ".");
    }
  }
  return arguments;
}

template <typename Item>
std::vector<Item> items_of(const Tokens& tokens) {
  if constexpr (std::is_same_v<Item, std::string>) {
    return tokens;
  } else {
    std::vector<Item> ids;
    for (const auto& token : tokens) {
      const auto id = number(token);
      if (!id) throw Error("'" + token + "' is no item id: the model takes RecBole's item ids.");
      ids.push_back(*id);
    }
    return ids;
  }
}

/// Names the items of the lists that the model does not know. It ranks its whole catalogue for that.
template <typename Item>
void warn_of_unknown(const multvae::Recommender& recommender, const std::vector<std::vector<Item>>& lists) {
  const auto all = recommender.recommend<Item>({{}}, std::numeric_limits<std::int32_t>::max());
  std::set<Item> named(all.items[0].begin(), all.items[0].end());
  named.insert(Item{});
  std::vector<Item> unknown;
  for (const auto& list : lists) {
    for (const auto& item : list) {
      if (named.insert(item).second) unknown.push_back(item);
    }
  }
  if (unknown.empty()) return;
  std::cerr << "The model ignores items that it does not know: ";
  for (std::size_t at = 0; at < std::min(unknown.size(), shown); ++at) std::cerr << (at ? ", " : "") << unknown[at];
  if (unknown.size() > shown) std::cerr << " and " << unknown.size() - shown << " more";
  std::cerr << '\n';
}

template <typename Item>
void show(const multvae::Recommender& recommender, const Arguments& arguments) {
  const auto history = items_of<Item>({arguments.positional.begin() + 1, arguments.positional.end()});
  multvae::Options<Item> options;
  if (arguments.exclude) options.exclude.emplace(1, items_of<Item>(*arguments.exclude));
  if (arguments.among) options.among.emplace(1, items_of<Item>(*arguments.among));
  const auto ranking = recommender.recommend<Item>({history}, arguments.k, options);
  const auto& items = ranking.items[0];
  if (items.empty() || items[0] == Item{}) {
    throw Error(
        "Nothing to recommend: every item is in the history or excluded, or --among names none that the model knows.");
  }
  std::vector<std::vector<Item>> lists{history};
  for (const auto& rows : {options.exclude, options.among}) {
    if (rows) lists.insert(lists.end(), rows->begin(), rows->end());
  }
  warn_of_unknown(recommender, lists);
  std::cout << std::fixed << std::setprecision(4);
  for (std::size_t rank = 0; rank < items.size() && items[rank] != Item{}; ++rank) {
    std::cout << items[rank] << '\t' << ranking.scores[0][rank];
    if (ranking.reasons) {
      const auto reason = multvae::because(history, (*ranking.reasons)[0][rank]);
      if (reason) std::cout << "\tbecause of " << *reason;
    }
    std::cout << '\n';
  }
}

void run(const Arguments& arguments) {
  if (arguments.help) {
    std::cout << usage << '\n';
    return;
  }
  if (arguments.positional.empty()) throw Error(std::string("MODEL.onnx is missing: expected ") + usage + ".");
  const multvae::Recommender recommender(arguments.positional[0], arguments.gpu);
  if (arguments.gpu) std::cerr << "runs on " << recommender.provider() << '\n';
  recommender.takes_ids() ? show<std::int64_t>(recommender, arguments) : show<std::string>(recommender, arguments);
}

}  // namespace

int main(int count, char** arguments) {
  try {
    run(parse({arguments + 1, arguments + count}));
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return 0;
}
