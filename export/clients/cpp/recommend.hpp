// Recommendations from an exported model, with only onnxruntime's C API. C++17.
//
//   const multvae::Recommender recommender("model.onnx");
//   const auto ranking = recommender.recommend<std::string>({{"42", "7"}}, 10);
//   std::cout << ranking.items[0][0] << '\t' << ranking.scores[0][0] << '\n';

#pragma once

#include <onnxruntime_c_api.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace multvae {

/// An error of one sentence.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Rows that may differ in length.
template <typename T>
using Rows = std::vector<std::vector<T>>;

/// Optional inputs of a request, for a file that has them. Requests and threads may share one object.
template <typename Item>
struct Options {
  /// Items never to return, a list for each history, or one for all.
  std::optional<Rows<Item>> exclude;
  /// The only items to rank, likewise; if absent, all are ranked.
  std::optional<Rows<Item>> among;
  /// [batch or 1][K], standard normal for a sample; if absent, zeros.
  std::optional<Rows<float>> noise;
};

/// The items for each history, best first.
template <typename Item>
struct Ranking {
  /// [batch][k]; a row with fewer items ends in "" (of ids: 0).
  Rows<Item> items;
  /// [batch][k]; -inf where there is no item.
  Rows<float> scores;
  /// [batch][k][length of the longest history]: by how much each item of the history raises each score; absent if the
  /// file has no reasons.
  std::optional<std::vector<Rows<float>>> reasons;
};

namespace detail {

/// The functions of onnxruntime.
inline const OrtApi& api() {
  static const OrtApi* const functions = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (functions == nullptr) {
    throw Error(std::string("the library is onnxruntime ") + OrtGetApiBase()->GetVersionString() +
                ", this program was built with the header of 1." + std::to_string(ORT_API_VERSION) +
                ": use that library or a newer one.");
  }
  return *functions;
}

/// Releases an object of onnxruntime by the given function of its API.
template <auto Function>
struct Release {
  template <typename T>
  void operator()(T* object) const {
    (api().*Function)(object);
  }
};
using Env = std::unique_ptr<OrtEnv, Release<&OrtApi::ReleaseEnv>>;
using Session = std::unique_ptr<OrtSession, Release<&OrtApi::ReleaseSession>>;
using SessionOptions = std::unique_ptr<OrtSessionOptions, Release<&OrtApi::ReleaseSessionOptions>>;
using CudaOptions = std::unique_ptr<OrtCUDAProviderOptionsV2, Release<&OrtApi::ReleaseCUDAProviderOptions>>;
using Metadata = std::unique_ptr<OrtModelMetadata, Release<&OrtApi::ReleaseModelMetadata>>;
using TypeInfo = std::unique_ptr<OrtTypeInfo, Release<&OrtApi::ReleaseTypeInfo>>;
using TensorInfo = std::unique_ptr<OrtTensorTypeAndShapeInfo, Release<&OrtApi::ReleaseTensorTypeAndShapeInfo>>;
using Status = std::unique_ptr<OrtStatus, Release<&OrtApi::ReleaseStatus>>;
using Value = std::unique_ptr<OrtValue, Release<&OrtApi::ReleaseValue>>;

inline void check(OrtStatus* result) {
  if (result == nullptr) return;
  const Status failure(result);
  std::string message = api().GetErrorMessage(result);
  std::replace(message.begin(), message.end(), '\n', ' ');
  throw Error("onnxruntime failed: " + message);
}

/// The value that a function of the API writes to its last argument.
template <typename Out, typename Function, typename... Arguments>
Out get(Function function, Arguments... arguments) {
  Out out{};
  check(function(arguments..., &out));
  return out;
}

inline OrtAllocator* allocator() { return get<OrtAllocator*>(api().GetAllocatorWithDefaultOptions); }

/// A text that a function of the API allocates; "none" if there is none.
template <typename Function, typename... Arguments>
std::string text(Function function, Arguments... arguments) {
  const auto free = [owner = allocator()](char* allocated) { owner->Free(owner, allocated); };
  const std::unique_ptr<char, decltype(free)> allocated(get<char*>(function, arguments...), free);
  return allocated ? allocated.get() : "none";
}

inline std::vector<std::int64_t> shape_of(const OrtTensorTypeAndShapeInfo* info) {
  std::vector<std::int64_t> shape(get<std::size_t>(api().GetDimensionsCount, info));
  check(api().GetDimensions(info, shape.data(), shape.size()));
  return shape;
}

inline std::vector<std::int64_t> shape_of(const Value& value) {
  return shape_of(TensorInfo(get<OrtTensorTypeAndShapeInfo*>(api().GetTensorTypeAndShape, value.get())).get());
}

inline std::string name_of(ONNXTensorElementDataType type) {
  if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING) return "string";
  if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64) return "int64";
  return type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT ? "float" : "other";
}

// A string tensor is made of C strings. A token with a zero byte would be cut there, so it is replaced by padding.
inline const char* cell(const std::string& token) {
  return token.find('\0') == std::string::npos ? token.c_str() : "";
}
inline std::int64_t cell(std::int64_t id) { return id; }
inline float cell(float number) { return number; }

/// A tensor that holds a copy of the cells.
template <typename Cell>
Value tensor(const std::vector<Cell>& cells, const std::vector<std::int64_t>& shape) {
  constexpr auto type = std::is_same_v<Cell, float>          ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT
                        : std::is_same_v<Cell, std::int64_t> ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64
                                                             : ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING;
  Value value(get<OrtValue*>(api().CreateTensorAsOrtValue, allocator(), shape.data(), shape.size(), type));
  if constexpr (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING) {
    check(api().FillStringTensor(value.get(), cells.data(), cells.size()));
  } else {
    std::copy(cells.begin(), cells.end(), static_cast<Cell*>(get<void*>(api().GetTensorMutableData, value.get())));
  }
  return value;
}

/// The rows as one tensor, as wide as the longest row and at least `width`, padded with "" or 0.
template <typename T>
Value padded(const Rows<T>& rows, std::size_t width = 0) {
  for (const auto& row : rows) width = std::max(width, row.size());
  const T padding{};
  std::vector<decltype(cell(padding))> cells;
  cells.reserve(rows.size() * width);
  for (const auto& row : rows) {
    for (const T& value : row) cells.push_back(cell(value));
    cells.resize(cells.size() + width - row.size(), cell(padding));
  }
  return tensor(cells, {static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(width)});
}

/// The cells of a tensor as `count` rows of `width` each.
template <typename T>
Rows<T> rows_of(OrtValue* value, std::size_t count, std::size_t width) {
  Rows<T> rows(count);
  if constexpr (std::is_same_v<T, std::string>) {
    std::string all(get<std::size_t>(api().GetStringTensorDataLength, value), '\0');
    std::vector<std::size_t> starts(count * width);
    check(api().GetStringTensorContent(value, all.data(), all.size(), starts.data(), starts.size()));
    starts.push_back(all.size());
    auto start = starts.begin();
    for (auto& row : rows) {
      for (row.reserve(width); row.size() < width; ++start) row.emplace_back(all, start[0], start[1] - start[0]);
    }
  } else {
    const T* start = static_cast<const T*>(get<void*>(api().GetTensorMutableData, value));
    for (auto& row : rows) {
      row.assign(start, start + width);
      start += width;
    }
  }
  return rows;
}

}  // namespace detail

/// A file exported with --io tokens or --io ids. Threads may share it: their requests run in parallel.
class Recommender {
 public:
  /// Load a file. With gpu it runs on CUDA if that is available; provider() says where it runs. threads are those of one
  /// request on the CPU; 0 leaves it to onnxruntime, which takes the machine's cores.
  ///
  /// Throws Error if the file is missing, no ONNX model, of another form or of an unknown contract version, or threads is
  /// not 0 to 1024. A file whose weights are damaged is loaded.
  explicit Recommender(const std::filesystem::path& path, bool gpu = false, int threads = 1) {
    constexpr int most_threads = 1024;
    if (threads < 0 || threads > most_threads) {
      throw Error("threads is " + std::to_string(threads) + ": expected 0 to " + std::to_string(most_threads) + '.');
    }
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(path, ignored)) {
      const std::string found = std::filesystem::is_directory(path, ignored) ? " is a folder" : " is missing";
      throw Error(path.string() + found + ": expected a model exported with --io tokens or --io ids.");
    }
    if (gpu) {
      try {
        session_ = open(path, true, threads);
        on_cuda_ = true;
      } catch (const Error&) {
        // It runs on the CPU instead, and provider() says so.
      }
    }
    try {
      if (!session_) session_ = open(path, false, threads);
    } catch (const Error&) {
      const char* const problem = " is no ONNX model that onnxruntime can read: export the model again.";
      std::throw_with_nested(Error(path.string() + problem));
    }
    read_names();
    check_contract(path.string());
  }

  /// What it runs on: "CUDAExecutionProvider" or "CPUExecutionProvider".
  [[nodiscard]] const char* provider() const { return on_cuda_ ? "CUDAExecutionProvider" : "CPUExecutionProvider"; }

  /// Whether items are RecBole's ids, std::int64_t; else they are tokens, std::string.
  [[nodiscard]] bool takes_ids() const { return inputs_.at("history").type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64; }

  /// Rank k items for histories of tokens, or of ids if takes_ids(): one history a row, of any length.
  ///
  /// Throws Error if items are of the other type, k is below 1, the file lacks an option, or lists or noise have other
  /// shapes than Options says.
  template <typename Item>
  [[nodiscard]] Ranking<Item> recommend(const Rows<Item>& histories, std::int64_t k,
                                        const Options<Item>& options = {}) const {
    constexpr bool ids = std::is_same_v<Item, std::int64_t>;
    static_assert(ids || std::is_same_v<Item, std::string>, "an item is a std::string or a std::int64_t");
    if (ids != takes_ids()) {
      throw Error(ids ? "the model takes item tokens: give it std::string."
                      : "the model takes RecBole's item ids: give it std::int64_t.");
    }
    if (k < 1) throw Error("k is " + std::to_string(k) + ": expected 1 or more.");
    Feed feed;
    feed.add("history", detail::padded(histories));
    feed.add("k", detail::tensor(std::vector<std::int64_t>{k}, {1}));
    add_option(feed, "exclude", "--filters", options.exclude);
    add_option(feed, "among", "--filters", options.among);
    add_option(feed, "noise", "--posterior", options.noise);

    const auto [items, scores, reasons] = run(feed);
    const auto shape = detail::shape_of(items);
    const auto batch = static_cast<std::size_t>(shape.at(0));
    const auto width = static_cast<std::size_t>(shape.at(1));
    Ranking<Item> ranking;
    ranking.items = detail::rows_of<Item>(items.get(), batch, width);
    ranking.scores = detail::rows_of<float>(scores.get(), batch, width);
    if (reasons) ranking.reasons = reasons_of(reasons, batch, width);
    return ranking;
  }

 private:
  struct Input {
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    std::vector<std::int64_t> shape;
  };

  struct Feed {
    std::vector<const char*> names;
    std::vector<detail::Value> values;

    void add(const char* name, detail::Value value) {
      names.push_back(name);
      values.push_back(std::move(value));
    }
  };

  static std::vector<Rows<float>> reasons_of(const detail::Value& value, std::size_t batch, std::size_t width) {
    const auto length = static_cast<std::size_t>(detail::shape_of(value).at(2));
    auto rows = detail::rows_of<float>(value.get(), batch * width, length);
    std::vector<Rows<float>> reasons(batch, Rows<float>(width));
    auto row = rows.begin();
    for (auto& ranks : reasons) {
      for (auto& rank : ranks) rank = std::move(*row++);
    }
    return reasons;
  }

  detail::Session open(const std::filesystem::path& path, bool cuda, int threads) const {
    const auto& api = detail::api();
    const detail::SessionOptions options(detail::get<OrtSessionOptions*>(api.CreateSessionOptions));
    detail::check(api.SetIntraOpNumThreads(options.get(), threads));
    if (cuda) {
      const detail::CudaOptions defaults(detail::get<OrtCUDAProviderOptionsV2*>(api.CreateCUDAProviderOptions));
      detail::check(api.SessionOptionsAppendExecutionProvider_CUDA_V2(options.get(), defaults.get()));
    }
    return detail::Session(detail::get<OrtSession*>(api.CreateSession, env_.get(), path.c_str(), options.get()));
  }

  void read_names() {
    const auto& api = detail::api();
    const auto read = [&](auto count, auto name, auto type) {
      for (std::size_t at = 0; at < detail::get<std::size_t>(count, session_.get()); ++at) {
        const detail::TypeInfo info(detail::get<OrtTypeInfo*>(type, session_.get(), at));
        const auto* tensor = detail::get<const OrtTensorTypeAndShapeInfo*>(api.CastTypeInfoToTensorInfo, info.get());
        auto& input = inputs_[detail::text(name, session_.get(), at, detail::allocator())];
        if (tensor == nullptr) continue;
        input = {detail::get<ONNXTensorElementDataType>(api.GetTensorElementType, tensor), detail::shape_of(tensor)};
      }
    };
    read(api.SessionGetInputCount, api.SessionGetInputName, api.SessionGetInputTypeInfo);
    // onnxruntime lists a k that has a default as an initializer, not as an input.
    read(api.SessionGetOverridableInitializerCount, api.SessionGetOverridableInitializerName,
         api.SessionGetOverridableInitializerTypeInfo);
    for (std::size_t at = 0; at < detail::get<std::size_t>(api.SessionGetOutputCount, session_.get()); ++at) {
      gives_reasons_ |= detail::text(api.SessionGetOutputName, session_.get(), at, detail::allocator()) == "reasons";
    }
  }

  void check_contract(const std::string& path) const {
    constexpr std::array<std::string_view, 5> names{"history", "k", "exclude", "among", "noise"};
    const auto type_of = [&](const char* name) {
      const auto input = inputs_.find(name);
      return input == inputs_.end() ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED : input->second.type;
    };
    const auto items = type_of("history");
    bool known = items == ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING || items == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
    known = known && type_of("k") == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
    std::string types;
    for (const auto& [name, input] : inputs_) {
      known = known && std::count(names.begin(), names.end(), name) == 1;
      types += (types.empty() ? "" : ", ") + detail::name_of(input.type) + " " + name;
    }
    if (!known) {
      throw Error(path + " takes " + types +
                  ": expected history and k; export the model with --io tokens or --io ids.");
    }
    const auto& api = detail::api();
    const detail::Metadata metadata(detail::get<OrtModelMetadata*>(api.SessionGetModelMetadata, session_.get()));
    const auto version =
        detail::text(api.ModelMetadataLookupCustomMetadataMap, metadata.get(), detail::allocator(), "contract_version");
    if (version != "1" && version != "2") {
      throw Error(path + " has the contract version " + version + ", this client knows 1 and 2: update it.");
    }
  }

  template <typename T>
  void add_option(Feed& feed, const char* name, const char* flag, const std::optional<Rows<T>>& rows) const {
    const auto input = inputs_.find(name);
    if (input == inputs_.end()) {
      if (rows) throw Error(std::string("the model has no input ") + name + ": export it with " + flag + ".");
      return;
    }
    // Noise has the fixed width K. Lists have any width, which onnxruntime writes as -1.
    const auto width = static_cast<std::size_t>(std::max<std::int64_t>(input->second.shape.at(1), 0));
    if (!rows || rows->empty()) return feed.add(name, detail::padded(Rows<T>(1), width));
    for (const auto& row : *rows) {
      if (width == 0 || row.size() == width) continue;
      throw Error(std::string(name) + " has a row of " + std::to_string(row.size()) + " numbers: the model takes " +
                  std::to_string(width) + ".");
    }
    feed.add(name, detail::padded(*rows));
  }

  std::array<detail::Value, 3> run(const Feed& feed) const {
    constexpr std::array<const char*, 3> names{"items", "scores", "reasons"};
    std::vector<const OrtValue*> inputs;
    for (const auto& value : feed.values) inputs.push_back(value.get());
    std::array<OrtValue*, 3> outputs{};
    detail::check(detail::api().Run(session_.get(), nullptr, feed.names.data(), inputs.data(), inputs.size(),
                                    names.data(), gives_reasons_ ? 3 : 2, outputs.data()));
    return {detail::Value(outputs[0]), detail::Value(outputs[1]), detail::Value(outputs[2])};
  }

  // The environment comes first, so that it outlives the session. Its log is off: failures are exceptions.
  detail::Env env_{detail::get<OrtEnv*>(detail::api().CreateEnv, ORT_LOGGING_LEVEL_FATAL, "multvae")};
  detail::Session session_;
  std::map<std::string, Input> inputs_;
  bool gives_reasons_ = false;
  bool on_cuda_ = false;
};

/// The item of a history that raised a score most, by that score's reasons [length]; absent if none raised it.
template <typename Item>
std::optional<Item> because(const std::vector<Item>& history, const std::vector<float>& reasons) {
  const auto most = std::max_element(reasons.begin(), reasons.end());
  if (most == reasons.end() || !(*most > 0)) return std::nullopt;
  return history.at(static_cast<std::size_t>(most - reasons.begin()));
}

}  // namespace multvae
