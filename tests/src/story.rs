//! The five functions in the workflow's order.

use std::time::Duration;

use pathling_import_core::config::Step;
use sandbox::Sandbox;
use serde_json::{Value, json};

use crate::{Env, Function, LambdaError};

/// How often a step is called again that answers `JobInProgressError`.
const RETRIES: usize = 40;

/// The five functions over one sandbox. Each is started when it is first called, with the settings that its step reads and
/// no others, and stays warm.
pub struct Story {
    env: Env,
    own: Vec<(Step, String, Option<String>)>,
    wrapper: Option<(Step, Vec<String>)>,
    functions: [Option<Function>; 5],
    past_logs: String,
    in_progress: Vec<(Step, LambdaError)>,
}

/// What a story led to.
#[derive(Clone, Debug)]
pub struct Told {
    /// What `fhir-export` gave.
    pub export: Value,
    /// What `check-export-status` gave.
    pub complete: Value,
    /// What `transfer-to-s3` gave.
    pub staged: Value,
    /// What `pathling-import` gave.
    pub import: Value,
    /// What `check-import-status` gave; absent where nothing needed importing.
    pub imported: Option<Value>,
}

/// The step that ended a story, and its error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The step.
    pub step: Step,
    /// `errorType`.
    pub error_type: String,
    /// `errorMessage`.
    pub error_message: String,
}

impl Story {
    /// The story of this sandbox, with its settings.
    #[must_use]
    pub fn of(sandbox: &Sandbox) -> Self {
        Self::with_env(Env::of(sandbox))
    }

    /// A story with these settings.
    #[must_use]
    pub fn with_env(env: Env) -> Self {
        Self {
            env,
            own: Vec::new(),
            wrapper: None,
            functions: [const { None }; 5],
            past_logs: String::new(),
            in_progress: Vec::new(),
        }
    }

    /// A setting of every function that reads it.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.set(name, value);
        self
    }

    /// No function has this setting.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.env.unset(name);
        self
    }

    /// A setting of this function alone.
    #[must_use]
    pub fn only(mut self, step: Step, name: &str, value: impl Into<String>) -> Self {
        self.own.push((step, name.to_owned(), Some(value.into())));
        self
    }

    /// This function alone lacks the setting.
    #[must_use]
    pub fn lacking(mut self, step: Step, name: &str) -> Self {
        self.own.push((step, name.to_owned(), None));
        self
    }

    /// This function is started through another program: see [`Function::start_through`].
    #[must_use]
    pub fn through(mut self, step: Step, wrapper: &[&str]) -> Self {
        let wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self.wrapper = Some((step, wrapper));
        self
    }

    /// Calls a step once.
    pub async fn call(&mut self, step: Step, event: &Value) -> Result<Value, Failed> {
        let answer = self.function(step).await.invoke(event.clone()).await;
        answer.map_err(|error| Failed {
            step,
            error_type: error.error_type,
            error_message: error.error_message,
        })
    }

    /// Calls a step until it answers anything else than `JobInProgressError`.
    pub async fn finish(&mut self, step: Step, event: &Value) -> Result<Value, Failed> {
        for _ in 0..RETRIES {
            match self.call(step, event).await {
                Err(failed) if failed.error_type == "JobInProgressError" => {
                    let error = LambdaError {
                        error_type: failed.error_type,
                        error_message: failed.error_message,
                    };
                    self.in_progress.push((step, error));
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                other => return other,
            }
        }
        panic!(
            "{} is still in progress after {RETRIES} calls: {:?}",
            step.name(),
            self.in_progress.last()
        );
    }

    /// The event for `step`: the output of the step before it.
    pub async fn until(&mut self, step: Step) -> Result<Value, Failed> {
        let mut event = json!({});
        for earlier in Step::FIVE {
            if earlier == step {
                break;
            }
            event = self.finish(earlier, &event).await?;
        }
        Ok(event)
    }

    /// Tells the whole story.
    pub async fn tell(&mut self) -> Result<Told, Failed> {
        let export = self.finish(Step::FhirExport, &json!({})).await?;
        self.tell_from(export).await
    }

    /// Tells the story of an export that was kicked off.
    pub async fn tell_from(&mut self, export: Value) -> Result<Told, Failed> {
        let complete = self.finish(Step::CheckExportStatus, &export).await?;
        let staged = self.finish(Step::TransferToS3, &complete).await?;
        let import = self.finish(Step::PathlingImport, &staged).await?;
        // As the workflow's Choice has it: an explicit null, not an absent field.
        let imported = match &import["statusUrl"] {
            Value::Null => None,
            _ => Some(self.finish(Step::CheckImportStatus, &import).await?),
        };
        Ok(Told {
            export,
            complete,
            staged,
            import,
            imported,
        })
    }

    /// The answers so far that said that a job goes on.
    #[must_use]
    pub fn in_progress(&self) -> &[(Step, LambdaError)] {
        &self.in_progress
    }

    /// Everything that the functions have written so far.
    #[must_use]
    pub fn logs(&self) -> String {
        let running: String = self
            .functions
            .iter()
            .flatten()
            .map(Function::logs)
            .collect();
        format!("{}{running}", self.past_logs)
    }

    /// Ends all processes; the next calls start new ones, as after a deployment.
    pub async fn restart(&mut self) {
        for function in &mut self.functions {
            if let Some(function) = function.take() {
                self.past_logs.push_str(&function.logs());
                function.kill().await;
            }
        }
    }

    /// The environment of a step's function.
    #[must_use]
    pub fn environment(&self, step: Step) -> Env {
        let mut env = self.env.of_step(step);
        for (_, name, value) in self.own.iter().filter(|(of, ..)| *of == step) {
            match value {
                Some(value) => env.set(name, value),
                None => env.unset(name),
            }
        }
        env
    }

    /// The function of a step, started where it does not run.
    pub async fn function(&mut self, step: Step) -> &mut Function {
        let at = Step::FIVE.iter().position(|known| *known == step);
        let at = at.expect("only the five steps are functions");
        if self.functions[at].is_none() {
            let env = self.environment(step);
            let wrapper = self.wrapper.as_ref().filter(|(of, _)| *of == step);
            let wrapper = wrapper.map_or(&[][..], |(_, wrapper)| wrapper);
            let function = Function::start_through(wrapper, step.name(), &env).await;
            self.functions[at] = Some(function);
        }
        self.functions[at].as_mut().expect("it was started")
    }
}
