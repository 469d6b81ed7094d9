//! Which addresses a server may lead this program to. Its answers name status URLs, files and redirects, and whoever
//! writes them could have a function inside a private network read what only that network may: its neighbours, the
//! metadata of the machine with its credentials, the Lambda Runtime API.
//!
//! So the addresses are looked at, and not the names: after the name server's answer, and those that are judged are those
//! that are connected to. What the operator names may be anywhere, but for link-local addresses and the Runtime API.

mod reach;

use std::collections::HashSet;
use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::OnceCell;
use url::{Host, Url};

use self::reach::Reach;
use super::words;
use crate::config::Origin;

/// Where proxies are named.
const PROXIES: [&str; 3] = ["http_proxy", "https_proxy", "all_proxy"];

/// Asks a name server.
type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> + Send + Sync>;

/// What one server may lead to. Clones are the same.
#[derive(Clone)]
pub(super) struct Guard(Arc<Rules>);

struct Rules {
    endpoint: Url,
    /// Hosts that the operator gave: the endpoint's and those of trusted origins.
    named: HashSet<String>,
    /// Proxies, whose names are resolved like a server's. One that is given by its address is not looked at.
    proxies: HashSet<String>,
    allow_private: bool,
    /// The Lambda Runtime API.
    runtime: Option<SocketAddr>,
    /// Where the endpoint is, once that is known.
    endpoint_reach: OnceCell<Reach>,
    /// Names that were asked for at the port of the Runtime API.
    not_here: Mutex<HashSet<String>>,
    lookup: Lookup,
}

/// An address that is not gone to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    address: IpAddr,
    what: &'static str,
    /// Whether the operator may allow it.
    pub(super) may_be_allowed: bool,
}

impl Refused {
    /// One that the operator may allow.
    fn until_allowed(address: IpAddr, what: &'static str) -> Self {
        Self {
            may_be_allowed: true,
            ..Self::for_ever(address, what)
        }
    }

    /// One that nobody may allow.
    fn for_ever(address: IpAddr, what: &'static str) -> Self {
        Self {
            address,
            what,
            may_be_allowed: false,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, what, .. } = self;
        write!(f, "the address {address} is {what}, and not gone to")
    }
}

impl StdError for Refused {}

impl Guard {
    /// For what the server at `endpoint` names; `trusted` are origins that the operator named.
    pub(super) fn new(endpoint: &Url, trusted: &[Origin], allow_private: bool) -> Self {
        let variable = |name: &str| {
            let upper = std::env::var(name.to_ascii_uppercase());
            std::env::var(name).or(upper).ok()
        };
        let lookup: Lookup = Arc::new(|name| {
            Box::pin(async move {
                let found = tokio::net::lookup_host((name, 0)).await?;
                Ok(found.map(|address| address.ip()).collect())
            })
        });
        let proxies = PROXIES
            .iter()
            .filter_map(|name| host_of_proxy(&variable(name)?));
        let runtime = std::env::var("AWS_LAMBDA_RUNTIME_API").ok();
        Self::with(
            endpoint,
            trusted,
            allow_private,
            proxies.collect(),
            runtime,
            lookup,
        )
    }

    fn with(
        endpoint: &Url,
        trusted: &[Origin],
        allow_private: bool,
        proxies: Vec<String>,
        runtime: Option<String>,
        lookup: Lookup,
    ) -> Self {
        let mut named = HashSet::new();
        named.extend(endpoint.host_str().map(plain));
        named.extend(trusted.iter().map(|origin| plain(origin.host())));
        Self(Arc::new(Rules {
            endpoint: endpoint.clone(),
            named,
            proxies: proxies.into_iter().collect(),
            allow_private,
            runtime: runtime.and_then(|address| address.parse().ok()),
            endpoint_reach: OnceCell::new(),
            not_here: Mutex::default(),
            lookup,
        }))
    }

    /// Whether a request may go to this URL, as far as that can be said without its name's addresses.
    pub(super) async fn check(&self, url: &Url) -> Result<(), Refused> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(name)) => {
                self.note_port(&plain(name), url);
                return Ok(());
            }
            None => return Ok(()),
        };
        let named = url
            .host_str()
            .is_some_and(|host| self.0.named.contains(&plain(host)));
        let port = url.port_or_known_default();
        let is_runtime = |runtime: SocketAddr| {
            let here = Reach::of(address) == Reach::Loopback || runtime.ip() == address;
            here && port == Some(runtime.port())
        };
        if self.0.runtime.is_some_and(is_runtime) {
            return Err(Refused::for_ever(address, "the Lambda Runtime API's own"));
        }
        self.judge(address, named).await
    }

    /// A name that is asked for at the port of the Runtime API must not lead to this machine.
    fn note_port(&self, name: &str, url: &Url) {
        if let Some(runtime) = self.0.runtime
            && url.port_or_known_default() == Some(runtime.port())
        {
            let not_here = self.0.not_here.lock();
            let mut not_here = not_here.unwrap_or_else(PoisonError::into_inner);
            not_here.insert(name.to_owned());
        }
    }

    async fn judge(&self, address: IpAddr, named: bool) -> Result<(), Refused> {
        let what = match Reach::of(address) {
            Reach::Public => return Ok(()),
            Reach::Never => {
                let what = "one that no server has reason to name";
                return Err(Refused::for_ever(address, what));
            }
            _ if named || self.0.allow_private => return Ok(()),
            reach if reach <= self.endpoint_reach().await => return Ok(()),
            Reach::Private => "one of a private network",
            Reach::Loopback => "this machine's own",
        };
        Err(Refused::until_allowed(address, what))
    }

    /// Where the endpoint is. A name that cannot be resolved is taken for a public one.
    async fn endpoint_reach(&self) -> Reach {
        let rules = &*self.0;
        let find = || async {
            let addresses = match rules.endpoint.host() {
                Some(Host::Ipv4(address)) => vec![IpAddr::V4(address)],
                Some(Host::Ipv6(address)) => vec![IpAddr::V6(address)],
                Some(Host::Domain(name)) => (rules.lookup)(name.to_owned()).await?,
                None => Vec::new(),
            };
            let reaches = addresses.into_iter().map(Reach::of);
            Ok::<_, std::io::Error>(reaches.max().unwrap_or(Reach::Public))
        };
        let found = rules.endpoint_reach.get_or_try_init(find).await;
        found.copied().unwrap_or(Reach::Public)
    }

    /// The addresses of a name that may be connected to; [`Refused`] where there are addresses and none of them may.
    async fn addresses(
        &self,
        name: String,
    ) -> Result<Vec<IpAddr>, Box<dyn StdError + Send + Sync>> {
        let name = plain(&name);
        let named = self.0.named.contains(&name) || self.0.proxies.contains(&name);
        let not_here = {
            let not_here = self
                .0
                .not_here
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            not_here.contains(&name)
        };
        let found = (self.0.lookup)(name).await?;
        let mut good = Vec::with_capacity(found.len());
        let mut refusal = None;
        for address in found {
            let judged = if not_here && Reach::of(address) == Reach::Loopback {
                Err(Refused::for_ever(
                    address,
                    "this machine's own, where the Lambda Runtime API has that port",
                ))
            } else {
                self.judge(address, named).await
            };
            match judged {
                Ok(()) => good.push(address),
                Err(refused) => refusal = Some(refused),
            }
        }
        match refusal {
            Some(refused) if good.is_empty() => Err(refused.into()),
            _ => Ok(good),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = guard.addresses(name.as_str().to_owned()).await?;
            let found: Addrs =
                Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(found)
        })
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

/// What is wrong with an address, where an error was about one.
pub(super) fn refusal<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Refused> {
    words::causes(error).find_map(|cause| cause.downcast_ref())
}

/// A host name without its case and its last dot.
fn plain(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase()
}

/// The host of a proxy, as the variables name it: with or without a scheme.
fn host_of_proxy(text: &str) -> Option<String> {
    let parsed = Url::parse(text).ok().filter(Url::has_host);
    let url = parsed.or_else(|| Url::parse(&format!("http://{text}")).ok())?;
    url.host_str().map(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    /// A guard whose name server knows these names.
    fn guard(endpoint: &str, allow_private: bool) -> Guard {
        let trusted = [Origin::parse("https://files.inside").unwrap()];
        let lookup: Lookup = Arc::new(|name| {
            Box::pin(async move {
                let addresses: &[&str] = match name.as_str() {
                    "public" => &["93.184.216.34"],
                    "inside" | "files.inside" | "rebound" => &["10.1.2.3"],
                    "both" => &["10.1.2.3", "2001:db8::1", "93.184.216.34"],
                    "here" => &["127.0.0.1"],
                    "metadata" => &["169.254.169.254", "fd00:ec2::254"],
                    "proxy" => &["192.168.0.9"],
                    _ => return Err(std::io::Error::other("no such name")),
                };
                Ok(addresses.iter().map(|text| text.parse().unwrap()).collect())
            })
        });
        let proxies = vec![host_of_proxy("proxy:3128").unwrap()];
        let runtime = Some("127.0.0.1:9001".to_owned());
        Guard::with(
            &url(endpoint),
            &trusted,
            allow_private,
            proxies,
            runtime,
            lookup,
        )
    }

    /// Whether the guard lets a request go there.
    async fn goes(guard: &Guard, to: &str) -> bool {
        let to = url(to);
        if guard.check(&to).await.is_err() {
            return false;
        }
        match to.host() {
            Some(Host::Domain(name)) => guard.addresses(name.to_owned()).await.is_ok(),
            _ => true,
        }
    }

    #[tokio::test]
    async fn a_public_server_leads_to_no_private_address_whatever_its_name() {
        let guard = guard("https://public/fhir", false);
        for to in ["https://public/1", "https://8.8.8.8/1", "https://both/1"] {
            assert!(goes(&guard, to).await, "{to}");
        }
        for to in [
            "http://10.0.0.1/1",
            "http://127.0.0.1/1",
            "http://[::1]/1",
            "http://2130706433/1",
            "https://inside/1",
            "https://REBOUND./1",
            "https://here/1",
            "https://metadata/latest",
            "http://169.254.169.254/latest",
            "http://[fd00:ec2::254]/latest",
            "http://[::ffff:169.254.169.254]/latest",
        ] {
            assert!(!goes(&guard, to).await, "{to}");
        }
    }

    #[tokio::test]
    async fn of_several_addresses_only_those_are_connected_to_that_may_be() {
        let guard = guard("https://public/fhir", false);
        let found = guard.addresses("both".to_owned()).await.unwrap();
        assert_eq!(found.len(), 2);
        assert!(!found.contains(&"10.1.2.3".parse().unwrap()), "{found:?}");
    }

    #[tokio::test]
    async fn a_server_inside_leads_to_its_neighbours_and_not_to_this_machine() {
        let guard = guard("https://inside/fhir", false);
        assert!(goes(&guard, "https://rebound/1").await);
        assert!(goes(&guard, "http://10.9.9.9/1").await);
        for to in ["http://127.0.0.1/1", "https://here/1", "https://metadata/1"] {
            assert!(!goes(&guard, to).await, "{to}");
        }
    }

    #[tokio::test]
    async fn what_the_operator_names_may_be_private_and_never_the_metadata_service() {
        let strict = guard("https://public/fhir", false);
        assert!(goes(&strict, "https://files.inside/1").await);
        assert!(goes(&strict, "http://proxy:3128").await);
        let open = guard("https://public/fhir", true);
        assert!(goes(&open, "https://inside/1").await);
        assert!(goes(&open, "http://127.0.0.1/1").await);
        for to in ["https://metadata/1", "http://169.254.170.2/v2/credentials"] {
            assert!(!goes(&open, to).await, "{to}");
        }
    }

    #[tokio::test]
    async fn nobody_leads_to_the_lambda_runtime_api() {
        let guard = guard("http://127.0.0.1:8080/fhir", true);
        assert!(goes(&guard, "http://127.0.0.1:9000/1").await);
        assert!(goes(&guard, "http://here:9000/1").await);
        for to in [
            "http://127.0.0.1:9001/2018-06-01/runtime/invocation/next",
            "http://127.0.0.9:9001/2018-06-01/runtime/invocation/next",
            "http://[::ffff:127.0.0.1]:9001/2018-06-01/runtime/invocation/next",
            "http://[::1]:9001/2018-06-01/runtime/invocation/next",
            "http://here:9001/x",
        ] {
            assert!(!goes(&guard, to).await, "{to}");
        }
    }

    #[tokio::test]
    async fn a_refusal_says_the_address_and_is_found_in_a_chain_of_errors() {
        let guard = guard("https://public/fhir", false);
        let error = guard.addresses("inside".to_owned()).await.unwrap_err();
        let wrapped = std::io::Error::other(error);
        let found = refusal(&wrapped).unwrap().to_string();
        assert!(
            found.contains("10.1.2.3") && found.contains("private"),
            "{found}"
        );
    }
}
