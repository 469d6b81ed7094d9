//! One work after the other: mover, limit and memory in turn.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::moves::Moves;
use super::supervise::{Server, Supervisor};
use super::table::{Limit, Row, median, seconds};
use super::works::{self, Work};
use super::{Options, ask, check};
use crate::limit::Moved;
use crate::serve::Count;
use crate::spec::{Spec, manifest_to_plan};
use crate::store::{ACCESS_KEY, BUCKET, REGION, SECRET_KEY};
use crate::usage::Took;
use crate::{Outcome, say};

/// How many files or parts the limit has under way; the best counts.
const CONCURRENCIES: [usize; 5] = [2, 4, 8, 16, 32];

/// Settings of the transfer that are handed on to the mover, so that their effect can be measured.
const HANDED_ON: &[&str] = &[
    "STAGING_CHECKSUM",
    "TOKIO_WORKER_THREADS",
    "TRANSFER_CONCURRENCY",
    "TRANSFER_MEMORY",
    "VALIDATE",
];

/// The servers that run, and what is needed to ask for measurements.
pub(super) struct Bench<'a> {
    supervisor: &'a Supervisor,
    options: &'a Options,
    pub(super) program: PathBuf,
    pub(super) source: Server,
    s3: Server,
    folder: PathBuf,
    /// What the measured processes read.
    pub(super) files: TempDir,
}

impl<'a> Bench<'a> {
    /// Starts both servers, with what the works need.
    pub(super) fn start(
        supervisor: &'a Supervisor,
        works: &[Work],
        options: &'a Options,
    ) -> Outcome<Self> {
        let program = std::env::current_exe()?;
        let (first, each) = works::corpus(works, options.quick);
        let source = supervisor.serve(Command::new(&program).args([
            "source",
            &format!("--first={first}"),
            &format!("--each={each}"),
        ]))?;
        let room = works::room(works, options.quick);
        let mut s3 = Command::new(&program);
        s3.args(["s3", &format!("--room={room}")]);
        if let Some(within) = &options.within {
            s3.arg("--within").arg(within);
        }
        let s3 = supervisor.serve(&mut s3)?;
        let folder = s3.ready.folder.clone().ok_or("S3 has no folder")?;
        if let Some(folder) = &options.profile_mover {
            std::fs::create_dir_all(folder)?;
        }
        Ok(Self {
            supervisor,
            options,
            program,
            source,
            s3,
            folder,
            files: tempfile::tempdir()?,
        })
    }

    /// Measures a work that moves files.
    pub(super) fn work(&self, work: Work) -> Outcome<Vec<Row>> {
        let Some(files) = work.files(self.options.quick) else {
            return Ok(Vec::new());
        };
        let (source, s3) = (&self.source.ready.authority, &self.s3.ready.authority);
        let spec = Spec::new(source, s3, files.kind, files.count, files.bytes);
        let moves = Moves::new(self, work, spec)?;
        self.set_latency(work.latency())?;
        let concurrency = self.best_concurrency(&moves)?;
        let mut limit = Limit {
            concurrency,
            whole: Vec::new(),
            completing: Vec::new(),
            memory: Vec::new(),
            gunzip: Vec::new(),
        };
        let mut rows: Vec<Row> = work
            .variants()
            .iter()
            .map(|(name, _)| {
                let title = work.title(self.options.quick);
                let title = [title.as_str(), name].join(" ");
                Row::new(work, title.trim_end(), files.count, moves.spec.bytes())
            })
            .collect();
        for round in 0..self.options.runs {
            // What was measured first in one round is not in the next.
            if round % 2 == 1 {
                self.limits(&moves, &mut limit)?;
            }
            for (row, (_, settings)) in rows.iter_mut().zip(work.variants()) {
                let (took, source, s3) = self.mover(&moves, settings, round == 0)?;
                row.mover.push(took);
                row.source.push(source);
                row.s3.push(s3);
            }
            if round % 2 == 0 {
                self.limits(&moves, &mut limit)?;
            }
        }
        self.profile(work, &moves)?;
        self.set_latency(0)?;
        for row in &mut rows {
            row.limit = Some(limit.clone());
        }
        Ok(rows)
    }

    /// Measures the plan alone, at three sizes.
    pub(super) fn plan(&self) -> Outcome<Vec<Row>> {
        let mut measured = Vec::new();
        for outputs in Work::outputs(self.options.quick) {
            let path = self.files.path().join("manifest.json");
            std::fs::write(&path, manifest_to_plan(outputs).to_string())?;
            let mut took = Vec::new();
            for _ in 0..self.options.runs {
                took.push(self.ask(Command::new(&self.program).arg("plan").arg(&path))?);
            }
            measured.push((outputs, took));
        }
        let beside = measured
            .iter()
            .map(|(outputs, took)| {
                let wall = median(took, |took| took.wall);
                let rss = median(took, |took| took.rss as f64) / f64::from(1 << 20);
                format!("{outputs}: {}, {rss:.0} MiB", seconds(wall))
            })
            .collect::<Vec<_>>()
            .join("; ");
        let Some((outputs, took)) = measured.pop() else {
            return Ok(Vec::new());
        };
        let mut row = Row::new(
            Work::Plan,
            &Work::Plan.title(self.options.quick),
            outputs,
            0,
        );
        row.mover = took;
        row.beside = beside;
        Ok(vec![row])
    }

    /// The mover, once: what it took, and how many requests it made of each server.
    fn mover(
        &self,
        moves: &Moves,
        settings: &[(&str, &str)],
        compare: bool,
    ) -> Outcome<(Took, Count, Count)> {
        moves.prepare(self)?;
        let (source, s3) = (&self.source.ready.authority, &self.s3.ready.authority);
        let before = (ask::count(source)?, ask::count(s3)?);
        let took = self.ask(&mut self.mover_command(&self.program, moves, settings))?;
        let after = (ask::count(source)?, ask::count(s3)?);
        let objects = check::objects(&self.staging(), &moves.spec)?;
        if compare {
            check::same(&objects, &moves.spec)?;
        }
        Ok((took, after.0.since(&before.0), after.1.since(&before.1)))
    }

    fn mover_command(&self, program: &Path, moves: &Moves, settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(HANDED_ON.iter().filter_map(|name| {
                let value = std::env::var_os(name)?;
                Some((name, value))
            }))
            .envs([
                (
                    "SOURCE_ENDPOINT",
                    format!("http://{}/fhir", self.source.ready.authority).as_str(),
                ),
                ("SOURCE_AUTHENTICATION_ENABLED", "false"),
                ("STAGING_URL", &staging_url()),
                (
                    "AWS_ENDPOINT_URL_S3",
                    format!("http://{}", self.s3.ready.authority).as_str(),
                ),
                ("AWS_REGION", REGION),
                ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
                ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
                ("AWS_EC2_METADATA_DISABLED", "true"),
            ])
            .envs(settings.iter().copied())
            .arg("mover")
            .arg(&moves.event);
        command
    }

    /// The limit and what goes with it, once.
    fn limits(&self, moves: &Moves, limit: &mut Limit) -> Outcome<()> {
        let concurrency = limit.concurrency;
        let whole = self.limit(moves, concurrency, false)?;
        limit.whole.push(whole.took);
        limit.completing.push(whole.completing);
        let memory = self.limit(moves, concurrency, true)?;
        limit.memory.push(memory.took);
        if let Some(stream) = &moves.gzip {
            let mut command = Command::new(&self.program);
            let command = command.args(["gunzip", &self.source.ready.authority, stream]);
            limit.gunzip.push(self.ask(command)?);
        }
        Ok(())
    }

    fn limit(&self, moves: &Moves, concurrency: usize, memory: bool) -> Outcome<Moved> {
        self.empty()?;
        let mut command = Command::new(&self.program);
        command
            .arg("limit")
            .arg(&moves.description)
            .arg(format!("--concurrency={concurrency}"));
        if memory {
            command.arg("--memory");
        }
        Ok(serde_json::from_str(&self.supervisor.run(&mut command)?)?)
    }

    fn best_concurrency(&self, moves: &Moves) -> Outcome<usize> {
        let mut best = (CONCURRENCIES[0], f64::INFINITY);
        // What a quick run says of time means nothing anyway.
        let tried = if self.options.quick {
            2
        } else {
            CONCURRENCIES.len()
        };
        for concurrency in CONCURRENCIES.into_iter().take(tried) {
            let wall = self.limit(moves, concurrency, false)?.took.wall;
            if wall < best.1 {
                best = (concurrency, wall);
            }
        }
        Ok(best.0)
    }

    /// The mover once more, under a profiler.
    fn profile(&self, work: Work, moves: &Moves) -> Outcome<()> {
        let Some(folder) = &self.options.profile_mover else {
            return Ok(());
        };
        moves.prepare(self)?;
        let data = folder.join(format!("{work:?}.perf.data"));
        let profiled = self.mover_command(&self.program, moves, &[]);
        let mut perf = Command::new("perf");
        perf.args(["record", "--quiet", "--freq=1999"])
            .arg("--output")
            .arg(&data)
            .arg("--")
            .arg(&self.program)
            .args(profiled.get_args());
        for (name, value) in profiled.get_envs() {
            match value {
                Some(value) => perf.env(name, value),
                None => perf.env_remove(name),
            };
        }
        match self.supervisor.run(&mut perf) {
            Ok(_) => {
                say(&format!(
                    "perf report --no-children --no-inline --input {}",
                    data.display()
                ));
                Ok(())
            }
            Err(error) => {
                self.supervisor.go_on()?;
                say(&format!("the mover was not profiled: {error}"));
                Ok(())
            }
        }
    }

    pub(super) fn ask(&self, command: &mut Command) -> Outcome<Took> {
        Ok(serde_json::from_str(&self.supervisor.run(command)?)?)
    }

    fn set_latency(&self, wait: u64) -> Outcome<()> {
        let mut source = ask::Connection::to(&self.source.ready.authority)?;
        source.get(&format!("/wait/{wait}"))?;
        Ok(())
    }

    /// Removes every object, and all that s3s-fs wrote beside them.
    pub(super) fn empty(&self) -> Outcome<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(std::fs::create_dir(self.folder.join(BUCKET))?)
    }

    /// The folder behind `STAGING_URL`.
    pub(super) fn staging(&self) -> PathBuf {
        self.folder.join(BUCKET).join("mover")
    }
}

pub(super) fn staging_url() -> String {
    format!("s3://{BUCKET}/mover")
}
