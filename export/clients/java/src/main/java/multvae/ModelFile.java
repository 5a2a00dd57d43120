package multvae;

import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/** What onnxruntime does not tell of a file. An ONNX file is a message of protobuf. */
final class ModelFile {
  /** The fields ModelProto.graph, GraphProto.initializer and TensorProto.string_data of ONNX. */
  private static final long GRAPH = 7;

  private static final long INITIALIZER = 5;
  private static final long STRING_DATA = 6;

  private ModelFile() {}

  /** Reads a field, which has so many bytes. */
  private interface Reader {
    void read(long length) throws IOException;
  }

  /** The SHA-256 of a file's graph, and then of its second file, if it is not null. */
  static String weightsDigest(Path model, String second) throws IOException {
    MessageDigest digest = sha256();
    try (InputStream file = open(model)) {
      readFields(file, Files.size(model), GRAPH, graph -> addBytes(digest, file, graph));
    }
    if (second != null) {
      try (InputStream file = open(model.resolveSibling(second))) {
        addBytes(digest, file, Long.MAX_VALUE);
      }
    }
    return HexFormat.of().formatHex(digest.digest());
  }

  /** Whether an item token has a character above U+FFFF. */
  static boolean hasTokensAboveFfff(Path model) throws IOException {
    boolean[] found = {false};
    try (InputStream file = open(model)) {
      Reader token = text -> found[0] |= hasAboveFfff(file.readNBytes((int) text));
      Reader tensor = size -> readFields(file, size, STRING_DATA, token);
      Reader graph = size -> readFields(file, size, INITIALIZER, tensor);
      readFields(file, Files.size(model), GRAPH, graph);
    }
    return found[0];
  }

  private static boolean hasAboveFfff(byte[] text) {
    boolean found = false;
    for (byte part : text) {
      found |= Byte.toUnsignedInt(part) >= 0xF0; // The first byte of such a character in UTF-8.
    }
    return found;
  }

  private static InputStream open(Path path) throws IOException {
    return new BufferedInputStream(Files.newInputStream(path));
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException impossible) {
      throw new IllegalStateException("every Java has SHA-256", impossible);
    }
  }

  /** Adds the next bytes of a file to a digest: so many, or all that follow. */
  private static void addBytes(MessageDigest digest, InputStream file, long count)
      throws IOException {
    byte[] block = new byte[1 << 20];
    for (long left = count; left > 0; ) {
      int read = file.read(block, 0, (int) Math.min(left, block.length));
      if (read < 0) {
        return;
      }
      digest.update(block, 0, read);
      left -= read;
    }
  }

  /** Reads the fields of a message that have this number, and skips the others. */
  private static void readFields(InputStream file, long size, long number, Reader reader)
      throws IOException {
    for (long left = size; left > 0; ) {
      long tag = varint(file);
      int type = (int) tag & 7; // 0: a number, 1: 8 bytes, 2: a length and as many bytes, 5: 4 bytes
      boolean sized = type == 2;
      long value = sized || type == 0 ? varint(file) : 0;
      long length = sized ? value : type == 1 ? 8 : type == 5 ? 4 : 0;
      left -= bytes(tag) + (sized || type == 0 ? bytes(value) : 0) + length;
      if (sized && tag >>> 3 == number) {
        reader.read(length);
      } else {
        file.skipNBytes(length);
      }
    }
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
}
