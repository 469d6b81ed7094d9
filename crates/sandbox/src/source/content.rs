//! What a file holds: its lines, with whatever is wrong with them.

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use super::body::PIECE;
use crate::faults::{Fault, Faults};

/// A file of an export.
#[derive(Debug)]
pub(super) struct File {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) count: usize,
    pub(super) pieces: Vec<Bytes>,
}

impl File {
    /// A file of these lines, with nothing wrong.
    pub(super) fn plain(kind: &str, name: String, lines: &[Bytes]) -> Self {
        Self {
            kind: kind.to_owned(),
            name,
            count: lines.len(),
            pieces: join(lines, b"\n", true),
        }
    }

    /// Its length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }
}

/// A file of these lines, with the faults that are on.
pub(super) fn lines_to_file(faults: &Faults, kind: &str, name: String, lines: &[Bytes]) -> File {
    let mut file = File::plain(kind, name, &[]);
    if faults.fires(&Fault::FileEmpty) {
        return file;
    }
    if faults.fires(&Fault::FileOnlyBlankLines) {
        file.pieces = vec![Bytes::from_static(b"\n\n  \n")];
        return file;
    }
    let mut lines = lines.to_vec();
    spoil(faults, &mut lines);
    file.count = lines.len();
    if faults.fires(&Fault::FileTwoResourcesOnOneLine) {
        let joined = [lines[0].as_ref(), lines.get(1).unwrap_or(&lines[0])].concat();
        lines.splice(..lines.len().min(2), [Bytes::from(joined)]);
    }
    if faults.fires(&Fault::FileBlankLines) {
        lines = lines
            .into_iter()
            .flat_map(|line| [Bytes::new(), line, Bytes::from_static(b" \t")])
            .collect();
    }
    let end: &[u8] = if faults.fires(&Fault::FileCrlf) {
        b"\r\n"
    } else {
        b"\n"
    };
    file.pieces = join(&lines, end, !faults.fires(&Fault::FileWithoutFinalNewline));
    if faults.fires(&Fault::FileBom) {
        file.pieces.insert(0, Bytes::from_static(b"\xef\xbb\xbf"));
    }
    file
}

/// Spoils the line in the middle.
fn spoil(faults: &Faults, lines: &mut Vec<Bytes>) {
    let middle = lines.len() / 2;
    let Some(line) = lines.get_mut(middle) else {
        return;
    };
    if faults.fires(&Fault::FileBadJson) {
        line.truncate(line.len() / 2);
    }
    let edited = |edit: fn(&mut serde_json::Map<String, Value>), line: &Bytes| {
        let mut value: Value = serde_json::from_slice(line).unwrap_or_else(|_| json!({}));
        if let Some(members) = value.as_object_mut() {
            edit(members);
        }
        Bytes::from(value.to_string())
    };
    if faults.fires(&Fault::FileLineWithoutId) {
        *line = edited(|members| drop(members.shift_remove("id")), line);
    }
    if faults.fires(&Fault::FileLineEmptyId) {
        *line = edited(|members| drop(members.insert("id".into(), json!(""))), line);
    }
    if faults.fires(&Fault::FileLineNumericId) {
        *line = edited(|members| drop(members.insert("id".into(), json!(5))), line);
    }
    if faults.fires(&Fault::FileLineOtherType) {
        *line = Bytes::from_static(br#"{"resourceType":"Basic","id":"basic-1"}"#);
    }
    if faults.fires(&Fault::FileInvalidUtf8) {
        *line = Bytes::from([br#"{"id":"bad","x":""#.as_slice(), b"\xff\xfe", br#""}"#].concat());
    }
    let bytes = faults.take(|fault| match fault {
        Fault::FileLongLine(bytes) => Some(*bytes),
        _ => None,
    });
    if let Some(bytes) = bytes {
        let plain = line.len();
        if let Some(open) = line.strip_suffix(b"}") {
            let padding = "x".repeat(bytes.saturating_sub(plain + 14));
            *line = Bytes::from([open, br#","language":""#, padding.as_bytes(), b"\"}"].concat());
        }
    }
    if faults.fires(&Fault::FileDuplicateId) {
        let again = line.clone();
        lines.push(again);
    }
}

/// The lines one after the other, in pieces.
fn join(lines: &[Bytes], end: &[u8], end_of_last: bool) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut piece = BytesMut::new();
    for (index, line) in lines.iter().enumerate() {
        piece.extend_from_slice(line);
        if end_of_last || index + 1 < lines.len() {
            piece.extend_from_slice(end);
        }
        if piece.len() >= PIECE {
            pieces.push(piece.split().freeze());
        }
    }
    if !piece.is_empty() {
        pieces.push(piece.freeze());
    }
    pieces
}
