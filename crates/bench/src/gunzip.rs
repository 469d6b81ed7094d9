//! What decompression alone costs: the stream from the source, decoded and dropped.

use std::io::{self, Write};
use std::time::Instant;

use flate2::write::GzDecoder;

use crate::client::{Server, next};
use crate::usage::Took;
use crate::{Outcome, answer};

/// Fetches the stream and says what decoding it took.
pub(crate) async fn run(authority: String, path: String) -> Outcome<()> {
    let begin = Instant::now();
    let source = Server::new(&authority);
    let (mut body, _connection) = source.get(&path, "gzip").await?;
    let mut decoder = GzDecoder::new(Dropped(0));
    while let Some(piece) = next(&mut body).await? {
        decoder.write_all(&piece)?;
    }
    let bytes = decoder.finish()?.0;
    let took = Took::since(begin)?;
    if bytes == 0 {
        return Err("the stream held nothing".into());
    }
    answer(serde_json::to_string(&took)?)?;
    Ok(())
}

/// Counts what is written to it.
struct Dropped(usize);

impl Write for Dropped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
