//! Questions to the servers, over plain sockets: nothing of it is measured.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;

use crate::Outcome;
use crate::serve::{COUNT, Count};

/// What a server has done so far.
pub(super) fn count(authority: &str) -> Outcome<Count> {
    let mut connection = Connection::to(authority)?;
    let mut json = Vec::new();
    connection.get(COUNT)?.read_to_end(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

/// A connection that is asked for one file after the other.
pub(super) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(super) fn to(authority: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(authority)?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::with_capacity(1 << 18, stream)))
    }

    /// The body of the answer, which must be read to its end before the next question.
    pub(super) fn get(&mut self, path: &str) -> Outcome<impl Read + use<'_>> {
        write!(
            self.0.get_mut(),
            "GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n"
        )?;
        let (mut line, mut length) = (String::new(), 0);
        self.0.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 200 ") {
            return Err(format!("GET {path} was answered with {:?}", line.trim_end()).into());
        }
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        Ok((&mut self.0).take(length))
    }
}
