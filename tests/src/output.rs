//! What a process under test writes, kept while it runs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::task::JoinHandle;

/// The text that a process has written to one stream so far.
#[derive(Clone, Debug, Default)]
pub struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    /// Collects a stream in the background; the handle ends when the stream does.
    pub(crate) fn of(
        mut stream: impl AsyncRead + Unpin + Send + 'static,
    ) -> (Self, JoinHandle<()>) {
        let output = Self::default();
        let kept = output.clone();
        let task = tokio::spawn(async move {
            let mut chunk = vec![0; 16 << 10];
            while let Ok(read @ 1..) = stream.read(&mut chunk).await {
                kept.0.lock().unwrap().extend_from_slice(&chunk[..read]);
            }
        });
        (output, task)
    }

    /// The text so far.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    /// Waits until the text holds `wanted`; panics after a generous while.
    pub async fn wait_for(&self, wanted: &str) {
        for _ in 0..3000 {
            if self.text().contains(wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{wanted:?} was not written; this was:\n{}", self.text());
    }
}
