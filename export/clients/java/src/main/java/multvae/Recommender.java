package multvae;

import ai.onnxruntime.NodeInfo;
import ai.onnxruntime.OnnxJavaType;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtProvider;
import ai.onnxruntime.OrtSession;
import ai.onnxruntime.TensorInfo;
import java.io.IOException;
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
import java.util.concurrent.locks.ReadWriteLock;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Recommendations from an exported model, with only onnxruntime.
 *
 * <p>Threads may share a recommender. To put another in its place while they run, share an {@link
 * java.util.concurrent.atomic.AtomicReference}: set the reference, close the former recommender, and
 * where a call throws {@link ClosedException}, get the reference and call again.
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
  private static final int MOST_THREADS = 1024;

  /** Calls that run hold it for reading, close for writing. */
  private final ReadWriteLock calls = new ReentrantReadWriteLock();

  private boolean closed;
  final OrtSession session; // The tests ask whether it is closed.
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
   * How a model runs, for example {@code new Config().withThreads(2)}.
   *
   * @param gpu run on CUDA if it is available; {@link #provider} says where it runs
   * @param threads of one call on the CPU, 1 by default and 1024 at most; 0 leaves it to
   *     onnxruntime, which takes the machine's cores
   * @param check refuse a damaged file, which reads the file once more; true by default
   */
  public record Config(boolean gpu, int threads, boolean check) {
    public Config() {
      this(false, 1, true);
    }

    public Config withGpu(boolean gpu) {
      return new Config(gpu, threads, check);
    }

    public Config withThreads(int threads) {
      return new Config(gpu, threads, check);
    }

    public Config withCheck(boolean check) {
      return new Config(gpu, threads, check);
    }
  }

  /** Says that a recommender was closed before it was asked. */
  public static final class ClosedException extends IllegalStateException {
    private static final long serialVersionUID = 1;

    ClosedException() {
      super("the model is closed.");
    }
  }

  /** Loads a file to run on the CPU, with one thread for each call. */
  public static <T> Recommender<T> open(Path model, Class<T> itemType) {
    return open(model, itemType, new Config());
  }

  /**
   * Loads a file exported with {@code --io tokens} or {@code --io ids}.
   *
   * @param itemType {@code String.class} or {@code Long.class}; {@code Object.class} takes both
   * @throws IllegalArgumentException if the file is missing, is damaged, is of another form, has
   *     other items, or has tokens with a character above U+FFFF; or if threads is not 0 to 1024
   */
  public static <T> Recommender<T> open(Path model, Class<T> itemType, Config config) {
    if (config.threads < 0 || config.threads > MOST_THREADS) {
      throw new IllegalArgumentException(
          "threads is %d: expected 0 to %d.".formatted(config.threads, MOST_THREADS));
    }
    if (!Files.isRegularFile(model)) {
      String found = Files.isDirectory(model) ? " is a folder" : " is missing";
      throw new IllegalArgumentException(
          model + found + ": expected a model exported with --io tokens or --io ids.");
    }
    if (config.gpu) {
      try {
        return load(model, itemType, config, OrtProvider.CUDA);
      } catch (OrtException noCuda) {
        // It runs on the CPU instead.
      }
    }
    try {
      return load(model, itemType, config, OrtProvider.CPU);
    } catch (OrtException error) {
      throw new IllegalArgumentException(
          model + " is no ONNX model that onnxruntime can read: export the model again.", error);
    }
  }

  private static <T> Recommender<T> load(
      Path model, Class<T> itemType, Config config, OrtProvider provider) throws OrtException {
    OrtSession session;
    // The session has its own copy of the options, so they can be closed at once.
    try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
      if (provider == OrtProvider.CUDA) {
        options.addCUDA();
      }
      options.setIntraOpNumThreads(config.threads);
      session = ORT.createSession(model.toString(), options);
    }
    try {
      Recommender<T> recommender = new Recommender<>(model, itemType, provider, session);
      recommender.checkContent(model, config.check);
      return recommender;
    } catch (OrtException | RuntimeException error) {
      session.close();
      throw error;
    } catch (IOException error) {
      session.close();
      throw new IllegalArgumentException(model + " cannot be read: export the model again.", error);
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
    Class<?> fileType = ids ? Long.class : String.class;
    if (!itemType.isAssignableFrom(fileType)) {
      throw new IllegalArgumentException(
          "%1$s has items of type %2$s, not %3$s: open it with %2$s.class."
              .formatted(model, fileType.getSimpleName(), itemType.getSimpleName()));
    }
  }

  private void checkContent(Path model, boolean check) throws IOException, OrtException {
    Map<String, String> metadata = session.getMetadata().getCustomMetadata();
    String version = metadata.getOrDefault("contract_version", "none");
    if (!VERSIONS.contains(version)) {
      throw new IllegalArgumentException(
          "%s has the contract version %s, this client knows 1 and 2: update it."
              .formatted(model, version));
    }
    String expected = metadata.get("weights_sha256"); // Files of older exporters have none.
    if (check && expected != null) {
      String found = ModelFile.weightsDigest(model, metadata.get("weights_file"));
      if (!found.equals(expected)) {
        throw new IllegalArgumentException(
            "%s is damaged: the SHA-256 of its weights is %s, not %s; copy the file again."
                .formatted(model, found, expected));
      }
    }
    if (!ids && ModelFile.hasTokensAboveFfff(model)) {
      throw new IllegalArgumentException(
          model
              + " has item tokens with characters above U+FFFF, such as emoji,"
              + " which onnxruntime for Java cannot pass: export the model with --io ids.");
    }
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
   * @throws ClosedException if the recommender is closed
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
    calls.readLock().lock();
    try {
      if (closed) {
        throw new ClosedException();
      }
      return rank(histories, k, options);
    } finally {
      calls.readLock().unlock();
    }
  }

  private Ranking<T> rank(List<List<T>> histories, int k, Options<T> options) throws OrtException {
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

  /** Releases the model once the calls that run have ended. Later calls throw ClosedException. */
  @Override
  public void close() throws OrtException {
    calls.writeLock().lock();
    try {
      if (!closed) {
        closed = true;
        session.close();
      }
    } finally {
      calls.writeLock().unlock();
    }
  }
}
