//! What stands between a client and a server, and may lose their connections while the client does not look.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use url::Url;

/// How a connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It is closed, as a server does with one that has been idle for too long.
    Closed,
    /// It is forgotten, as a NAT gateway does: nothing shows until the client sends something, which is refused.
    Forgotten,
}

/// A relay of bytes, until it is dropped.
#[derive(Debug)]
pub struct Relay {
    /// Where it listens: `http://host:port`.
    pub origin: String,
    /// The origin behind it.
    behind: String,
    lose: watch::Sender<Option<Lost>>,
    refused: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Relay {
    /// A relay to what listens at a URL.
    pub async fn to(behind: &str) -> Self {
        let url = Url::parse(behind).expect("it is a URL");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a port");
        let to = url.socket_addrs(|| None).expect("an address")[0];
        let (lose, changes) = watch::channel(None);
        let refused = Arc::<AtomicUsize>::default();
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, to, changes, Arc::clone(&refused)));
        Self {
            origin: format!("http://{address}"),
            behind: url.origin().ascii_serialization(),
            lose,
            refused,
            _serving: serving,
        }
    }

    /// The text, with URLs that lead here instead of behind.
    #[must_use]
    pub fn instead(&self, text: &str) -> String {
        text.replace(&self.behind, &self.origin)
    }

    /// Loses all connections that there are.
    pub fn lose(&self, how: Lost) {
        self.lose.send_replace(Some(how));
    }

    /// How many requests were sent over connections that were lost.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

async fn accept(
    listener: TcpListener,
    to: SocketAddr,
    lost: watch::Receiver<Option<Lost>>,
    refused: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        let mut lost = lost.clone();
        // What was lost before was another's.
        lost.mark_unchanged();
        let refused = Arc::clone(&refused);
        connections.spawn(async move {
            // A client that goes away is its own business.
            let _ = serve(near, to, lost, &refused).await;
        });
    }
}

async fn serve(
    mut near: TcpStream,
    to: SocketAddr,
    mut lost: watch::Receiver<Option<Lost>>,
    refused: &AtomicUsize,
) -> std::io::Result<()> {
    let mut far = TcpStream::connect(to).await?;
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = near.read(&mut up) => match read? {
                0 => return Ok(()),
                bytes => far.write_all(&up[..bytes]).await?,
            },
            read = far.read(&mut down) => match read? {
                0 => return Ok(()),
                bytes => near.write_all(&down[..bytes]).await?,
            },
            _ = lost.changed() => break,
        }
    }
    if *lost.borrow() == Some(Lost::Forgotten) && near.read(&mut up).await? > 0 {
        refused.fetch_add(1, Ordering::SeqCst);
        near.set_zero_linger()?;
    }
    Ok(())
}
