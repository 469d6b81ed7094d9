//! Sizes as people write them: `4096`, `10MiB`, `1GB`, and files by their number and size: `200x5MiB`.

use std::str::FromStr;

const UNITS: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit) = UNITS
            .into_iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))
            .unwrap_or((text, 1));
        number
            .trim()
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(unit))
            .map(Self)
            .ok_or_else(|| format!("'{text}' is no size; 5MiB is one"))
    }
}

/// Files of one type: `TYPE=SIZE` or `TYPE=COUNTxSIZE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) kind: String,
    pub(crate) number: usize,
    pub(crate) bytes: u64,
}

impl FromStr for Files {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, size) = text
            .split_once('=')
            .filter(|(kind, _)| sandbox::is_r4(kind))
            .ok_or_else(|| format!("'{text}' begins with no resource type and ="))?;
        let (number, size) = match size.split_once('x') {
            Some((files, size)) => {
                let number = files
                    .parse()
                    .map_err(|_| format!("'{files}' is no number"))?;
                (number, size)
            }
            None => (1, size),
        };
        let Size(bytes) = size.parse()?;
        Ok(Self {
            kind: kind.to_owned(),
            number,
            bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_files_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("7", 7),
            ("7B", 7),
            ("2KiB", 2048),
            ("3MB", 3_000_000),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)));
        }
        let files = |number, bytes| {
            Ok(Files {
                kind: "Patient".to_owned(),
                number,
                bytes,
            })
        };
        assert_eq!("Patient=5MiB".parse(), files(1, 5 << 20));
        assert_eq!("Patient=200x1KiB".parse(), files(200, 1024));
        for wrong in [
            "Patient",
            "Nobody=1",
            "Patient=x",
            "Patient=1x",
            "Patient=1EiB",
        ] {
            assert!(wrong.parse::<Files>().is_err(), "{wrong}");
        }
    }
}
