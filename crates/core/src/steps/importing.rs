//! `pathling-import`, and the attempts of a run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use url::Url;
use uuid::Uuid;

use super::contract::{ImportRequest, ImportStarted};
use super::counting::{self, Proof};
use super::run::refuse_cancelled;
use super::turn::{self, Turn};
use super::{Context, Deadline, deletions, require_staging_for_key};
use crate::error::{Error, Kind, Result};
use crate::pathling::{self, Location};
use crate::progress::{Arrival, Event};
use crate::staging::{Staging, layout};
use crate::sync::{
    Attempt, FAILED, IMPORTED, NOTHING, Outcome, RunRecord, SUCCEEDED, SUPERSEDED, SyncState,
};

/// How many attempts a run has without success before it is given up: those that the target lost, and those that failed
/// and were begun again by a later start.
pub(super) const ATTEMPTS: usize = 3;

/// Asks the target to import, and gives the import's status URL, or null where nothing needs importing.
///
/// With staging, a retry of this step joins the attempt that is under way, and a call after an attempt that ended begins
/// the next one.
///
/// Before that the run takes its turn, and what the source has deleted is deleted. One that comes too late gives null.
pub(super) async fn pathling_import(
    context: &Context,
    event: &Value,
    deadline: Deadline,
) -> Result<ImportStarted> {
    let ImportRequest {
        parameters,
        mut carried,
    } = ImportRequest::read(event)?;
    require_staging_for_key(context, &carried)?;
    // Called alone, this is an import of its own each time: no run whose attempt it could join.
    let staging = match carried.run.as_str() {
        "" => None,
        _ => context.staging_if_any().await?,
    };
    if carried.run.is_empty() {
        carried.run = layout::derived_run("", &parameters.to_string(), [""; 0]);
    }
    let record = match staging {
        Some(staging) => Some(RunRecord {
            run: carried.run.clone(),
            ..RunRecord::load(staging, &carried.run).await?
        }),
        None => None,
    };
    context.of_run(&carried.run, record.as_ref());
    let sent = Sent::of(context, parameters).await?;
    if let (Some(staging), Some(record)) = (staging, &record) {
        let key = carried.key.as_deref();
        refuse_cancelled(record)?;
        // A call that comes again for a run that is over, and had nothing to import, takes no turn that nobody would give back.
        let is_over = record.ended().is_some_and(|it| it.name == NOTHING);
        if is_over && sent.locations.is_empty() {
            return Ok(ImportStarted {
                status_url: None,
                carried,
            });
        }
        let turn = match turn::take(context, staging, key, record).await? {
            Turn::Ours(turn) => turn,
            Turn::Over => {
                let last = record.attempts.last();
                return Ok(ImportStarted {
                    status_url: last.and_then(|it| it.status_url.clone()),
                    carried,
                });
            }
            Turn::Superseded(_) => {
                return Ok(ImportStarted {
                    status_url: None,
                    carried,
                });
            }
        };
        Box::pin(deletions::apply(
            context,
            staging,
            (key, turn),
            record,
            deadline,
        ))
        .await?;
    }
    if staging.is_none()
        && let Some(files) = event.get("deletions").and_then(Value::as_u64)
        && files > 0
    {
        tracing::warn!(
            files,
            "the export names deletions, which are not applied to the target: that takes STAGING_URL here"
        );
    }
    let status_url = match staging {
        _ if sent.locations.is_empty() => {
            tracing::info!(run = carried.run, "nothing needs importing");
            let mut state = None;
            if let Some(staging) = staging {
                let outcome = Outcome::at(
                    context.clock().moment(),
                    NOTHING,
                    sent.left_out().as_deref(),
                );
                let key = carried.key.as_deref();
                state = context.end_run(staging, &carried.run, key, outcome).await?;
            }
            if record.as_ref().is_none_or(|it| it.ended().is_none()) {
                tell_arrival(context, (false, false), record.as_ref(), state.as_ref());
            }
            None
        }
        Some(staging) => {
            let whose = (carried.run.as_str(), carried.key.as_deref());
            Some(attempt(context, staging, whose, &sent).await?)
        }
        None => Some(kick_off(context, &Uuid::new_v4().to_string(), &sent.locations).await?),
    };
    Ok(ImportStarted {
        status_url: status_url.map(Into::into),
        carried,
    })
}

/// What is sent to the target of some Parameters.
pub(super) struct Sent {
    /// The Parameters, in the dialect of the contract.
    parameters: Value,
    /// The locations whose types the target can hold.
    locations: Vec<Location>,
    /// The types of the others.
    unsupported: Vec<String>,
}

impl Sent {
    pub(super) async fn of(context: &Context, parameters: Value) -> Result<Self> {
        let mut locations = pathling::read_parameters(&parameters)?;
        let mut unsupported = Vec::new();
        if !locations.is_empty() {
            let dialect = context.dialect().await?;
            let types = locations
                .iter()
                .map(|location| location.resource_type.as_str());
            let others: BTreeSet<&str> = types
                .filter(|resource_type| !dialect.holds(resource_type))
                .collect();
            if context.settings().fail_on_unsupported_types {
                super::fail_on(&others)?;
            }
            unsupported = others.into_iter().map(str::to_owned).collect();
            locations.retain(|location| dialect.holds(&location.resource_type));
        }
        let sent = Self {
            parameters,
            locations,
            unsupported,
        };
        if let Some(left_out) = sent.left_out() {
            tracing::warn!("{left_out}");
        }
        Ok(sent)
    }

    /// What a person should know about types that are not sent.
    fn left_out(&self) -> Option<String> {
        let types = self.unsupported.join(", ");
        (!types.is_empty()).then(|| {
            format!("types that this target cannot hold are left out of the import: {types}")
        })
    }
}

/// Tells that the target has all that a run brought. `state` is that of its synchronisation then, where it has one.
pub(super) fn tell_arrival(
    context: &Context,
    (imported, unverified): (bool, bool),
    record: Option<&RunRecord>,
    state: Option<&SyncState>,
) {
    let in_step = match state {
        Some(state) => state.watermark.as_ref().map(|reached| reached.at.clone()),
        None => record.and_then(RunRecord::as_of).map(|(at, _)| at),
    };
    context.tell(Event::Arrived(Arrival {
        imported,
        in_step,
        unverified,
        held: record.and_then(RunRecord::issues_hold).is_some(),
    }));
}

/// Joins the attempt of `run` that is under way, or begins the next one. The attempt is written down before the target is
/// asked, so that whoever comes after a crash asks for the same job.
pub(super) async fn attempt(
    context: &Context,
    staging: &Staging,
    (run, key): (&str, Option<&str>),
    sent: &Sent,
) -> Result<Url> {
    let known = RunRecord::load(staging, run).await?;
    let joins =
        |attempt: &Attempt| attempt.outcome.is_none() && attempt.parameters == sent.parameters;
    // Whoever joins an attempt that may have begun counts too late.
    let before = match known.attempts.last() {
        Some(last) if joins(last) => BTreeMap::new(),
        _ => counting::before(context, &sent.locations).await?,
    };
    let begun = |record: &mut RunRecord| {
        if record.cancelled().is_some() {
            return false;
        }
        if let Some(last) = record
            .attempts
            .last_mut()
            .filter(|last| last.outcome.is_none())
        {
            if last.parameters == sent.parameters {
                return false;
            }
            // A job is known by its nonce alone: under the same one, the old Parameters would be imported.
            last.outcome = Some(SUPERSEDED.to_owned());
            last.ended = Some(staging.clock().moment());
        }
        record.attempts.push(Attempt {
            number: record.attempts.last().map_or(1, |last| last.number + 1),
            at: staging.clock().moment(),
            parameters: sent.parameters.clone(),
            unsupported: sent.unsupported.clone(),
            before: before.clone(),
            software: context.target_software(),
            ..Attempt::default()
        });
        record.outcome = None;
        true
    };
    let record = context.update(staging, run, begun).await?;
    refuse_cancelled(&record)?;
    let Some(current) = record.attempts.last() else {
        return Err(
            Kind::StagingUnavailable.error(format!("the record of run {run} lost its attempt"))
        );
    };
    if let Some(url) = known_url(current) {
        return Ok(url);
    }
    let number = current.number;
    // Once more just before: deletions and counts may have taken long, and whoever asks out of turn undoes what is newer.
    if !turn::renew(context, staging, key, &record).await? {
        return Err(
            Kind::JobInProgress.error(format!("run {run} has lost its turn to be imported"))
        );
    }
    match kick_off(context, &format!("{run}-{number}"), &sent.locations).await {
        Ok(url) => {
            let asked = |record: &mut RunRecord| {
                let mut attempts = record.attempts.iter_mut();
                let Some(attempt) = attempts.find(|attempt| attempt.number == number) else {
                    return false;
                };
                attempt
                    .asked
                    .get_or_insert_with(|| context.clock().moment());
                attempt.status_url = Some(url.to_string());
                true
            };
            context.update(staging, run, asked).await?;
            Ok(url)
        }
        Err(error) if error.kind() == Kind::ImportFailed => {
            let failed = AttemptEnd::of(number, FAILED);
            Err(unsuccessful(context, staging, (run, key), failed, error).await?)
        }
        Err(error) => Err(error),
    }
}

pub(super) fn known_url(attempt: &Attempt) -> Option<Url> {
    Url::parse(attempt.status_url.as_deref()?).ok()
}

async fn kick_off(context: &Context, nonce: &str, send: &[Location]) -> Result<Url> {
    let parameters = pathling::in_dialect(context.dialect().await?, send)?;
    let (client, endpoint) = context.target().await?;
    let url = pathling::kick_off(client, endpoint, nonce, &parameters).await?;
    tracing::info!(nonce, types = send.len(), "import kicked off");
    Ok(url)
}

/// Writes down how an attempt ended without success, and gives the error for its caller: one that ends the run where there
/// have been too many in a row.
pub(super) async fn unsuccessful(
    context: &Context,
    staging: &Staging,
    (run, key): (&str, Option<&str>),
    end: AttemptEnd,
    error: Error,
) -> Result<Error> {
    let record = end_attempt(context, staging, run, end, |attempt| {
        attempt.message = Some(error.what().to_owned());
    })
    .await?;
    turn::give_back(staging, key, &record).await?;
    let newest_first = record.attempts.iter().rev();
    let in_a_row = newest_first
        .take_while(|it| it.is_without_success())
        .count();
    if in_a_row < ATTEMPTS {
        return Ok(error);
    }
    let usual = error.kind().row().advice;
    let known = error.advice();
    let known = if known == usual { "" } else { known };
    let advice = "Read what the target says and its log. These files are given up: a new start asks for a new export.";
    let advice = format!("{known} {advice}");
    Ok(error.next(advice.trim_start().to_owned()).for_good())
}

/// How an attempt ended.
pub(super) struct AttemptEnd {
    pub(super) number: u32,
    pub(super) outcome: &'static str,
    /// When the target was seen to have done it, where it had.
    pub(super) done: Option<String>,
}

impl AttemptEnd {
    /// The attempt of this number ended so.
    pub(super) fn of(number: u32, outcome: &'static str) -> Self {
        Self {
            number,
            outcome,
            done: None,
        }
    }
}

/// Writes down that an attempt has succeeded, and what proves it.
pub(super) async fn close_with(
    context: &Context,
    staging: &Staging,
    run: &str,
    end: AttemptEnd,
    proof: &Proof,
) -> Result<()> {
    end_attempt(context, staging, run, end, |attempt| {
        attempt.after.clone_from(&proof.after);
        attempt.unverified.clone_from(&proof.unverified);
        attempt.verified = proof.unverified.is_none().then(|| context.clock().moment());
    })
    .await
    .map(|_| ())
}

/// Writes down how an attempt ended, and gives the run's record.
async fn end_attempt(
    context: &Context,
    staging: &Staging,
    run: &str,
    end: AttemptEnd,
    say: impl Fn(&mut Attempt) + Send + Sync,
) -> Result<RunRecord> {
    let AttemptEnd {
        number,
        outcome,
        done,
    } = end;
    let ended = |record: &mut RunRecord| {
        let attempt = record
            .attempts
            .iter_mut()
            .find(|attempt| attempt.number == number);
        let Some(attempt) = attempt.filter(|attempt| attempt.outcome.is_none()) else {
            return false;
        };
        attempt.outcome = Some(outcome.to_owned());
        attempt.done.clone_from(&done);
        say(attempt);
        attempt.ended = Some(staging.clock().moment());
        if outcome == SUCCEEDED {
            // In one write: a crash right after it must not make the next start import the run again.
            record.outcome = Some(Outcome::at(staging.clock().moment(), IMPORTED, None));
        }
        true
    };
    context.update(staging, run, ended).await
}
