//! The AWS Lambda function `fhir-export`.

use pathling_import_core::config::Step;
use pathling_import_core::lambda;

fn main() -> Result<(), lambda::RuntimeError> {
    lambda::serve(Step::FhirExport)
}
