//! Files of several types, as an export that is organised by patient has them: refused, or sorted by type.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pathling_import_tests::check::{
    assert_arrived, assert_import_never_asked, assert_no_token_leaks,
};
use pathling_import_tests::moment::until;
use pathling_import_tests::staged::staging_folder;
use pathling_import_tests::{Function, Transferring, pathling_import};
use sandbox::{Builder, Dataset, Fault, Sandbox, Switch};

const SPLIT: (&str, &str) = ("MIXED_FILES", "split");

/// Two files with blocks of three types.
fn mixed() -> Builder {
    Sandbox::builder()
        .data(Dataset::of(&[
            ("Condition", 14),
            ("Observation", 20),
            ("Patient", 20),
        ]))
        .resources_per_file(12)
        .mixed_files(true)
}

/// Large files, so that there are several objects of a type: some 24 MiB of each of two.
fn large() -> Builder {
    let data =
        Dataset::padded("Observation", 24, 1 << 20).and(Dataset::padded("Patient", 24, 1 << 20));
    Sandbox::builder().data(data).mixed_files(true)
}

/// The objects of resources below a folder and their bytes.
fn objects(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            if path.is_dir() {
                folders.push(path);
            } else if name.starts_with('_') {
                // Ours, and no resources.
            } else if path
                .extension()
                .is_some_and(|extension| extension == "ndjson")
            {
                // One that is no longer wanted may go between the two.
                if let Ok(bytes) = std::fs::read(&path) {
                    found.insert(path, bytes);
                }
            }
        }
    }
    found
}

/// Every resource of the source is in an object of its own type, once.
fn assert_sorted(sandbox: &Sandbox, folder: &Path) {
    let mut lines: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for (path, bytes) in objects(folder) {
        let kind = path
            .parent()
            .unwrap()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap();
        let of_kind = lines.entry(kind.to_owned()).or_default();
        of_kind.extend(
            bytes
                .split_inclusive(|byte| *byte == b'\n')
                .map(<[u8]>::to_vec),
        );
    }
    for kind in sandbox.source_types() {
        let mut there = lines.remove(&kind).unwrap_or_default();
        let source = sandbox.resources(&kind);
        let mut source: Vec<Vec<u8>> = source
            .iter()
            .map(|line| [line.as_ref(), b"\n"].concat())
            .collect();
        there.sort();
        source.sort();
        assert_eq!(there, source, "{kind}");
    }
    assert!(lines.is_empty(), "{:?}", lines.keys());
}

#[tokio::test]
async fn a_file_of_several_types_is_refused_with_what_to_set() {
    let sandbox = mixed().start().await.unwrap();
    let finished = pathling_import(&sandbox).run().await.expect_code(1);
    for says in [
        "ManifestError",
        "output 1 of the manifest has no type",
        "MIXED_FILES=split",
    ] {
        assert!(finished.stderr.contains(says), "{}", finished.stderr);
    }
    assert_import_never_asked(&sandbox);
}

#[tokio::test]
async fn a_file_of_several_types_is_split_and_imported() {
    let sandbox = mixed().start().await.unwrap();
    let run = pathling_import(&sandbox).env(SPLIT.0, SPLIT.1);
    let finished = run.run().await.expect_code(0);
    assert!(
        finished.stdout.contains("Observation"),
        "{}",
        finished.stdout
    );
    assert_sorted(&sandbox, &staging_folder(&sandbox));
    assert_arrived(&sandbox);
    assert_no_token_leaks(&sandbox);
}

#[tokio::test]
async fn an_export_that_is_asked_to_be_organised_by_patient_is_split_too() {
    let data = Dataset::of(&[("Observation", 20), ("Patient", 20)]);
    let sandbox = Sandbox::builder().data(data).start().await.unwrap();
    let organised = || pathling_import(&sandbox).env("ORGANIZE_OUTPUT_BY", "Patient");
    let finished = organised().run().await.expect_code(2);
    assert!(
        finished.stderr.contains("MIXED_FILES=split"),
        "{}",
        finished.stderr
    );
    let _ = organised().env(SPLIT.0, SPLIT.1).run().await.expect_code(0);
    assert_sorted(&sandbox, &staging_folder(&sandbox));
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn a_folder_gets_the_same_objects_as_s3() {
    let folder = tempfile::tempdir().unwrap();
    let staging = ("STAGING_URL", folder.path().to_str().unwrap());
    let mut transfer = Transferring::of(mixed(), &[SPLIT, staging]).await;
    transfer.succeed().await;
    assert_sorted(&transfer.sandbox, folder.path());
}

#[tokio::test]
async fn a_large_file_of_several_types_becomes_several_objects_of_each() {
    let mut transfer = Transferring::of(large(), &[SPLIT, ("TRANSFER_MEMORY", "20MiB")]).await;
    transfer.succeed().await;
    let folder = staging_folder(&transfer.sandbox);
    assert_sorted(&transfer.sandbox, &folder);
    assert!(objects(&folder).len() > 8, "{:?}", objects(&folder).keys());
}

#[tokio::test]
async fn a_download_that_breaks_begins_again_and_leaves_nothing_twice() {
    let cuts = Switch {
        fault: Fault::FileCutAt(30 << 20),
        times: Some(2),
    };
    let memory = ("TRANSFER_MEMORY", "20MiB");
    let mut transfer = Transferring::of(large().fault(cuts), &[SPLIT, memory]).await;
    transfer.succeed().await;
    assert_sorted(&transfer.sandbox, &staging_folder(&transfer.sandbox));
}

#[tokio::test]
async fn a_file_that_is_done_is_not_fetched_again_and_what_another_memory_left_is_removed() {
    let mut transfer = Transferring::of(mixed(), &[SPLIT]).await;
    let first = transfer.succeed().await;
    let folder = staging_folder(&transfer.sandbox);
    let there = objects(&folder);
    let left = there.keys().next().unwrap();
    let name = left.file_name().unwrap().to_str().unwrap();
    let other = left.with_file_name(name.replace("-0000.ndjson", "-0007.ndjson"));
    std::fs::copy(left, &other).unwrap();
    let asked = transfer.sandbox.downloads().len();
    assert_eq!(transfer.succeed().await, first);
    assert_eq!(transfer.sandbox.downloads().len(), asked);
    assert_eq!(objects(&folder), there);
    assert_sorted(&transfer.sandbox, &folder);
}

#[tokio::test]
async fn what_is_left_over_is_removed_too_where_the_store_may_not_be_listed() {
    let builder = mixed().fault(Fault::S3RefusesList);
    let mut transfer = Transferring::of(builder, &[SPLIT]).await;
    transfer.succeed().await;
    let folder = staging_folder(&transfer.sandbox);
    let there = objects(&folder);
    let left = there.keys().next().unwrap();
    let name = left.file_name().unwrap().to_str().unwrap();
    for number in ["0001", "0002"] {
        let other = name.replace("-0000.ndjson", &format!("-{number}.ndjson"));
        std::fs::copy(left, left.with_file_name(other)).unwrap();
    }
    transfer.succeed().await;
    assert_eq!(objects(&folder), there);
}

/// A transfer of large mixed files with little memory, and how to begin another with more.
async fn little_memory(builder: Builder) -> Transferring {
    Transferring::of(builder, &[SPLIT, ("TRANSFER_MEMORY", "20MiB")]).await
}

async fn with_more_memory(transfer: &Transferring) -> Function {
    let env = transfer.env().with("TRANSFER_MEMORY", "36MiB");
    Function::start("transfer-to-s3", &env).await
}

/// Looks again and again until the work is done: an object may go, and none is written over.
async fn never_written_twice<T>(folder: &Path, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let mut seen: BTreeMap<PathBuf, u64> = BTreeMap::new();
    loop {
        let done = tokio::select! {
            biased;
            done = &mut work => Some(done),
            () = tokio::time::sleep(Duration::from_millis(10)) => None,
        };
        for path in objects(folder).into_keys() {
            // It may go while it is looked at.
            let Ok(there) = std::fs::metadata(&path) else {
                continue;
            };
            let first = seen.entry(path.clone()).or_insert(there.ino());
            assert_eq!(*first, there.ino(), "{} was written over", path.display());
        }
        if let Some(done) = done {
            return done;
        }
    }
}

#[tokio::test]
async fn two_processes_with_different_memory_at_one_file_leave_the_objects_of_one_of_them() {
    for listed in [true, false] {
        let mut builder = large().source_rate(16 << 20);
        if !listed {
            builder = builder.fault(Fault::S3RefusesList);
        }
        let mut transfer = little_memory(builder).await;
        let folder = staging_folder(&transfer.sandbox);
        let mut second = with_more_memory(&transfer).await;
        let event = transfer.event().clone();
        let there = folder.clone();
        let then = async {
            until("the first has stored something", || {
                objects(&there).len() > 1
            })
            .await;
            second.invoke(event).await.unwrap()
        };
        let both = async { tokio::join!(transfer.succeed(), then) };
        let (first, second) = never_written_twice(&folder, both).await;
        assert_eq!(first["parameters"], second["parameters"]);
        assert_sorted(&transfer.sandbox, &folder);
    }
}

#[tokio::test]
async fn what_a_process_with_another_memory_left_when_it_died_is_removed_listed_or_not() {
    for listed in [true, false] {
        let mut builder = large().fault(Switch {
            fault: Fault::FileHangsMidway,
            times: Some(1),
        });
        if !listed {
            builder = builder.fault(Fault::S3RefusesList);
        }
        let transfer = little_memory(builder).await;
        let folder = staging_folder(&transfer.sandbox);
        let mut first = Function::start("transfer-to-s3", &transfer.env()).await;
        let there = folder.clone();
        let event = transfer.event().clone();
        tokio::select! {
            _ = first.invoke(event.clone()) => panic!("it hangs"),
            () = until("it has stored something", || objects(&there).len() > 3) => {}
        }
        first.kill().await;
        let left = objects(&folder);
        let mut second = with_more_memory(&transfer).await;
        second.invoke(event).await.unwrap();
        assert_sorted(&transfer.sandbox, &folder);
        let now = objects(&folder);
        assert!(left.keys().all(|path| !now.contains_key(path)));
    }
}

#[tokio::test]
async fn a_line_that_is_no_resource_ends_the_run() {
    for (fault, says) in [
        (Fault::FileBadJson, "is not one JSON object"),
        (Fault::FileLineWithoutId, "has no id"),
        (Fault::CountWrong, "the manifest promises"),
    ] {
        let mut transfer = Transferring::of(mixed().fault(fault), &[SPLIT]).await;
        transfer.fail("IntegrityError", &[says]).await;
    }
}

#[tokio::test]
async fn a_line_too_long_for_the_memory_is_told_with_what_to_set() {
    let data = Dataset::padded("Patient", 1, 12 << 20);
    let builder = Sandbox::builder().data(data).mixed_files(true);
    let mut transfer = Transferring::of(builder, &[SPLIT, ("TRANSFER_MEMORY", "20MiB")]).await;
    let words = ["TRANSFER_MEMORY", "line 2"];
    transfer.fail("ConfigurationError", &words).await;
}

#[tokio::test]
async fn a_file_of_more_types_than_fhir_could_have_is_told() {
    let letter = |number: u32| char::from_digit(10 + number % 26, 36).unwrap();
    let name = |number| {
        let letters = [number, number / 26, number / 676].map(letter);
        format!("T{}", String::from_iter(letters))
    };
    let names: Vec<String> = (0..1001).map(name).collect();
    let sizes: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let builder = Sandbox::builder().data(Dataset::of(&sizes));
    let mut transfer = Transferring::of(builder.mixed_files(true), &[SPLIT]).await;
    let words = ["line ", "than the 1000 that a file may hold"];
    transfer.fail("IntegrityError", &words).await;
}
