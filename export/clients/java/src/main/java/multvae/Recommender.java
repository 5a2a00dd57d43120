package multvae;

import ai.onnxruntime.NodeInfo;
import ai.onnxruntime.OnnxJavaType;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtProvider;
import ai.onnxruntime.OrtSession;
import ai.onnxruntime.TensorInfo;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.LongBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Recommendations from an exported model, with only onnxruntime.
 *
 * <p>Threads may share a recommender. Close it after the last call has returned.
 *
 * <p>onnxruntime for Java cannot pass characters above U+FFFF, such as emoji. A file with such
 * tokens is refused: export the model with {@code --io ids}.
 *
 * @param <T> an item: String of a file exported with {@code --io tokens}, Long of {@code --io ids}
 */
public final class Recommender<T> implements AutoCloseable {
  private static final OrtEnvironment ORT = OrtEnvironment.getEnvironment();
  private static final Set<String> VERSIONS = Set.of("1", "2");
  private static final Set<String> INPUTS = Set.of("history", "k", "exclude", "among", "noise");

  private final OrtSession session;
  private final OrtProvider provider;
  private final Map<String, NodeInfo> inputs;
  private final Class<T> itemType;
  private final boolean ids;

  /**
   * A ranking. A row with fewer than k items ends in "" (of ids: 0) with score -infinity.
   *
   * @param items [batch][k], best first
   * @param scores [batch][k]
   * @param reasons [batch][k][length]: by how much each item of the history raises each score; null
   *     if the file has no reasons
   */
  public record Ranking<T>(List<List<T>> items, float[][] scores, float[][][] reasons) {}

  /**
   * Options of a request, for example {@code new Options<String>().withAmong(rows)}. Null leaves an
   * option out.
   *
   * @param exclude items never to return, a list for each history, or one for all
   * @param among the only items to rank, likewise
   * @param noise [batch or 1][K], standard normal for a sample
   */
  public record Options<T>(List<List<T>> exclude, List<List<T>> among, float[][] noise) {
    public Options() {
      this(null, null, null);
    }

    public Options<T> withExclude(List<List<T>> rows) {
      return new Options<>(rows, among, noise);
    }

    public Options<T> withAmong(List<List<T>> rows) {
      return new Options<>(exclude, rows, noise);
    }

    public Options<T> withNoise(float[][] rows) {
      return new Options<>(exclude, among, rows);
    }
  }

  /**
   * Loads a file exported with {@code --io tokens} or {@code --io ids}.
   *
   * @param itemType {@code String.class} or {@code Long.class}; {@code Object.class} takes both
   * @param gpu run on CUDA if it is available; {@link #provider} says where it runs
   * @throws IllegalArgumentException if the file is missing, is of another form, has other items,
   *     or has tokens with a character above U+FFFF
   */
  public static <T> Recommender<T> open(Path model, Class<T> itemType, boolean gpu) {
    if (!Files.isRegularFile(model)) {
      String found = Files.isDirectory(model) ? " is a folder" : " is missing";
      throw new IllegalArgumentException(
          model + found + ": expected a model exported with --io tokens or --io ids.");
    }
    if (gpu) {
      try {
        return load(model, itemType, OrtProvider.CUDA);
      } catch (OrtException noCuda) {
        // It runs on the CPU instead.
      }
    }
    try {
      return load(model, itemType, OrtProvider.CPU);
    } catch (OrtException error) {
      throw new IllegalArgumentException(
          model + " is no ONNX model that onnxruntime can read: export the model again.", error);
    }
  }

  private static <T> Recommender<T> load(Path model, Class<T> itemType, OrtProvider provider)
      throws OrtException {
    OrtSession session;
    // The session has its own copy of the options, so they can be closed at once.
    try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
      if (provider == OrtProvider.CUDA) {
        options.addCUDA();
      }
      session = ORT.createSession(model.toString(), options);
    }
    try {
      return new Recommender<>(model, itemType, provider, session);
    } catch (OrtException | RuntimeException error) {
      session.close();
      throw error;
    }
  }

  private Recommender(Path model, Class<T> itemType, OrtProvider provider, OrtSession session)
      throws OrtException {
    this.session = session;
    this.provider = provider;
    this.inputs = session.getInputInfo();
    this.itemType = itemType;
    OnnxJavaType history = type(inputs.get("history"));
    this.ids = history == OnnxJavaType.INT64;
    // A k that has a default is no input, and the binding refuses to feed it.
    boolean known =
        (ids || history == OnnxJavaType.STRING)
            && type(inputs.get("k")) == OnnxJavaType.INT64
            && INPUTS.containsAll(inputs.keySet());
    if (!known) {
      String types =
          inputs.values().stream()
              .map(input -> type(input).name().toLowerCase(Locale.ROOT) + " " + input.getName())
              .collect(Collectors.joining(", "));
      throw new IllegalArgumentException(
          ("%s takes %s: expected history and k; "
                  + "export the model with --io tokens or --io ids, and no --k-default.")
              .formatted(model, types));
    }
    Map<String, String> metadata = session.getMetadata().getCustomMetadata();
    String version = metadata.getOrDefault("contract_version", "none");
    if (!VERSIONS.contains(version)) {
      throw new IllegalArgumentException(
          "%s has the contract version %s, this client knows 1 and 2: update it."
              .formatted(model, version));
    }
    if (!ids && hasTokensAboveFfff(model)) {
      throw new IllegalArgumentException(
          model
              + " has item tokens with characters above U+FFFF, such as emoji,"
              + " which onnxruntime for Java cannot pass: export the model with --io ids.");
    }
    Class<?> fileType = ids ? Long.class : String.class;
    if (!itemType.isAssignableFrom(fileType)) {
      throw new IllegalArgumentException(
          "%1$s has items of type %2$s, not %3$s: open it with %2$s.class."
              .formatted(model, fileType.getSimpleName(), itemType.getSimpleName()));
    }
  }

  private static boolean hasTokensAboveFfff(Path model) {
    try (InputStream file = new BufferedInputStream(Files.newInputStream(model))) {
      // ModelProto.graph.initializer.string_data of ONNX.
      return hasTextAboveFfff(file, Files.size(model), 7, 5, 6);
    } catch (IOException error) {
      throw new IllegalArgumentException(model + " cannot be read: export the model again.", error);
    }
  }

  /** Reads a protobuf message, and in it the texts of the field that the numbers lead to. */
  private static boolean hasTextAboveFfff(InputStream file, long size, int... numbers)
      throws IOException {
    boolean found = false;
    if (numbers.length == 0) {
      for (byte part : file.readNBytes((int) size)) {
        found |= Byte.toUnsignedInt(part) >= 0xF0; // The first byte of such a character in UTF-8.
      }
      return found;
    }
    for (long left = size; left > 0; ) {
      long tag = varint(file);
      int type = (int) tag & 7; // 0: a number, 1: 8 bytes, 2: a length and as many bytes, 5: 4 bytes
      boolean sized = type == 2;
      long number = sized || type == 0 ? varint(file) : 0;
      long length = sized ? number : type == 1 ? 8 : type == 5 ? 4 : 0;
      left -= bytes(tag) + (sized || type == 0 ? bytes(number) : 0) + length;
      if (sized && tag >>> 3 == numbers[0]) {
        found |= hasTextAboveFfff(file, length, Arrays.copyOfRange(numbers, 1, numbers.length));
      } else {
        file.skipNBytes(length);
      }
    }
    return found;
  }

  /** Reads a number of protobuf: seven bits a byte, the lowest first. */
  private static long varint(InputStream file) throws IOException {
    long number = 0;
    for (int shift = 0; ; shift += 7) {
      int part = file.read();
      number |= (part & 0x7FL) << shift;
      if (part < 0x80) {
        return number;
      }
    }
  }

  private static int bytes(long varint) {
    return (70 - Long.numberOfLeadingZeros(varint | 1)) / 7;
  }

  private static OnnxJavaType type(NodeInfo input) {
    return input != null && input.getInfo() instanceof TensorInfo tensor
        ? tensor.type
        : OnnxJavaType.UNKNOWN;
  }

  /** What the model runs on: "CUDAExecutionProvider" or "CPUExecutionProvider". */
  public String provider() {
    return provider.getName();
  }

  /** Whether items are of type Long: RecBole's item ids. */
  public boolean ids() {
    return ids;
  }

  /** Ranks the k best items for each history, without options. */
  public Ranking<T> recommend(List<List<T>> histories, int k) throws OrtException {
    return recommend(histories, k, new Options<>());
  }

  /**
   * Ranks the k best items for each history; the histories may differ in length.
   *
   * @throws IllegalArgumentException if the file lacks an option that is used, or k is below 1
   * @throws OrtException if an option has neither one row nor a row for each history
   */
  public Ranking<T> recommend(List<List<T>> histories, int k, Options<T> options)
      throws OrtException {
    require("exclude", options.exclude, "--filters");
    require("among", options.among, "--filters");
    require("noise", options.noise, "--posterior");
    if (k < 1) {
      throw new IllegalArgumentException("k is " + k + ": expected 1 or more.");
    }
    boolean reasons = session.getOutputNames().contains("reasons");
    if (histories.isEmpty()) {
      // onnxruntime 1.29 ends the whole process if a batch has no rows.
      return new Ranking<>(List.of(), new float[0][], reasons ? new float[0][][] : null);
    }
    Map<String, OnnxTensor> feed = new HashMap<>();
    try {
      feed.put("history", padded(histories));
      feed.put("k", OnnxTensor.createTensor(ORT, new long[] {k}));
      if (inputs.containsKey("exclude")) {
        feed.put("exclude", padded(options.exclude));
        feed.put("among", padded(options.among));
      }
      if (inputs.containsKey("noise")) {
        long[] shape = ((TensorInfo) inputs.get("noise").getInfo()).getShape();
        float[][] noise = options.noise != null ? options.noise : new float[1][(int) shape[1]];
        feed.put("noise", OnnxTensor.createTensor(ORT, noise));
      }
      try (OrtSession.Result result = session.run(feed)) {
        return new Ranking<>(
            rows(result.get("items").orElseThrow().getValue()),
            (float[][]) result.get("scores").orElseThrow().getValue(),
            reasons ? (float[][][]) result.get("reasons").orElseThrow().getValue() : null);
      }
    } finally {
      feed.values().forEach(OnnxTensor::close);
    }
  }

  private void require(String name, Object value, String option) {
    if (value != null && !inputs.containsKey(name)) {
      throw new IllegalArgumentException(
          "the model has no input %s: export it with %s.".formatted(name, option));
    }
  }

  /** The lists as one tensor, padded with "" or 0; null or no lists give one empty row. */
  private OnnxTensor padded(List<List<T>> lists) throws OrtException {
    List<List<T>> rows = lists == null || lists.isEmpty() ? List.of(List.of()) : lists;
    int length = rows.stream().mapToInt(List::size).max().orElse(0);
    long[] shape = {rows.size(), length};
    Object[] items = new Object[rows.size() * length];
    Arrays.fill(items, ids ? 0L : "");
    for (int row = 0; row < rows.size(); row++) {
      System.arraycopy(rows.get(row).toArray(), 0, items, row * length, rows.get(row).size());
    }
    if (ids) {
      long[] numbers = Arrays.stream(items).mapToLong(Long.class::cast).toArray();
      return OnnxTensor.createTensor(ORT, LongBuffer.wrap(numbers), shape);
    }
    // A null would end the process.
    String[] tokens = Arrays.stream(items).map(Objects::requireNonNull).toArray(String[]::new);
    return OnnxTensor.createTensor(ORT, tokens, shape);
  }

  private List<List<T>> rows(Object items) {
    Stream<Object[]> rows =
        items instanceof long[][] numbers
            ? Arrays.stream(numbers).map(row -> Arrays.stream(row).boxed().toArray())
            : Arrays.stream((Object[][]) items);
    return rows.map(row -> Arrays.stream(row).map(itemType::cast).toList()).toList();
  }

  /** The item of a history that raised a score most, by its reasons; empty if none raised it. */
  public static <T> Optional<T> because(List<T> history, float[] reasons) {
    Optional<T> item = Optional.empty();
    float most = 0;
    for (int i = 0; i < reasons.length; i++) {
      if (reasons[i] > most) {
        most = reasons[i];
        item = Optional.of(history.get(i));
      }
    }
    return item;
  }

  /** Releases the model. */
  @Override
  public void close() throws OrtException {
    session.close();
  }
}
