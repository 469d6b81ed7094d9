//! What the steps work with: settings, and clients that are made on first use and kept.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;
use url::Url;

use super::early::Early;
use super::tally::Tally;
use crate::audit::{Audit, Item, Sink};
use crate::clock::Clock;
use crate::config::{Dialect, Endpoint, Settings};
use crate::error::{Kind, Result};
use crate::export::{self, Capability, Wanted};
use crate::http::{Client, ClientOptions, Side};
use crate::pathling;
use crate::progress::{self, Event, Observer, Software};
use crate::staging::{Options, Staging, layout};
use crate::sync::{self, Outcome, RunRecord, SyncState};
use crate::telemetry;

/// One process's settings and clients. A Lambda keeps it between invocations.
pub struct Context {
    settings: Settings,
    clock: Clock,
    anew: bool,
    looks_only: bool,
    observer: Observer,
    audit: Arc<Audit>,
    source: OnceCell<Client>,
    capability: OnceCell<Capability>,
    target: OnceCell<Client>,
    staging: OnceCell<Staging>,
    dialect: OnceCell<(Dialect, Software)>,
    tally: Arc<Tally>,
    early: Option<Box<Early>>,
}

impl Context {
    /// A context for these settings. Nothing is connected yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            audit: Arc::new(Audit::new(settings.staging.is_some())),
            settings,
            clock: Clock::default(),
            anew: false,
            looks_only: false,
            observer: progress::nobody(),
            source: OnceCell::new(),
            capability: OnceCell::new(),
            target: OnceCell::new(),
            staging: OnceCell::new(),
            dialect: OnceCell::new(),
            tally: Arc::default(),
            early: None,
        }
    }

    /// The same context by another clock than the machine's.
    #[must_use]
    pub fn by(mut self, clock: Clock) -> Self {
        self.audit.goes_by(clock.clone());
        self.clock = clock;
        self
    }

    /// The same context for a caller of [`super::ahead`], where the settings allow manifests in pieces.
    #[must_use]
    pub fn going_ahead(mut self) -> Self {
        self.early = self.settings.job.partial_manifests.then(Box::default);
        self
    }

    /// The same context, with somebody who is told about transfers.
    #[must_use]
    pub fn observed_by(mut self, observer: Observer) -> Self {
        self.observer = observer;
        self
    }

    /// The same context, which gives each line of the audit log to `sink` too.
    #[must_use]
    pub fn audited_to(self, sink: Sink) -> Self {
        self.audit.also_to(sink);
        self
    }

    /// The same context for a start that is asked to do all of it anew: a manifest that was imported before is imported again.
    #[must_use]
    pub fn anew(mut self, anew: bool) -> Self {
        self.anew = anew;
        self
    }

    /// The same context for a caller who only looks at what is in staging.
    #[must_use]
    pub fn looking_only(mut self) -> Self {
        self.looks_only = true;
        self
    }

    pub(super) fn is_anew(&self) -> bool {
        self.anew
    }

    /// Begins with the work on a run whose requests have this name, as far as either is known now.
    pub(super) fn begin(&self, id: Option<&str>, run: Option<&str>) {
        self.audit.begin(id, run);
        self.tally.of_run(run);
        telemetry::set_run(run.filter(|run| layout::is_run_name(run)));
        telemetry::set_request_id(self.request_id());
    }

    /// Says which run it is that is at work. Its requests go out under the name that its kick-off had, as its record knows; a
    /// run of which nobody knows that has its own name for it. To be called before anything is asked of a server.
    pub(super) fn of_run(&self, run: &str, record: Option<&RunRecord>) {
        let kick_off = record.and_then(RunRecord::newest_kick_off);
        let id = kick_off.and_then(|kick_off| kick_off.request_id.as_deref());
        self.audit.of_run(run, id);
        self.tally.of_run(Some(run));
        telemetry::set_run(Some(run));
        telemetry::set_request_id(self.request_id());
    }

    /// Says that the run has another name than the one that its kick-off was written down under.
    pub(super) async fn moved(&self, staging: &Staging, from: &str, to: &str) {
        self.audit.moved(staging, from, to).await;
        self.tally.moved(to);
        telemetry::set_run(Some(to));
    }

    /// The name under which the run's requests go out.
    pub(super) fn request_id(&self) -> Option<String> {
        self.audit.id().get()
    }

    /// Writes what is left of the audit log to the run's folder, as far as that goes in this time.
    pub async fn keep_log(&self, within: Duration) {
        // A store that was not opened did not let itself be opened, or nobody needed it.
        let Some(staging) = self.staging.get() else {
            return;
        };
        let written = tokio::time::timeout(within, self.audit.keep(staging));
        if self.audit.has_unwritten() && written.await.is_err() {
            tracing::warn!("the store did not take the end of the audit log in time");
        }
    }

    /// What tells it the time.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where files and state rest.
    ///
    /// Gives [`Kind::Configuration`] where there is no `STAGING_URL`.
    pub async fn staging(&self) -> Result<&Staging> {
        let place = self
            .settings
            .staging
            .as_ref()
            .ok_or_else(|| missing("STAGING_URL"))?;
        let options = Options {
            checksum: self.settings.transfer.checksum,
            looks_only: self.looks_only,
        };
        self.staging
            .get_or_try_init(|| async {
                let opened = Staging::open(place, options).await?;
                Ok(opened.by(self.clock.clone()))
            })
            .await
    }

    /// Waits a moment until what was cut short is cleared away in staging. Whoever drops a step half-way calls this before
    /// the process ends.
    pub async fn settle(&self) {
        if let Some(staging) = self.staging.get() {
            staging.settle().await;
        }
    }

    /// As [`Context::staging`], or `None` where there is no `STAGING_URL`.
    pub(super) async fn staging_if_any(&self) -> Result<Option<&Staging>> {
        match self.settings.staging {
            Some(_) => self.staging().await.map(Some),
            None => Ok(None),
        }
    }

    /// The source's client and endpoint.
    pub(super) async fn source(&self) -> Result<(&Client, &Url)> {
        let endpoint = self
            .settings
            .source
            .as_ref()
            .ok_or_else(|| missing("SOURCE_ENDPOINT"))?;
        let client = self
            .source
            .get_or_try_init(|| async { client(Side::Source, endpoint, &self.audit) })
            .await?;
        Ok((client, &endpoint.url))
    }

    /// What the source says about its export, asked once, with a warning of what it says that it does not know of `wanted`.
    /// `None` where it is not to be had: no export depends on it.
    ///
    /// The error is one that no request of the source's would escape: it cannot be reached, or there is no token for it.
    pub(super) async fn capability(&self, wanted: &Wanted) -> Result<Option<&Capability>> {
        let (client, endpoint) = self.source().await?;
        let read = self.capability.get_or_try_init(|| async {
            let capability = Capability::read(client, endpoint, &wanted.export.level).await?;
            capability.warn_of_unsupported(wanted);
            Ok(capability)
        });
        let read: Result<&Capability> = read.await;
        match read {
            Ok(capability) => Ok(Some(capability)),
            Err(error) if error.was_unsent() => Err(error),
            Err(error) => {
                export::capabilities_unread(&error);
                Ok(None)
            }
        }
    }

    /// The target's client and endpoint.
    pub(super) async fn target(&self) -> Result<(&Client, &Url)> {
        let endpoint = self
            .settings
            .target
            .as_ref()
            .ok_or_else(|| missing("TARGET_ENDPOINT"))?;
        let client = self
            .target
            .get_or_try_init(|| async { client(Side::Target, endpoint, &self.audit) })
            .await?;
        Ok((client, &endpoint.url))
    }

    /// Which Pathling the target is: as the settings say, else as its metadata says, asked once.
    pub(super) async fn dialect(&self) -> Result<Dialect> {
        if let Some(dialect) = self.settings.dialect {
            return Ok(dialect);
        }
        let (client, endpoint) = self.target().await?;
        self.dialect
            .get_or_try_init(|| pathling::detect(client, endpoint))
            .await
            .map(|(dialect, _)| *dialect)
    }

    /// Takes in who the target is, which was found out before a step needed it.
    pub(super) fn knows_target(&self, dialect: Dialect, software: Software) {
        // Whoever found it out first is right too.
        let _ = self.dialect.set((dialect, software));
    }

    /// What the target says that it is, where it was asked.
    pub(super) fn target_software(&self) -> Option<Software> {
        self.dialect.get().and_then(|(_, told)| told.if_any())
    }

    /// What this process counts of the run's work.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Changes a run's record as [`RunRecord::update`] does, and where that changes anything, writes with it what this process
    /// has counted.
    pub(super) async fn update(
        &self,
        staging: &Staging,
        run: &str,
        mut change: impl FnMut(&mut RunRecord) -> bool + Send,
    ) -> Result<RunRecord> {
        let effort = self.tally.take();
        let mut changed = false;
        let updated = RunRecord::update(staging, run, |record| {
            changed = change(record);
            if changed {
                record.took(&effort);
            }
            changed
        })
        .await;
        if updated.is_err() || !changed {
            self.tally.give_back(&effort);
        }
        updated
    }

    /// Writes down how a run ended, as [`sync::end_run`] does, and what this process has counted of it.
    pub(super) async fn end_run(
        &self,
        staging: &Staging,
        run: &str,
        key: Option<&str>,
        outcome: Outcome,
    ) -> Result<Option<SyncState>> {
        let record = self
            .update(staging, run, |record| record.end(&outcome))
            .await?;
        sync::take_end_in(staging, key, &record, &outcome).await
    }

    /// What is staged ahead, where somebody does that.
    pub(super) fn early(&self) -> Option<&Early> {
        self.early.as_deref()
    }

    /// Who is told of the export and its files.
    pub(super) fn observer(&self) -> Observer {
        let (audit, observer) = (Arc::clone(&self.audit), Arc::clone(&self.observer));
        let tally = Arc::clone(&self.tally);
        Arc::new(move |event| {
            tally.count(&event);
            audit.take(Item::Output, &event);
            observer(event);
        })
    }

    /// Who is told of files of this kind that are no part of the progress that is shown.
    pub(super) fn observer_of(&self, item: Item) -> Observer {
        let (tally, log) = (Arc::clone(&self.tally), self.audit.observer(item));
        Arc::new(move |event| {
            tally.count(&event);
            log(event);
        })
    }

    /// Tells what happened.
    pub(super) fn tell(&self, event: Event) {
        self.observer()(event);
    }

    /// The audit log.
    pub(super) fn audit(&self) -> &Audit {
        &self.audit
    }
}

/// When a step has to answer, whatever it is doing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deadline(pub Option<Instant>);

fn client(side: Side, endpoint: &Endpoint, audit: &Audit) -> Result<Client> {
    let options = ClientOptions {
        side,
        endpoint: endpoint.url.clone(),
        credentials: endpoint.credentials.clone(),
        certificate: endpoint.certificate.clone(),
        token_endpoint: endpoint.token_endpoint.clone(),
        trusted_origins: endpoint.trusted_origins.clone(),
        buckets: endpoint.buckets.clone(),
        headers: endpoint.headers.clone(),
        allow_plaintext: endpoint.allow_plaintext,
        allow_private_hosts: endpoint.allow_private_hosts,
        connect_timeout: endpoint.connect_timeout,
        idle_timeout: endpoint.idle_timeout,
    };
    Client::identified(options, audit.id().clone(), endpoint.manifest.as_slice())
}

fn missing(name: &str) -> crate::Error {
    Kind::Configuration
        .error(format!("{name} is missing"))
        .next("All settings are described in docs/configuration.md.")
}
