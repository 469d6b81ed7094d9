//! URLs that are lent by a newer copy of a run's manifest: where the source signs its links, those of the stored one expire.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::list::List;
use super::places::{Place, Places};
use super::plan::Plan;
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::manifest::{Manifest, Output};

/// Links that were had so short a time ago are the newest that there are.
const NEWEST: Duration = Duration::from_secs(10);

/// A source that could not give any is asked again after this time at the earliest, however many files wait for them.
const AGAIN: Duration = Duration::from_secs(1);

/// Fetches the manifest again, for links that have expired. Its links lend URLs and nothing else.
pub type Renew = Arc<dyn Fn() -> BoxFuture<'static, Result<Links, Unrenewed>> + Send + Sync>;

/// Why links cannot be had anew.
#[derive(Clone, Debug)]
pub enum Unrenewed {
    /// Nobody goes on with the run, so no link is of any use.
    Over(Error),
    /// The manifest was not to be had.
    Failed(Error),
}

impl From<Error> for Unrenewed {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What a newer copy of the manifest lends to the files of a plan: URLs, and nothing else.
#[derive(Clone)]
pub struct Links {
    run: String,
    list: List,
    stored: Arc<Manifest>,
    fresh: Option<Arc<(Manifest, Places)>>,
}

impl Links {
    /// What `fresh` lends to a plan. A manifest of another time is of another export, and lends nothing.
    #[must_use]
    pub fn of(plan: &Plan, fresh: Manifest) -> Self {
        let (list, stored) = (plan.list(), plan.stored());
        let is_same_export = fresh.head.transaction_time == stored.head.transaction_time;
        let fresh = is_same_export.then(|| {
            let places = Places::of(list, stored, &fresh);
            let files = places.unsure();
            if files > 0 {
                tracing::warn!(
                    run = plan.run(),
                    files,
                    "the manifest, fetched again, does not name these files as before, which differ from others in nothing but their signature: they keep the links that they have"
                );
            }
            Arc::new((fresh, places))
        });
        Self {
            run: plan.run().to_owned(),
            list,
            stored: Arc::clone(stored),
            fresh,
        }
    }

    /// Another URL of the same file, wherever the newer copy names it: the same type, and nothing but the signature differs.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Url> {
        let stored = self.list.output(&self.stored, index)?;
        let (fresh, places) = self.fresh.as_deref()?;
        let Place::At(place) = places.get(index) else {
            return None;
        };
        let fresh = self.list.output(fresh, place)?;
        let key = |output: &Output<'_>| self.list.key(&self.run, index, output);
        // Two URLs of one key differ in nothing but a signature.
        let lends = fresh.url != stored.url && key(&fresh) == key(&stored);
        lends.then(|| Url::parse(&fresh.url).ok()).flatten()
    }

    /// Whether the newer copy has several files of which this may be any.
    fn is_unsure(&self, index: usize) -> bool {
        let places = self.fresh.as_deref().map(|(_, places)| places);
        places.is_some_and(|places| places.get(index) == Place::Unsure)
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links")
            .field("fresh", &self.fresh.as_deref().map(|(fresh, _)| fresh))
            .finish_non_exhaustive()
    }
}

/// The newest links of a transfer. All of its files share one copy of the manifest, and a new one is fetched when that one's
/// links have expired too, which a long transfer may live to see.
pub(super) struct Newest {
    renew: Option<Renew>,
    retry_after_max: Duration,
    expires: Option<Timestamp>,
    clock: Clock,
    had: Mutex<Option<(Instant, Result<Links, Unrenewed>)>>,
}

/// Why there is no other link to a file.
pub(super) enum NoLink {
    /// There is none: the beginning of a message.
    None(String),
    /// The source cannot say just now; the error says when it may be asked again.
    NotNow(Error),
    /// No link is of any use, for nobody goes on with the run.
    Over(Error),
}

/// What becomes of a link that leads nowhere.
pub(super) enum Verdict {
    /// Its time is over, so it is not tried again.
    Expired(Error),
    /// It may work another time.
    Unknown(Error),
}

impl Newest {
    pub(super) fn new(renew: Option<Renew>, retry_after_max: Duration) -> Self {
        Self {
            renew,
            retry_after_max,
            expires: None,
            clock: Clock::default(),
            had: Mutex::default(),
        }
    }

    /// The same, where the source has said until when the files are there, by this clock.
    pub(super) fn until(mut self, expires: Option<Timestamp>, clock: &Clock) -> Self {
        self.expires = expires;
        self.clock = clock.clone();
        self
    }

    /// What that tells of a link which leads nowhere, and for which there is no other.
    pub(super) fn verdict(&self, error: Error) -> Verdict {
        match self.expires {
            None => Verdict::Unknown(error),
            // Whatever the server calls it, a token would not help any more.
            Some(at) if at <= self.clock.now() => Verdict::Expired(
                Kind::Transfer
                    .error(format!(
                        "the export expired at {at}, as the source had said: {}",
                        error.what()
                    ))
                    .next("Start a new export."),
            ),
            Some(at) => Verdict::Unknown(error.within(&format!(
                "the source had said that the export's files are there until {at}"
            ))),
        }
    }

    /// Another link to a file than the one that expired, or why there is none.
    pub(super) async fn link(&self, index: usize, expired: &Url) -> Result<Url, NoLink> {
        let none = |why: String| Err(NoLink::None(why));
        let Some(renew) = &self.renew else {
            return none(
                "the export's status URL is not known, where there may be a fresh link".into(),
            );
        };
        // Who waits here for another file's answer has it then.
        let mut had = self.had.lock().await;
        let is_newest = had
            .as_ref()
            .is_some_and(|(at, links)| at.elapsed() < self.good_for(links));
        let other = had.as_ref().and_then(|(_, links)| {
            let link = links.as_ref().ok()?.get(index)?;
            (link != *expired).then_some(link)
        });
        if let Some(link) = other {
            return Ok(link);
        }
        if !is_newest {
            let links = renew().await;
            *had = Some((Instant::now(), links));
        }
        let failed = "the manifest could not be fetched again for a fresh link";
        match had.as_ref() {
            Some((_, Ok(links))) => match links.get(index).filter(|link| link != expired) {
                Some(link) => Ok(link),
                None if links.is_unsure(index) => none(
                    "the manifest was fetched again, and names several files that differ in nothing but their signature, not as before, so that nothing tells which of their links is this file's".into(),
                ),
                None => none("the manifest was fetched again and has no other link".into()),
            },
            Some((_, Err(Unrenewed::Over(error)))) => Err(NoLink::Over(error.clone())),
            Some((at, links @ Err(Unrenewed::Failed(error))))
                if error.kind() == Kind::SourceUnavailable =>
            {
                let rest = self.good_for(links).saturating_sub(at.elapsed());
                let error = error.clone().within(failed);
                Err(NoLink::NotNow(error.retry_after(Some(rest))))
            }
            Some((_, Err(Unrenewed::Failed(error)))) => {
                none(format!("{failed} ({})", error.what()))
            }
            None => none("the manifest was not fetched again".into()),
        }
    }

    /// For how long an answer is the newest that there can be.
    fn good_for(&self, links: &Result<Links, Unrenewed>) -> Duration {
        match links {
            Err(Unrenewed::Failed(error)) if error.kind() == Kind::SourceUnavailable => {
                let asked = error.wait().unwrap_or_default();
                asked.min(self.retry_after_max).max(AGAIN)
            }
            _ => NEWEST,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;
    use serde_json::json;

    use super::*;

    fn manifest(outputs: &[(&str, &str)]) -> Arc<Manifest> {
        let outputs: Vec<_> = outputs
            .iter()
            .map(|(kind, url)| json!({"type": kind, "url": url}))
            .collect();
        let manifest = json!({"transactionTime": "t", "output": outputs});
        Arc::new(Manifest::read(&manifest, None).unwrap())
    }

    #[test]
    fn a_manifest_that_is_fetched_again_lends_its_signatures_and_nothing_else() {
        let stored = manifest(&[
            ("Patient", "http://h/1?X-Amz-Signature=old"),
            ("Patient", "http://h/2"),
            ("Patient", "http://h/3?sig=old"),
        ]);
        let fresh = manifest(&[
            ("Patient", "http://h/1?X-Amz-Signature=new"),
            ("Patient", "http://h/other"),
            ("Condition", "http://h/3?sig=new"),
        ]);
        let plan = Plan::new("abc", Arc::clone(&stored)).unwrap();
        let links = Links::of(&plan, Manifest::clone(&fresh));
        assert_eq!(links.get(0).unwrap().query(), Some("X-Amz-Signature=new"));
        assert_eq!(
            (links.get(1), links.get(2), links.get(3)),
            (None, None, None)
        );
        let lent = plan.clone().lent(links);
        assert_eq!(
            lent.file(0).unwrap().url.query(),
            Some("X-Amz-Signature=new")
        );
        assert_eq!(lent.file(0).unwrap().key, plan.file(0).unwrap().key);
        assert_eq!(lent.file(1).unwrap(), plan.file(1).unwrap());
    }

    fn lent(stored: &[(&str, &str)], fresh: &[(&str, &str)]) -> Vec<Option<String>> {
        let plan = Plan::new("abc", manifest(stored)).unwrap();
        let links = Links::of(&plan, Manifest::clone(&manifest(fresh)));
        let lent = (0..stored.len()).map(|index| links.get(index).map(Into::into));
        lent.collect()
    }

    #[test]
    fn a_link_is_lent_to_the_file_that_it_leads_to_wherever_it_stands() {
        let (one, two) = ("http://h/1?sig=new", "http://h/2?x=2&sig=new");
        let url = |url: &str| Some(url.to_owned());
        let stored = [
            ("Patient", "http://h/1?sig=old"),
            ("Patient", "http://h/gone?sig=old"),
            ("Patient", "http://h/2?x=2&sig=old"),
            ("Patient", "http://h/1?sig=old"),
        ];
        let fresh = [
            ("Condition", "http://h/gone?sig=new"),
            ("Patient", two),
            ("Patient", "http://h/more?sig=new"),
            ("Patient", one),
            ("Patient", one),
        ];
        assert_eq!(lent(&stored, &fresh), [url(one), None, url(two), url(one)]);
    }

    #[test]
    fn files_that_differ_in_nothing_but_what_signs_them_keep_their_links_where_anything_moved() {
        let of = |sigs: &[&str]| -> Vec<String> {
            sigs.iter()
                .map(|sig| format!("http://h/f?sig={sig}"))
                .collect()
        };
        let as_outputs = |urls: &[String]| -> Vec<(&'static str, String)> {
            urls.iter().map(|url| ("Patient", url.clone())).collect()
        };
        let lent = |stored: &[&str], fresh: &[&str], before: bool| {
            let (stored, mut fresh) = (as_outputs(&of(stored)), as_outputs(&of(fresh)));
            if before {
                fresh.insert(0, ("Patient", "http://h/other".to_owned()));
            }
            let stored: Vec<_> = stored
                .iter()
                .map(|(kind, url)| (*kind, url.as_str()))
                .collect();
            let fresh: Vec<_> = fresh
                .iter()
                .map(|(kind, url)| (*kind, url.as_str()))
                .collect();
            let lent = self::lent(&stored, &fresh);
            lent.into_iter()
                .map(|url| url.map(|url| url.rsplit('=').next().unwrap().to_owned()))
                .collect::<Vec<_>>()
        };
        let some = |sig: &str| Some(sig.to_owned());
        assert_eq!(
            lent(&["a", "b"], &["c", "d"], false),
            [some("c"), some("d")]
        );
        // One more before them, one less, one more of them, and one twice.
        assert_eq!(lent(&["a", "b"], &["c", "d"], true), [None, None]);
        assert_eq!(lent(&["a", "b"], &["c"], false), [None, None]);
        assert_eq!(lent(&["a"], &["c", "d"], false), [None]);
        assert_eq!(lent(&["a", "b"], &["c", "d", "e"], false), [None, None]);
        assert_eq!(
            lent(&["a", "a", "b"], &["c", "d", "d"], false),
            [None, None, None]
        );
    }

    #[test]
    fn a_manifest_of_another_export_lends_nothing() {
        let stored = manifest(&[("Patient", "http://h/1?sig=old")]);
        let plan = Plan::new("abc", stored).unwrap();
        let other = json!({"transactionTime": "later", "output": [{"type": "Patient", "url": "http://h/1?sig=new"}]});
        let other = Manifest::read(&other, None).unwrap();
        assert_eq!(Links::of(&plan, other).get(0), None);
    }

    /// A source whose manifest has links of a new generation each time, or which is not to be had.
    fn renewing(asked: &Arc<AtomicUsize>, fails: Option<Kind>) -> Newest {
        let stored = manifest(&[
            ("Patient", "http://h/1?sig=0"),
            ("Patient", "http://h/2?sig=0"),
        ]);
        let plan = Arc::new(Plan::new("abc", stored).unwrap());
        let asked = Arc::clone(asked);
        Newest::new(
            Some(Arc::new(move || {
                let (plan, number) = (Arc::clone(&plan), asked.fetch_add(1, Ordering::SeqCst) + 1);
                async move {
                    if let Some(kind) = fails {
                        return Err(kind.error("no answer").into());
                    }
                    let urls = [1, 2].map(|file| format!("http://h/{file}?sig={number}"));
                    let fresh = manifest(&[("Patient", &urls[0]), ("Patient", &urls[1])]);
                    Ok(Links::of(&plan, Manifest::clone(&fresh)))
                }
                .boxed()
            })),
            Duration::from_mins(1),
        )
    }

    async fn link(newest: &Newest, file: usize, sig: usize) -> Result<String, String> {
        let expired = Url::parse(&format!("http://h/{}?sig={sig}", file + 1)).unwrap();
        match newest.link(file, &expired).await {
            Ok(link) => Ok(link.query().unwrap_or_default().to_owned()),
            Err(NoLink::NotNow(error)) => Err(format!("not now: {}", error.what())),
            Err(NoLink::Over(error)) => Err(format!("over: {}", error.what())),
            Err(NoLink::None(why)) => Err(why),
        }
    }

    #[tokio::test]
    async fn one_fresh_manifest_serves_all_files_until_its_links_expire_too() {
        let asked = Arc::default();
        let newest = renewing(&asked, None);
        let (one, other) = tokio::join!(link(&newest, 0, 0), link(&newest, 1, 0));
        assert_eq!(
            (one.unwrap(), other.unwrap()),
            ("sig=1".into(), "sig=1".into())
        );
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // A link that has just come and leads nowhere is not to be had any newer.
        let why = link(&newest, 0, 1).await.unwrap_err();
        assert_eq!(why, "the manifest was fetched again and has no other link");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // Some time later.
        newest.had.lock().await.as_mut().unwrap().0 -= NEWEST;
        assert_eq!(link(&newest, 0, 1).await.unwrap(), "sig=2");
        // Who is late has the newest at once.
        assert_eq!(link(&newest, 1, 0).await.unwrap(), "sig=2");
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn where_there_is_no_fresh_link_it_is_said_why() {
        let asked = Arc::default();
        let newest = renewing(&asked, Some(Kind::Manifest));
        for _ in 0..3 {
            let why = link(&newest, 0, 0).await.unwrap_err();
            assert!(why.ends_with("for a fresh link (no answer)"), "{why}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let newest = renewing(&asked, Some(Kind::SourceUnavailable));
        let why = link(&newest, 0, 0).await.unwrap_err();
        assert!(
            why.starts_with("not now: ") && why.ends_with("fresh link: no answer"),
            "{why}"
        );
        let why = link(&Newest::new(None, Duration::ZERO), 0, 0)
            .await
            .unwrap_err();
        assert!(why.contains("status URL is not known"), "{why}");
    }

    #[tokio::test]
    async fn that_nobody_goes_on_with_the_run_is_asked_once_and_told_to_every_file() {
        let asked = Arc::new(AtomicUsize::new(0));
        let times = Arc::clone(&asked);
        let renew: Renew = Arc::new(move || {
            times.fetch_add(1, Ordering::Relaxed);
            let over = Unrenewed::Over(Kind::ExportFailed.error("cancelled"));
            Box::pin(async move { Err(over) })
        });
        let newest = Newest::new(Some(renew), Duration::ZERO);
        for file in 0..3 {
            assert_eq!(link(&newest, file, 0).await.unwrap_err(), "over: cancelled");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_source_that_cannot_answer_now_is_not_asked_again_before_it_may_be() {
        let expired = Url::parse("http://h/1?sig=old").unwrap();
        let most = Duration::from_mins(1);
        // What the source asks for, and how long it is left alone.
        for (wanted, alone) in [(30, 30), (3600, 60)] {
            let asked = Arc::new(AtomicUsize::new(0));
            let times = Arc::clone(&asked);
            let wanted = Some(Duration::from_secs(wanted));
            let renew: Renew = Arc::new(move || {
                times.fetch_add(1, Ordering::Relaxed);
                let error = Kind::SourceUnavailable.error("503").retry_after(wanted);
                Box::pin(async move { Err(error.into()) })
            });
            let newest = Newest::new(Some(renew), most);
            for index in 0..5 {
                let Err(NoLink::NotNow(error)) = newest.link(index, &expired).await else {
                    panic!("it may answer later");
                };
                let wait = error.wait().unwrap().as_secs();
                assert!((alone / 2..=alone).contains(&wait), "{wait} s");
            }
            assert_eq!(asked.load(Ordering::Relaxed), 1);
        }
    }
}
