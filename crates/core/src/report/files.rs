//! What a run's audit log tells of its files: when each was asked for, when it was staged, and what failed on the way. The log
//! may be of a million files, and is read as it streams by: those that took longest are kept whole, the others are counted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use super::pace::Pace;
use crate::lines::{Line, Lines};

/// How many files are kept whole: those that took longest.
pub const KEPT: usize = 300;

/// How many failures are kept whole: the first.
pub const FAILURES_KEPT: usize = 20;

/// How many files may have been asked for and have no end yet: far more than are under way at once.
const OPEN: usize = 4096;

/// How many types are counted one by one; what a source makes up beyond that is one.
const TYPES: usize = 200;

/// The longest line that is read, in bytes: a message is bounded, and so are its headers.
const LONGEST: usize = 64 << 10;

/// The longest message that is kept, in characters.
const MESSAGE: usize = 1000;

/// What there is to know of a run's files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Files {
    /// Those that took longest, in the order in which they began.
    pub kept: Vec<FileTime>,
    /// How many more there are that were staged.
    pub left_out: u64,
    /// How many were staged.
    pub staged: u64,
    /// The bytes of those.
    pub bytes: u64,
    /// How many have no end in the log: they are under way, or whoever fetched them was stopped.
    pub without_end: u64,
    /// How many attempts at a file failed.
    pub failed: u64,
    /// The first of those.
    pub failures: Vec<Failure>,
    /// Bytes by type; the empty name is that of files of several types.
    pub by_type: BTreeMap<String, u64>,
    /// When bytes came.
    pub pace: Pace,
    /// How many lines of the log could not be read.
    pub unread: u64,
}

/// A file that was staged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTime {
    /// Its index in the manifest's list.
    pub index: u64,
    /// `output`, `error` or `deleted`.
    pub item: String,
    /// Its type; empty where it holds several.
    pub resource_type: String,
    /// When it was asked for first.
    pub began: Timestamp,
    /// When it was staged.
    pub ended: Timestamp,
    /// Its bytes.
    pub bytes: u64,
    /// Its resources.
    pub resources: u64,
    /// How many attempts failed before.
    pub failed: u32,
}

/// An attempt at a file that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// The file's index.
    pub index: u64,
    /// Its type.
    pub resource_type: String,
    /// The status that the server answered with, where it did.
    pub code: Option<u64>,
    /// What happened.
    pub message: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Row {
    timestamp: String,
    event_id: String,
    event_detail: Detail,
    #[serde(rename = "_index")]
    index: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Detail {
    file_url: Option<String>,
    item_type: Option<String>,
    resource_type: Option<String>,
    resource_count: Option<u64>,
    file_size: Option<u64>,
    code: Option<u64>,
    message: Option<String>,
}

/// A file that was asked for.
struct Open {
    item: String,
    resource_type: String,
    began: Timestamp,
    failed: u32,
}

/// Reads the log.
pub(super) struct Reader {
    lines: Lines,
    log: Log,
}

#[derive(Default)]
struct Log {
    files: Files,
    /// By index and address: files of errors are counted for themselves.
    open: HashMap<(u64, String), Open>,
    /// The shortest of those that are kept on top; the number makes no two of them alike.
    kept: BinaryHeap<Reverse<(i64, u64)>>,
    whole: HashMap<u64, FileTime>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            lines: Lines::new(LONGEST),
            log: Log::default(),
        }
    }
}

impl Reader {
    /// Takes the next bytes of an object.
    pub(super) fn take(&mut self, bytes: &Bytes) {
        let log = &mut self.log;
        self.lines.take(bytes, |line| log.line(line));
    }

    /// No more of this object comes.
    pub(super) fn end_object(&mut self) {
        let log = &mut self.log;
        std::mem::replace(&mut self.lines, Lines::new(LONGEST)).finish(|line| log.line(line));
    }

    /// What all of it comes to.
    pub(super) fn finish(self) -> Files {
        let Log {
            mut files,
            open,
            whole,
            ..
        } = self.log;
        files.kept = whole.into_values().collect();
        files.kept.sort_by_key(|file| (file.began, file.index));
        files.left_out = files.staged - files.kept.len() as u64;
        files.without_end += open.len() as u64;
        files
    }
}

impl Log {
    fn line(&mut self, line: Line<'_>) {
        let Line::Whole(bytes) = line else {
            self.files.unread += 1;
            return;
        };
        let Ok(row) = serde_json::from_slice::<Row>(bytes) else {
            self.files.unread += 1;
            return;
        };
        if !row.event_id.starts_with("download_") {
            return;
        }
        let (Ok(at), Some(index)) = (row.timestamp.parse(), row.index) else {
            self.files.unread += 1;
            return;
        };
        let mut detail = row.event_detail;
        let key = (index, detail.file_url.take().unwrap_or_default());
        match row.event_id.as_str() {
            "download_request" => self.asked(key, at, detail),
            "download_error" => self.failed(&key, at, detail),
            "download_complete" => self.staged(&key, at, &detail),
            _ => {}
        }
    }

    fn asked(&mut self, key: (u64, String), at: Timestamp, detail: Detail) {
        if self.open.len() >= OPEN && !self.open.contains_key(&key) {
            // Something was stopped again and again: what is forgotten here has no end.
            self.open.clear();
            self.files.without_end += OPEN as u64;
        }
        self.open.entry(key).or_insert_with(|| Open {
            item: detail.item_type.unwrap_or_default(),
            resource_type: detail.resource_type.unwrap_or_default(),
            began: at,
            failed: 0,
        });
    }

    fn failed(&mut self, key: &(u64, String), at: Timestamp, detail: Detail) {
        self.files.failed += 1;
        let open = self.open.get_mut(key);
        let resource_type = open.map(|open| {
            open.failed += 1;
            open.resource_type.clone()
        });
        if self.files.failures.len() < FAILURES_KEPT {
            let message = detail.message.unwrap_or_default();
            self.files.failures.push(Failure {
                at,
                index: key.0,
                resource_type: resource_type.unwrap_or_default(),
                code: detail.code,
                message: message.chars().take(MESSAGE).collect(),
            });
        }
    }

    fn staged(&mut self, key: &(u64, String), at: Timestamp, detail: &Detail) {
        let open = self.open.remove(key).unwrap_or_else(|| Open {
            item: String::new(),
            resource_type: String::new(),
            began: at,
            failed: 0,
        });
        let file = FileTime {
            index: key.0,
            item: open.item,
            resource_type: open.resource_type,
            began: open.began,
            // A clock may have been set back.
            ended: at.max(open.began),
            bytes: detail.file_size.unwrap_or_default(),
            resources: detail.resource_count.unwrap_or_default(),
            failed: open.failed,
        };
        let number = self.files.staged;
        self.files.staged += 1;
        self.files.bytes += file.bytes;
        self.files.pace.add(file.began, file.ended, file.bytes);
        let by_type = &mut self.files.by_type;
        let known = by_type.len() < TYPES || by_type.contains_key(&file.resource_type);
        let name = if known {
            file.resource_type.as_str()
        } else {
            ""
        };
        *by_type.entry(name.to_owned()).or_default() += file.bytes;
        let took = file.ended.as_microsecond() - file.began.as_microsecond();
        self.kept.push(Reverse((took, number)));
        self.whole.insert(number, file);
        if self.kept.len() > KEPT
            && let Some(Reverse((_, shortest))) = self.kept.pop()
        {
            self.whole.remove(&shortest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(event: &str, index: u64, second: u64, detail: &str) -> String {
        let at = format!(
            "2026-01-31T02:{:02}:{:02}.000000Z",
            second / 60,
            second % 60
        );
        format!(
            "{{\"exportId\":\"x\",\"timestamp\":\"{at}\",\"eventId\":\"{event}\",\"eventDetail\":{{\"fileUrl\":\"https://h/{index}\",{detail}}},\"_index\":{index}}}\n"
        )
    }

    fn read(text: &str, at_once: usize) -> Files {
        let mut reader = Reader::default();
        for chunk in text.as_bytes().chunks(at_once) {
            reader.take(&Bytes::copy_from_slice(chunk));
        }
        reader.end_object();
        reader.finish()
    }

    const ASKED: &str = "\"itemType\":\"output\",\"resourceType\":\"Patient\"";
    const DONE: &str = "\"resourceCount\":3,\"fileSize\":70";

    #[test]
    fn a_file_takes_from_when_it_was_asked_for_first_to_when_it_was_staged() {
        let mut text = row("download_request", 0, 1, ASKED);
        text += &row("download_error", 0, 2, "\"code\":503,\"message\":\"busy\"");
        text += &row("download_request", 0, 3, ASKED);
        text += &row("download_request", 1, 3, ASKED);
        text += &row("download_complete", 0, 5, DONE);
        text += "{\"eventId\":\"status_complete\",\"eventDetail\":{}}\nno JSON\n";
        for at_once in [7, text.len()] {
            let files = read(&text, at_once);
            let [file] = files.kept.as_slice() else {
                panic!("one file was staged: {files:?}");
            };
            let took = file.ended.duration_since(file.began).as_secs();
            assert_eq!((took, file.failed, file.bytes), (4, 1, 70));
            assert_eq!((files.staged, files.left_out, files.without_end), (1, 0, 1));
            assert_eq!((files.failed, files.unread), (1, 1));
            assert_eq!(files.failures[0].message, "busy");
            assert_eq!(files.by_type["Patient"], 70);
        }
    }

    #[test]
    fn of_many_files_the_longest_are_kept_and_the_others_counted() {
        let mut text = String::new();
        for index in 0..1000 {
            text += &row("download_request", index, 0, ASKED);
            text += &row("download_complete", index, index, DONE);
        }
        let files = read(&text, 1000);
        assert_eq!((files.staged, files.bytes), (1000, 70_000));
        assert_eq!((files.kept.len(), files.left_out), (KEPT, 700));
        assert!(files.kept.iter().all(|file| file.index >= 700));
    }

    #[test]
    fn files_that_were_begun_again_and_again_take_no_memory_for_ever() {
        let mut log = Log::default();
        for index in 0..20_000 {
            let line = row("download_request", index, 0, ASKED);
            log.line(Line::Whole(line.trim_end().as_bytes()));
            assert!(log.open.len() <= OPEN);
        }
        let reader = Reader {
            lines: Lines::new(LONGEST),
            log,
        };
        assert_eq!(reader.finish().without_end, 20_000);
    }
}
