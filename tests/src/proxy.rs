//! An HTTP proxy, as hospitals have it between their servers and the world: it leads one name to the sandbox.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use url::Url;

/// A proxy, until it is dropped. It knows one server, whatever it is called.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub url: String,
    requests: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Proxy {
    /// A proxy that leads to what listens at a URL.
    pub async fn to(behind: &Url) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a port");
        let to = behind.socket_addrs(|| None).expect("an address")[0];
        let requests = Arc::new(AtomicUsize::new(0));
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, to, Arc::clone(&requests)));
        Self {
            url: format!("http://{address}"),
            requests,
            _serving: serving,
        }
    }

    /// How many requests came.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, requests: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        let requests = Arc::clone(&requests);
        connections.spawn(async move {
            // A client that goes away is its own business.
            let _ = serve(near, to, &requests).await;
        });
    }
}

/// One request of a connection: the answer ends it.
async fn serve(mut near: TcpStream, to: SocketAddr, requests: &AtomicUsize) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        if near.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    requests.fetch_add(1, Ordering::SeqCst);
    let text = String::from_utf8_lossy(&head).into_owned();
    let (line, rest) = text.split_once("\r\n").unwrap_or((&text, ""));
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let url = Url::parse(target).map_err(std::io::Error::other)?;
    let query = url
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let request = format!(
        "{method} {}{query} HTTP/1.1\r\nconnection: close\r\n{rest}",
        url.path()
    );
    let mut far = TcpStream::connect(to).await?;
    far.write_all(request.as_bytes()).await?;
    copy_bidirectional(&mut near, &mut far).await.map(drop)
}
