//! One gzip stream (RFC 1952), made by all cores: each compresses pieces of its own that end on a byte, and they are put
//! together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

use bytes::Bytes;
use flate2::{Compress, CompressError, Compression, Crc, FlushCompress};

/// How much is compressed at once. The window begins anew with each piece, which costs next to nothing.
const PIECE: usize = 4 << 20;

/// No name, no time, any system.
const HEADER: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A last block with nothing in it.
const LAST_BLOCK: [u8; 2] = [3, 0];

/// The file as a server would send it, at the usual level.
pub(super) fn gzip(pieces: &[Bytes]) -> Result<Vec<Bytes>, CompressError> {
    let pieces: Vec<&[u8]> = pieces
        .iter()
        .flat_map(|piece| piece.chunks(PIECE))
        .collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(pieces.len()));
    std::thread::scope(|scope| {
        for _ in 0..available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(piece) = pieces.get(index) else {
                        break;
                    };
                    let mut crc = Crc::new();
                    crc.update(piece);
                    let compressed = deflate(piece);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((index, crc, compressed));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, ..)| *index);
    let mut whole = Crc::new();
    let mut stream = vec![Bytes::from_static(HEADER)];
    for (_, crc, compressed) in done {
        whole.combine(&crc);
        stream.push(compressed?);
    }
    let mut end = LAST_BLOCK.to_vec();
    end.extend(whole.sum().to_le_bytes());
    end.extend(whole.amount().to_le_bytes());
    stream.push(end.into());
    Ok(stream)
}

/// One piece as blocks of which none is the last, up to a whole byte.
fn deflate(piece: &[u8]) -> Result<Bytes, CompressError> {
    let mut compress = Compress::new(Compression::default(), false);
    let mut out = Vec::with_capacity(piece.len() / 4 + 1024);
    loop {
        let read = usize::try_from(compress.total_in()).unwrap_or(usize::MAX);
        compress.compress_vec(
            piece.get(read..).unwrap_or_default(),
            &mut out,
            FlushCompress::Sync,
        )?;
        // With room to spare, everything was written.
        if out.len() < out.capacity() && compress.total_in() == piece.len() as u64 {
            return Ok(out.into());
        }
        out.reserve(piece.len() / 8 + 1024);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_is_put_together_is_one_stream_that_holds_the_file() {
        let file: Vec<u8> = (0..9_u32 << 20)
            .map(|n| n.wrapping_mul(n).to_le_bytes()[1] & 0x1f)
            .collect();
        let pieces = [
            Bytes::from(file[..5 << 20].to_vec()),
            Bytes::from(file[5 << 20..].to_vec()),
        ];
        let stream = gzip(&pieces).unwrap().concat();
        assert!(stream.len() < file.len());
        let mut back = Vec::new();
        // Not of many members, for not every client knows those.
        flate2::read::GzDecoder::new(stream.as_slice())
            .read_to_end(&mut back)
            .unwrap();
        assert!(back == file);
    }
}
