package multvae;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertLinesMatch;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.onnxruntime.OrtException;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The command line, and its errors. */
class MainTest {
  private static final String MODEL = "../golden.onnx";
  private static final String OPTIONS = "../golden.options.onnx";
  private static final String IDS = "../golden.ids.onnx";
  private static final String DAMAGED = "../golden.damaged.onnx";

  @TempDir private Path folder;

  private record Output(int code, List<String> out, List<String> err) {}

  private static Output run(String... args) throws OrtException {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    ByteArrayOutputStream err = new ByteArrayOutputStream();
    PrintStream outPrint = new PrintStream(out, true, StandardCharsets.UTF_8);
    PrintStream errPrint = new PrintStream(err, true, StandardCharsets.UTF_8);
    int code = Main.run(args, outPrint, errPrint);
    return new Output(code, lines(out.toByteArray()), lines(err.toByteArray()));
  }

  private static List<String> lines(byte[] text) {
    return new String(text, StandardCharsets.UTF_8).lines().toList();
  }

  /** The first columns of the output. */
  private static List<String> items(String... args) throws OrtException {
    return run(args).out.stream().map(line -> line.split("\t")[0]).toList();
  }

  @Test
  void printsItemsAndScores() throws OrtException {
    assertEquals(
        new Output(0, List.of("café\t1.8704", "007\t1.3451"), List.of()),
        run(MODEL, "42", "-k", "2"));
  }

  @Test
  void takesOptions() throws Exception {
    assertEquals(
        List.of("café\t1.8704\tbecause of 42", "007\t1.3451"), run(OPTIONS, "42", "-k", "2").out);
    assertEquals("007\t1.3451", run(OPTIONS, "42", "--exclude", "café,7").out.get(0));
    Path list = Files.writeString(folder.resolve("items.txt"), "007\n7\nx,y\n");
    assertEquals(List.of("007", "7", "x,y"), items(OPTIONS, "42", "--among", list.toString()));
    assertEquals(List.of("3\t1.8704\tbecause of 2", "6\t1.3451"), run(IDS, "2", "-k", "2").out);
    assertEquals(List.of("1"), items(IDS, "2", "--exclude", "3", "--among", "3,1"));
    assertEquals(items(MODEL, "42"), items("--", MODEL, "42"));
    assertEquals(0, run(DAMAGED, "--no-check").code);
    assertEquals(
        List.of("The model ignores items that it does not know: nobody, none.txt"),
        run(OPTIONS, "42", "nobody", "--exclude", "none.txt").err);
    assertLinesMatch(List.of("runs on (CUDA|CPU)ExecutionProvider"), run(MODEL, "42", "--gpu").err);
  }

  @Test
  void saysWhatIsWrong() throws Exception {
    String text = Files.writeString(folder.resolve("text.onnx"), "not a model").toString();
    String version = "contract_version\u0012\u0001";
    String newer = changed("new.onnx", version + "1", version + "3");
    String other = changed("other.onnx", "history", "visitor");

    fails("missing.onnx is missing", "missing.onnx", "42");
    fails(folder + " is a folder: expected a model", folder.toString(), "42");
    fails("text.onnx is no ONNX model", text);
    fails("-k is 0", MODEL, "-k", "0");
    fails("the model has no input among: export it with --filters.", MODEL, "42", "--among", "7");
    fails("Nothing to recommend", OPTIONS, "42", "--among", "nobody");
    fails("'café' is no item id: the model takes RecBole's item ids.", IDS, "café");
    fails("has the contract version 3, this client knows 1 and 2: update it.", newer);
    fails("other.onnx takes string visitor, int64 k: expected history and k;", other);
    fails("is damaged: the SHA-256 of its weights is ", DAMAGED);
    fails("MODEL.onnx is missing");
    fails("--cpu is no option", MODEL, "--cpu");
    fails("-k has no value", MODEL, "-k");
    String empty = Files.writeString(folder.resolve("empty.txt"), "").toString();
    String message =
        assertThrows(IllegalArgumentException.class, () -> Bench.run(new String[] {MODEL, empty}))
            .getMessage();
    assertEquals(empty + " has no histories: expected one a line.", message);
  }

  /** A model with other bytes of the same length. */
  private String changed(String name, String old, String bytes) throws IOException {
    // In this encoding every byte is a character.
    String model = Files.readString(Path.of(MODEL), StandardCharsets.ISO_8859_1);
    Path path = folder.resolve(name);
    Files.writeString(path, model.replace(old, bytes), StandardCharsets.ISO_8859_1);
    return path.toString();
  }

  private static void fails(String message, String... args) throws OrtException {
    Output output = run(args);
    assertEquals(1, output.code);
    assertEquals(List.of(), output.out);
    assertEquals(1, output.err.size());
    assertTrue(output.err.get(0).contains(message), output.err.get(0));
  }

  @Test
  void aProcessPrintsUtf8AndHasAnExitCode() throws IOException, InterruptedException {
    Output ranked = process(MODEL, "42", "-k", "1");
    assertEquals(List.of("café\t1.8704"), ranked.out);
    assertEquals(0, ranked.code);
    Output failed = process(MODEL, "-k", "0");
    assertEquals(1, failed.code);
    // Some versions of Java add warnings.
    assertTrue(failed.err.contains("-k is 0: expected 1 or more."), failed.err.toString());
  }

  private static Output process(String... args) throws IOException, InterruptedException {
    String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
    String classes =
        System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
    ProcessBuilder builder = new ProcessBuilder(java, "-cp", classes, "multvae.Main");
    builder.command().addAll(List.of(args));
    builder.environment().put("LC_ALL", "C");
    Process process = builder.start();
    List<String> out = lines(process.getInputStream().readAllBytes());
    List<String> err = lines(process.getErrorStream().readAllBytes());
    return new Output(process.waitFor(), out, err);
  }
}
