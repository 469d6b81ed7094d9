//! The command line, and the help that comes from the core's tables of settings and errors.
//!
//! What every way to call the program shares is in [`Args`] itself, and what belongs to the synchronisation alone is in
//! [`Sync`], so that a subcommand is one more field: clap prefers a subcommand's name to a file of that name, and
//! `./name` then means the file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use pathling_import_core::config::period;
use pathling_import_core::config::table::{Form, Need, SETTINGS};
use pathling_import_core::error::TABLE;

/// How wide the help's own text is set; every terminal has as much.
const WIDTH: usize = 79;

/// Both ways to call it: clap's own line has the file before the subcommand, where it is refused.
const USAGE: &str = "pathling-import [OPTIONS] [CONFIGURATION FILE]
       pathling-import cancel [OPTIONS] [CONFIGURATION FILE]
       pathling-import status|history|verify|report [OPTIONS] [CONFIGURATION FILE]";

/// Brings the data of a FHIR server to Pathling: exports it in bulk, stages the files, imports them.
///
/// A run that was interrupted, or failed for a passing reason, goes on where it stopped when the same command is
/// started again.
#[derive(Debug, Parser)]
#[command(name = "pathling-import", version, max_term_width = 100, override_usage = USAGE)]
pub(crate) struct Args {
    /// What to do instead of a synchronisation.
    #[command(subcommand)]
    pub(crate) instead: Option<Instead>,

    /// What to synchronise.
    #[command(flatten)]
    pub(crate) sync: Sync,

    /// Say more on stderr; twice for every request.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub(crate) verbose: u8,

    /// How to write: bars and sentences, or JSON lines on stderr and one JSON object on stdout.
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "human",
        global = true
    )]
    pub(crate) log_format: Format,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
pub(crate) enum Instead {
    /// Give the run in progress up: end its export at the source, and do not go on with it.
    Cancel {
        /// The settings that the run was started with.
        #[arg(value_name = "CONFIGURATION FILE")]
        file: Option<PathBuf>,
    },
    /// Tell how far the target is in step with the source, what is at work, and what is due.
    Status {
        /// The settings of the synchronisation.
        #[arg(value_name = "CONFIGURATION FILE")]
        file: Option<PathBuf>,

        /// End with exit code 1 where the target is further behind than this, e.g. 30h.
        #[arg(long, value_name = "PERIOD", value_parser = age)]
        max_age: Option<Duration>,
    },
    /// List the last runs and how they ended.
    History {
        /// The settings of the synchronisation.
        #[arg(value_name = "CONFIGURATION FILE")]
        file: Option<PathBuf>,
    },
    /// Read resources back from the target (Pathling Server 2) and compare them.
    Verify {
        /// The settings of the synchronisation.
        #[arg(value_name = "CONFIGURATION FILE")]
        file: Option<PathBuf>,

        /// Read all of them, which takes a request for each.
        #[arg(long, conflicts_with = "sample")]
        all: bool,

        /// How many of each type are read, as chance picks them.
        #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = at_least_one)]
        sample: usize,

        /// Those of this run, which later runs may have changed since.
        #[arg(long, value_name = "RUN")]
        run: Option<String>,
    },
    /// Tell what a run brought and when, and how it ended; with --html as a page.
    Report {
        /// The settings of the synchronisation.
        #[arg(value_name = "CONFIGURATION FILE")]
        file: Option<PathBuf>,

        /// Write a page about it to this file, with drawings of its steps and files.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,

        /// The run's name, as history lists it.
        #[arg(long, value_name = "NAME")]
        run: Option<String>,
    },
}

impl Instead {
    /// The file of settings that was named.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::Cancel { file }
            | Self::Status { file, .. }
            | Self::History { file }
            | Self::Verify { file, .. }
            | Self::Report { file, .. } => file.as_deref(),
        }
    }

    /// Whether nothing is changed by it.
    pub(crate) fn looks_only(&self) -> bool {
        !matches!(self, Self::Cancel { .. })
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "a number from 1 on is expected".to_owned())
}

fn age(text: &str) -> Result<Duration, String> {
    period(text).ok_or_else(|| "a period such as 30h or 2d is expected".to_owned())
}

/// What the synchronisation is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Sync {
    /// A JSON file of settings. What it lacks is read from the environment.
    #[arg(value_name = "CONFIGURATION FILE")]
    pub(crate) file: Option<PathBuf>,

    /// Start a new run, even where an unfinished one could go on, or where a manifest was imported before.
    #[arg(long)]
    pub(crate) fresh: bool,

    /// Add an audit log of the export and its files to this file, as Bulk Data clients write it (docs/audit.md).
    #[arg(long, value_name = "FILE")]
    pub(crate) audit: Option<PathBuf>,
}

/// How the program writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For a person.
    Human,
    /// For a program.
    Json,
}

impl Args {
    /// Reads the command line; prints help, version or what is wrong with it, and ends the process, where that is asked.
    pub(crate) fn read() -> Self {
        Self::of(&command().get_matches()).unwrap_or_else(|error| error.exit())
    }

    fn of(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let args = Self::from_arg_matches(matches)?;
        let of_sync = args.sync.fresh || args.sync.file.is_some() || args.sync.audit.is_some();
        if args.instead.is_some() && of_sync {
            if args.sync.file.is_some() {
                return Err(command().error(
                    ErrorKind::ArgumentConflict,
                    "cancel, status, history, verify or report comes first, and the configuration file behind it",
                ));
            }
            return Err(command().error(
                ErrorKind::ArgumentConflict,
                "what stands before the subcommand is for a synchronisation alone; put the configuration file behind it",
            ));
        }
        Ok(args)
    }
}

fn command() -> clap::Command {
    Args::command()
        .after_help("--help lists all settings and exit codes.")
        .after_long_help(format!("{}\n{}", settings(), exit_codes()))
}

/// Every setting by both its names.
fn settings() -> String {
    let mut out =
        String::from("Settings, by their names in the environment (in the configuration file):\n");
    for setting in SETTINGS {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "\n  {} ({})", setting.name, setting.camel());
        let mut text = setting.plain_help();
        if !matches!(setting.form, Form::Text | Form::Secret) {
            // Some are written to stand within a sentence.
            let expected = setting.expects();
            let _ = write!(text, " Expects {}.", expected.trim_end_matches(','));
        }
        let _ = match setting.need {
            Need::Default(default) => write!(text, " Default: {default}."),
            Need::Absent(words) => write!(text, " Without it: {words}."),
            Need::Required | Need::RequiredUnlessOff(_) => {
                write!(text, " Is {}.", setting.without())
            }
        };
        wrap(&mut out, &text.replace('`', ""));
    }
    out
}

/// Every exit code with what leads to it.
fn exit_codes() -> String {
    let mut out = String::from("Exit codes:\n");
    let mut codes: Vec<u8> = TABLE.iter().map(|row| row.exit_code).collect();
    codes.sort_unstable();
    codes.dedup();
    let _ = writeln!(out, "\n  0\n      done, or nothing to import");
    for code in codes {
        let _ = writeln!(out, "  {code}");
        for row in TABLE.iter().filter(|row| row.exit_code == code) {
            let when = if row.name == "JobInProgressError" {
                " (when the waits ran out)"
            } else {
                ""
            };
            wrap(
                &mut out,
                &format!("{}: {}{when}", row.name, row.cause).replace('`', ""),
            );
        }
        if code == 2 {
            wrap(&mut out, "a command line that is wrong");
        }
    }
    let _ = writeln!(out, "  130, 143\n      stopped by Ctrl-C, by SIGTERM");
    out
}

/// Adds `text` in lines that fit, indented below their heading.
fn wrap(out: &mut String, text: &str) {
    const INDENT: &str = "      ";
    let mut length = 0;
    for word in text.split_whitespace() {
        let needed = word.chars().count() + 1;
        if length == 0 || length + needed > WIDTH {
            if length > 0 {
                out.push('\n');
            }
            out.push_str(INDENT);
            length = INDENT.len() + needed - 1;
        } else {
            out.push(' ');
            length += needed;
        }
        out.push_str(word);
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, clap::Error> {
        Args::of(&command().try_get_matches_from([&["pathling-import"], args].concat())?)
    }

    fn help() -> String {
        command().render_long_help().to_string()
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn the_help_lists_every_setting_by_both_names_with_its_default_and_meaning() {
        let help = help();
        let flat = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for setting in SETTINGS {
            assert!(
                help.contains(&format!("\n  {} ({})\n", setting.name, setting.camel())),
                "{}",
                setting.name
            );
            let meaning = setting.plain_help();
            assert!(flat.contains(&meaning), "{meaning}");
            assert!(
                flat.contains(&setting.without().replace('`', "")),
                "{}",
                setting.name
            );
        }
    }

    #[test]
    fn the_help_lists_every_error_below_its_exit_code() {
        let help = help();
        for row in TABLE {
            let (_, from_code) = help
                .split_once(&format!("\n  {}\n", row.exit_code))
                .unwrap();
            assert!(
                from_code.contains(&format!("      {}: ", row.name)),
                "{}",
                row.name
            );
        }
    }

    #[test]
    fn the_help_is_plain_text_without_leftovers() {
        let help = help();
        for leftover in ["](", ",.", "`"] {
            assert!(!help.contains(leftover), "{leftover}: {help}");
        }
        assert!(help.contains("docs/exports.md"), "{help}");
    }

    #[test]
    fn the_usage_has_both_ways_and_a_file_before_cancel_is_told_to_come_behind_it() {
        for form in [
            "pathling-import [OPTIONS] [CONFIGURATION FILE]\n",
            "pathling-import cancel [OPTIONS] [CONFIGURATION FILE]\n",
        ] {
            assert!(help().contains(form), "{form}");
        }
        assert!(!help().contains("[COMMAND]"));
        let wrong = parse(&["settings.json", "cancel"]).unwrap_err().to_string();
        assert!(wrong.contains("report comes first"), "{wrong}");
    }

    #[test]
    fn the_help_fits_every_terminal() {
        let tables = settings() + &exit_codes();
        assert!(
            tables.lines().all(|line| line.chars().count() <= WIDTH),
            "{tables}"
        );
    }

    #[test]
    fn a_file_and_the_options_are_read() {
        let args = parse(&["-vv", "--log-format", "json", "--fresh", "./settings.json"]).unwrap();
        assert_eq!(args.sync.file, Some(PathBuf::from("./settings.json")));
        assert_eq!(
            (args.verbose, args.log_format, args.sync.fresh),
            (2, Format::Json, true)
        );
        let args = parse(&[]).unwrap();
        assert_eq!(args.sync.file, None);
        assert_eq!(
            (args.verbose, args.log_format, args.sync.fresh),
            (0, Format::Human, false)
        );
    }

    #[test]
    fn a_subcommand_comes_before_a_file_of_its_name() {
        let args = parse(&["cancel", "settings.json", "-v"]).unwrap();
        let Some(Instead::Cancel { file }) = args.instead else {
            panic!("no subcommand: {args:?}");
        };
        assert_eq!(
            (file, args.verbose),
            (Some(PathBuf::from("settings.json")), 1)
        );
        let args = parse(&["-v", "cancel"]).unwrap();
        assert!(args.instead.is_some() && args.verbose == 1);
        let args = parse(&["./cancel"]).unwrap();
        assert!(args.instead.is_none());
        assert_eq!(args.sync.file, Some(PathBuf::from("./cancel")));
        for wrong in [
            &["--fresh", "cancel"][..],
            &["cancel", "--fresh"],
            &["settings.json", "cancel"],
            &["cancel", "a", "b"],
        ] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn what_is_no_option_is_refused_with_exit_code_2() {
        for wrong in [
            &["--fesh"][..],
            &["a.json", "b.json"],
            &["--log-format", "xml"],
            &[""],
        ] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }
}
