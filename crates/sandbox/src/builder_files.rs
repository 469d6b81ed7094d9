//! How a sandbox's files should be: how large, how many, how fast, how encoded; and what else long runs want.

use std::path::PathBuf;
use std::time::Duration;

use crate::builder::Builder;
use crate::settings::Only;
use crate::synthetic::Wanted;

impl Builder {
    /// One more file, of this type and exactly so many bytes (from about 300 on), which is made as it is read: it costs no
    /// memory, whatever its size. Its lines are 0.5 to 5 KiB long, the last but for what fills it up; its ids are unique
    /// in the sandbox. It comes after the files of `data`, is in full exports only, and is not among `resources`.
    #[must_use]
    pub fn synthetic_file(self, resource_type: &str, bytes: u64) -> Self {
        self.synthetic_files(resource_type, 1, bytes)
    }

    /// So many files like that.
    #[must_use]
    pub fn synthetic_files(mut self, resource_type: &str, files: usize, bytes: u64) -> Self {
        self.settings.synthetic.push(Wanted::Bytes {
            kind: resource_type.to_owned(),
            files,
            bytes,
        });
        self
    }

    /// A manifest with so many more outputs over ten types, each of them a file of one resource. Both the manifest and the
    /// files are made as they are read.
    #[must_use]
    pub fn outputs(mut self, outputs: usize) -> Self {
        self.settings.synthetic.push(Wanted::Outputs(outputs));
        self
    }

    /// Whether files hold several types, as `organizeOutputBy=Patient` makes them: the manifest names no type, and a line
    /// before each patient's block says whose it is. Default: no. What has no file of its own in `data` is not part of it.
    #[must_use]
    pub fn mixed_files(mut self, on: bool) -> Self {
        self.settings.mixed_files = on;
        self
    }

    /// The manifest comes in pages of so many outputs, each with a link to the next. Default: in one.
    #[must_use]
    pub fn page_size(mut self, outputs: usize) -> Self {
        self.settings.page_size = Some(outputs.max(1));
        self
    }

    /// Whether the manifest tells each output's `fileSize`. Default: no.
    #[must_use]
    pub fn file_sizes(mut self, on: bool) -> Self {
        self.settings.file_sizes = on;
        self
    }

    /// Whether files are sent as gzip to clients that accept it. Default: no. A file of 4 MiB and more is compressed once,
    /// before its first answer, and kept on disk.
    #[must_use]
    pub fn gzip(mut self, on: bool) -> Self {
        self.settings.gzip = on;
        self
    }

    /// Whether the manifest's URLs are signed (`X-Amz-Signature` and its like), anew in each manifest. Default: no.
    #[must_use]
    pub fn signed_links(mut self, on: bool) -> Self {
        self.settings.signed_links = on;
        self
    }

    /// How many bytes of files the source sends a second, of all downloads together. Default: as many as it can.
    #[must_use]
    pub fn source_rate(mut self, bytes: u64) -> Self {
        self.settings.source_rate = Some(bytes);
        self
    }

    /// How much longer each answer of source, files and S3 takes. Default: no longer.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        self.settings.latency = latency;
        self
    }

    /// Whether requests are recorded. Default: they are. Without a record nothing is known of leaks either.
    #[must_use]
    pub fn record(mut self, on: bool) -> Self {
        self.record = on;
        self
    }

    /// Only one side of the sandbox, with only its own settings in `env`; the others' listeners are not there.
    #[must_use]
    pub fn only(mut self, only: Only) -> Self {
        self.settings.only = Some(only);
        self
    }

    /// The folder in which S3 keeps its buckets, which stays when the sandbox is gone. Default: a temporary one. Checksums
    /// and uploads under way are in memory alone.
    #[must_use]
    pub fn s3_folder(mut self, path: impl Into<PathBuf>) -> Self {
        self.s3_folder = Some(path.into());
        self
    }
}
