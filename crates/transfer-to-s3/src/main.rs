//! The AWS Lambda function `transfer-to-s3`.

use pathling_import_core::config::Step;
use pathling_import_core::lambda;

fn main() -> Result<(), lambda::RuntimeError> {
    lambda::serve(Step::TransferToS3)
}
