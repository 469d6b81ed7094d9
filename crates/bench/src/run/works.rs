//! The works, and how large they are.

use clap::ValueEnum;

use crate::corpus::TYPES;

/// One work, by its letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// One large file
    A,
    /// Files of some MiB
    B,
    /// Files of some KiB
    C,
    /// Files of one resource
    D,
    /// One large file, compressed
    E,
    /// As b, from a source that is far away
    F,
    /// The plan of a large manifest alone
    #[value(name = "g")]
    Plan,
    /// A Lambda's start
    Start,
}

/// The files of a work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files {
    /// The path at the source that they are below.
    pub(super) kind: &'static str,
    pub(super) count: u64,
    pub(super) bytes: u64,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What a quick run is smaller by.
const QUICK: u64 = 16;

impl Work {
    pub(super) const ALL: [Self; 8] = [
        Self::A,
        Self::B,
        Self::C,
        Self::D,
        Self::E,
        Self::F,
        Self::Plan,
        Self::Start,
    ];

    /// What it moves; none where it moves nothing.
    pub(super) fn files(self, quick: bool) -> Option<Files> {
        let (kind, count, bytes) = match self {
            Self::A => ("file", 1, GIB),
            Self::B | Self::F => ("file", 200, 5 * MIB),
            Self::C => ("file", 2_000, 100 * KIB),
            Self::D => ("file", 20_000, KIB),
            Self::E => ("gzip", 1, GIB),
            Self::Plan | Self::Start => return None,
        };
        Some(match (quick, count) {
            (false, _) => Files { kind, count, bytes },
            (true, 1) => Files {
                kind,
                count,
                bytes: bytes / QUICK,
            },
            (true, _) => Files {
                kind,
                count: count.div_ceil(QUICK),
                bytes,
            },
        })
    }

    /// How many outputs are planned; the last is the one that the table shows.
    pub(super) fn outputs(quick: bool) -> [u64; 3] {
        [25_000, 50_000, 100_000].map(|outputs| if quick { outputs / QUICK } else { outputs })
    }

    /// How many milliseconds the source lets every answer wait.
    pub(super) fn latency(self) -> u64 {
        if self == Self::F { 20 } else { 0 }
    }

    /// What the mover is told beside the usual, and how the table calls that.
    pub(super) fn variants(
        self,
    ) -> &'static [(&'static str, &'static [(&'static str, &'static str)])] {
        match self {
            Self::A => &[
                ("", &[]),
                ("VALIDATE=json", &[("VALIDATE", "json")]),
                ("VALIDATE=none", &[("VALIDATE", "none")]),
            ],
            _ => &[("", &[])],
        }
    }

    /// How the table calls it.
    pub(super) fn title(self, quick: bool) -> String {
        let letter = match self {
            Self::A => "a",
            Self::B => "b",
            Self::C => "c",
            Self::D => "d",
            Self::E => "e",
            Self::F => "f",
            Self::Plan => "g",
            Self::Start => return "Lambda: start to first poll".to_owned(),
        };
        let Some(files) = self.files(quick) else {
            return format!("{letter}: plan of {} outputs", Self::outputs(quick)[2]);
        };
        let size = match files.bytes {
            bytes if bytes % GIB == 0 => format!("{} GiB", bytes / GIB),
            bytes if bytes % MIB == 0 => format!("{} MiB", bytes / MIB),
            bytes => format!("{} KiB", bytes / KIB),
        };
        let gzip = if files.kind == "gzip" { " as gzip" } else { "" };
        let late = match self.latency() {
            0 => String::new(),
            wait => format!(", {wait} ms before each answer"),
        };
        format!("{letter}: {} × {size}{gzip}{late}", files.count)
    }
}

/// How many bytes of the first type and of each other type the source needs for all of these.
pub(super) fn corpus(works: &[Work], quick: bool) -> (u64, u64) {
    let (mut first, mut each) = (0, 0);
    for files in works.iter().filter_map(|work| work.files(quick)) {
        let of_one_type = files.count.div_ceil(TYPES.len() as u64) * files.bytes;
        first = first.max(of_one_type);
        if files.count > 1 {
            each = each.max(of_one_type);
        }
    }
    (first, each)
}

/// How many bytes S3 holds at once, at most: the parts of a file lie beside it while it is put together.
pub(super) fn room(works: &[Work], quick: bool) -> u64 {
    let files = works.iter().filter_map(|work| work.files(quick));
    let largest = files.map(|files| files.count * files.bytes).max();
    largest.unwrap_or_default() * 2 + 256 * MIB
}
