//! The AWS Lambda function `check-export-status`.

use pathling_import_core::config::Step;
use pathling_import_core::lambda;

fn main() -> Result<(), lambda::RuntimeError> {
    lambda::serve(Step::CheckExportStatus)
}
