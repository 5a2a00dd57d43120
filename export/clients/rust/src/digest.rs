//! The digest of a file's weights, by which a damaged copy is noticed. An ONNX file is a message of
//! protobuf.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

/// The SHA-256 of a file's graph, field 7 of ModelProto, and then of its second file, if there is
/// one.
pub fn of_weights(path: &Path, second: Option<&Path>) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut file = BufReader::new(File::open(path)?);
    while !file.fill_buf()?.is_empty() {
        let (key, number) = (varint(&mut file)?, varint(&mut file)?);
        match (key >> 3, key & 7) {
            (7, 2) => add_bytes(&mut digest, file.by_ref().take(number))?,
            (_, 2) => file.seek_relative(number as i64)?,
            _ => {} // The field was the number.
        }
    }
    if let Some(second) = second {
        add_bytes(&mut digest, File::open(second)?)?;
    }
    let bytes = digest.finalize();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn add_bytes(digest: &mut Sha256, mut source: impl Read) -> io::Result<()> {
    let mut block = vec![0; 1 << 20];
    loop {
        match source.read(&mut block)? {
            0 => return Ok(()),
            count => digest.update(&block[..count]),
        }
    }
}

/// A number of protobuf: seven bits a byte, the lowest first; the last byte is below 128.
fn varint(file: &mut impl Read) -> io::Result<u64> {
    let (mut number, mut shift, mut byte) = (0, 0, [128]);
    while byte[0] >= 128 && shift < 64 {
        file.read_exact(&mut byte)?;
        number |= u64::from(byte[0] & 127) << shift;
        shift += 7;
    }
    Ok(number)
}
