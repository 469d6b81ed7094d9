//! A manifest in the place of an export: published by the source, or of an export that somebody else had made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use pathling_import_tests::check::{
    assert_arrived, assert_arrived_of, assert_import_never_asked, assert_no_secrets,
    assert_no_token_leaks, assert_nothing_half_staged,
};
use pathling_import_tests::moment::{until, until_asked};
use pathling_import_tests::{
    AuditLog, CommandRun, Env, Function, Records as _, Story, ToldSource, pathling_import,
};
use sandbox::{Answer, Builder, Dataset, Fault, Place, Recorded, Sandbox, Service};
use serde_json::{Value, json};

/// The settings that tell of the source, none of which a manifest that anyone may read needs.
const SOURCE: [&str; 4] = [
    "SOURCE_ENDPOINT",
    "SOURCE_CLIENT_ID",
    "SOURCE_CLIENT_SECRET",
    "SOURCE_SCOPES",
];

fn hospital() -> Builder {
    Sandbox::builder()
        .data(Dataset::of(&[("Condition", 12), ("Patient", 12)]))
        .resources_per_file(4)
}

fn published(sandbox: &Sandbox) -> String {
    format!("{}/$bulk-publish", sandbox.source_endpoint())
}

/// With the manifest alone.
fn manifest_alone(sandbox: &Sandbox, manifest: impl Into<String>) -> CommandRun {
    let run = pathling_import(sandbox).env("SOURCE_MANIFEST", manifest);
    SOURCE.into_iter().fold(run, CommandRun::without)
}

fn of_source(sandbox: &Sandbox) -> Vec<Recorded> {
    let mut requests = sandbox.requests();
    requests.retain(|it| it.service == Service::Source);
    requests
}

/// Nothing was asked of the source but what is published and its files.
fn assert_only_read(sandbox: &Sandbox) {
    for request in of_source(sandbox) {
        if request.path.ends_with("/.well-known/smart-configuration") {
            // Where there are credentials, it says where tokens come from.
            continue;
        }
        let is_file = request.path.contains("/files/");
        let is_manifest = request.path.ends_with("/$bulk-publish");
        assert!(
            request.method == "GET" && (is_file || is_manifest),
            "{} {}",
            request.method,
            request.path
        );
    }
}

fn runs(sandbox: &Sandbox) -> BTreeSet<String> {
    let keys = sandbox.s3_objects().into_iter().map(|(key, _)| key);
    keys.filter(|key| key.ends_with("/_manifest.json"))
        .filter_map(|key| key.split('/').nth(2).map(str::to_owned))
        .collect()
}

fn record(sandbox: &Sandbox, run: &str) -> Value {
    let key = format!("pathling/runs/{run}/_run.json");
    serde_json::from_slice(&sandbox.s3_object(&key).unwrap()).unwrap()
}

#[tokio::test]
async fn a_published_manifest_is_imported_with_nothing_but_its_url() {
    let sandbox = hospital().source_auth(false).start().await.unwrap();
    let run = manifest_alone(&sandbox, published(&sandbox));
    let finished = run.run().await.expect_code(0);
    assert_arrived(&sandbox);
    assert_nothing_half_staged(&sandbox);
    assert_only_read(&sandbox);
    assert_eq!(sandbox.file_requests().len(), 6);
    assert!(
        finished.stdout.contains(", by the manifest"),
        "{}",
        finished.stdout
    );
    let record = record(&sandbox, &finished.run());
    assert_eq!(record["outcome"]["name"], "imported");
    assert_eq!(record.get("jobDeleted"), None);
}

#[tokio::test]
async fn a_manifest_that_did_not_change_is_not_imported_again_and_a_new_publication_is() {
    let sandbox = hospital().source_auth(false).start().await.unwrap();
    let night = || manifest_alone(&sandbox, published(&sandbox)).arg("--log-format=json");
    let first = night().run().await.summary();
    assert_eq!(first["outcome"], "imported");
    // Two nights without anything new.
    for _ in 0..2 {
        sandbox.clear_requests();
        let idle = night().run().await.summary();
        assert_eq!(idle["outcome"], "nothing to import");
        assert_eq!(idle["run"], first["run"]);
        assert_eq!(idle["skipped"]["unsupported"], json!({}));
        assert!(idle["importedBefore"].is_string(), "{idle}");
        assert_eq!(sandbox.file_requests().len(), 0);
        assert_eq!(sandbox.import_kick_offs().len(), 0);
    }
    let said = manifest_alone(&sandbox, published(&sandbox)).run().await;
    let words = "Nothing to import: the manifest has the transactionTime and as many files as when it was imported at 20";
    assert!(said.stdout.contains(words), "{}", said.stdout);
    let known = record(&sandbox, first["run"].as_str().unwrap());
    assert_eq!(
        known["kickOffs"].as_array().unwrap().len(),
        2,
        "the first and the newest"
    );
    // Who wants it all the same says so.
    sandbox.clear_requests();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.ndjson");
    let anew = night().arg("--fresh").arg("--audit").arg(&log);
    let anew = anew.run().await.summary();
    let log = AuditLog::read(&std::fs::read_to_string(log).unwrap());
    assert_eq!(
        log.events().last(),
        Some(&"export_complete"),
        "all was there"
    );
    assert_eq!(
        (&anew["outcome"], &anew["run"]),
        (&json!("imported"), &first["run"])
    );
    assert_eq!(sandbox.import_kick_offs().len(), 1);
    // Another publication is another run, beside the first.
    assert!(sandbox.source_put(&json!({"resourceType": "Patient", "id": "new"})));
    let second = night().run().await.summary();
    assert_eq!(second["outcome"], "imported");
    assert_ne!(second["run"], first["run"]);
    assert_arrived(&sandbox);
    assert_eq!(runs(&sandbox).len(), 2);
    let idle = night().run().await.summary();
    assert_eq!(
        (&idle["outcome"], &idle["run"]),
        (&json!("nothing to import"), &second["run"])
    );
    assert_only_read(&sandbox);
}

#[tokio::test]
async fn what_another_mode_or_other_types_would_make_of_it_is_no_repetition() {
    let sandbox = hospital().source_auth(false).start().await.unwrap();
    let night = || manifest_alone(&sandbox, published(&sandbox)).arg("--log-format=json");
    let patients = night().env("TYPES", "Patient,Encounter").run().await;
    assert!(
        patients.stderr.contains("no files of these types"),
        "{}",
        patients.stderr
    );
    assert_eq!(patients.summary()["types"], json!({"Patient": 12}));
    assert_eq!(sandbox.file_requests().len(), 3, "no other file is fetched");
    assert_eq!(night().run().await.summary()["outcome"], "imported");
    assert_arrived(&sandbox);
    assert_eq!(
        night().env("TYPES", "Condition").run().await.summary()["types"],
        json!({"Condition": 12})
    );
    let mode = night()
        .env("IMPORT_MODE", "overwrite")
        .run()
        .await
        .summary();
    assert_eq!(
        (&mode["outcome"], &mode["mode"]),
        (&json!("imported"), &json!("overwrite"))
    );
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn types_cannot_choose_from_files_of_several() {
    let builder = hospital().source_auth(false).mixed_files(true);
    let sandbox = builder.start().await.unwrap();
    let run = manifest_alone(&sandbox, published(&sandbox)).env("MIXED_FILES", "split");
    let run = run.env("TYPES", "Patient");
    run.run()
        .await
        .expect_error("ConfigurationError", &["TYPES cannot choose"]);
    let run = manifest_alone(&sandbox, published(&sandbox)).env("MIXED_FILES", "split");
    let _ = run.run().await.expect_code(0);
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn two_manifests_or_two_targets_are_two_synchronisations() {
    let sandbox = hospital().source_auth(false).start().await.unwrap();
    let one = manifest_alone(&sandbox, published(&sandbox))
        .run()
        .await
        .expect_code(0);
    let other = format!("{}?of=all", published(&sandbox));
    let other = manifest_alone(&sandbox, other).run().await.expect_code(0);
    assert_ne!(one.run(), other.run());
    let states = sandbox.s3_objects().into_iter();
    let states = states.filter(|(key, _)| key.contains("/sync/"));
    assert_eq!(states.count(), 2);
    // The same Pathling by another name.
    let target = sandbox.target_endpoint().replace("127.0.0.1", "localhost");
    let target = manifest_alone(&sandbox, published(&sandbox)).env("TARGET_ENDPOINT", target);
    let target = target.arg("--log-format=json").run().await.summary();
    assert_eq!(target["outcome"], "imported");
    assert_ne!(target["run"], one.run());
    // A signature is no part of the name.
    let signed = format!("{}?X-Amz-Signature=abc", published(&sandbox));
    let signed = manifest_alone(&sandbox, signed).arg("--log-format=json");
    assert_eq!(signed.run().await.summary()["run"], one.run());
    let record = record(&sandbox, &one.run());
    assert!(
        !record.to_string().contains("Signature"),
        "no record has a signature: {record}"
    );
}

#[tokio::test]
async fn credentials_go_to_the_manifest_only_where_its_origin_is_trusted() {
    let sandbox = hospital().start().await.unwrap();
    // The same server by another name is another origin.
    let elsewhere = sandbox.source_endpoint().replace("127.0.0.1", "localhost");
    let run = || {
        let run = pathling_import(&sandbox).env("SOURCE_ENDPOINT", &elsewhere);
        run.env("SOURCE_MANIFEST", published(&sandbox))
    };
    let refused = run().run().await;
    refused.expect_error(
        "AuthenticationError",
        &["$bulk-publish", "SOURCE_TRUSTED_ORIGINS"],
    );
    let with_token = of_source(&sandbox).into_iter().filter(Recorded::has_token);
    assert_eq!(with_token.count(), 0);
    assert_import_never_asked(&sandbox);
    let origin = sandbox.source_endpoint();
    let origin = origin.trim_end_matches("/fhir");
    let trusted = run()
        .env("SOURCE_TRUSTED_ORIGINS", origin)
        .run()
        .await
        .expect_code(0);
    assert_arrived(&sandbox);
    assert_only_read(&sandbox);
    assert_no_token_leaks(&sandbox);
    assert_no_secrets(&sandbox, &trusted.all());
    // Where it is the server's own, nothing has to be said.
    let own = pathling_import(&sandbox).env("SOURCE_MANIFEST", published(&sandbox));
    let _ = own.arg("--fresh").run().await.expect_code(0);
}

/// An export that somebody else has made: its status URL.
async fn made_by_others(sandbox: &Sandbox, settings: &[(&str, &str)]) -> String {
    let env = settings
        .iter()
        .fold(Env::of(sandbox), |env, (name, value)| {
            env.with(name, *value)
        });
    let mut others = Function::start("fhir-export", &env.without("STAGING_URL")).await;
    let output = others.invoke(json!({})).await.unwrap();
    output["statusUrl"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_export_of_others_is_waited_for_imported_and_left_alone() {
    let sandbox = hospital().polls(3).start().await.unwrap();
    let status_url = made_by_others(&sandbox, &[]).await;
    let run = pathling_import(&sandbox).env("SOURCE_MANIFEST", &status_url);
    let finished = run.run().await.expect_code(0);
    assert_arrived(&sandbox);
    let polls = sandbox.polls().len();
    assert_eq!(
        polls, 5,
        "three times it was under way, once it was complete, and once it was still the same"
    );
    assert_eq!(sandbox.deletions().len(), 0);
    assert_eq!(sandbox.export_kick_offs().len(), 1, "that of the others");
    assert!(
        finished.stdout.contains("(full export)"),
        "{}",
        finished.stdout
    );
}

#[tokio::test]
async fn a_delta_of_others_is_merged_and_never_overwrites() {
    let since = ("SINCE", "2020-01-01T00:00:00Z");
    // A POST does not show in the manifest what was asked for.
    for (method, says) in [
        ("get", "nothing but what changed"),
        ("post", "does not tell whether its export was a full one"),
    ] {
        let sandbox = hospital().start().await.unwrap();
        let status_url = made_by_others(&sandbox, &[since, ("KICKOFF_METHOD", method)]).await;
        let run = || pathling_import(&sandbox).env("SOURCE_MANIFEST", &status_url);
        let refused = run().env("IMPORT_MODE", "overwrite").run().await;
        refused.expect_error(
            "ConfigurationError",
            &[says, "ALLOW_PARTIAL_OVERWRITE=true"],
        );
        assert_import_never_asked(&sandbox);
        let summary = run().arg("--log-format=json").run().await.summary();
        assert_eq!(summary["mode"], "merge");
        if method == "get" {
            assert_eq!(summary["since"], since.1);
        }
        assert_arrived(&sandbox);
    }
}

/// A manifest of one patient that is at this source.
async fn patient() -> (ToldSource, Value) {
    let file = json!({"type": "Patient", "url": "{source}/files/1"});
    let manifest = json!({"transactionTime": "2026-01-31T00:00:00Z", "requiresAccessToken": false, "output": [file]});
    let line = "{\"resourceType\":\"Patient\",\"id\":\"1\"}\n";
    let source = ToldSource::start(&manifest, &[("1", line)]).await;
    let text = manifest.to_string().replace("{source}", source.endpoint());
    (source, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn a_manifest_may_be_a_file_whose_urls_are_absolute() {
    let (source, manifest) = patient().await;
    let sandbox = Sandbox::builder().start().await.unwrap();
    let run = || manifest_alone(&sandbox, "here/m.json").env("ALLOW_PRIVATE_HOSTS", "true");
    let with_file = |manifest: &Value| {
        let run = run();
        std::fs::create_dir(run.folder().join("here")).unwrap();
        run.file("here/m.json", manifest.to_string())
    };
    run()
        .run()
        .await
        .expect_error("ConfigurationError", &["here/m.json does not exist"]);
    let packed = with_file(&manifest);
    std::fs::write(packed.folder().join("here/m.json"), [0x1f, 0x8b, 8, 0, 0]).unwrap();
    packed
        .run()
        .await
        .expect_error("ManifestError", &["gzip", "here/m.json", "Unpack it"]);
    let pipe = run().env("SOURCE_MANIFEST", "/dev/null").run().await;
    pipe.expect_error("ConfigurationError", &["/dev/null is no regular file"]);
    with_file(&json!({"a": 1}))
        .run()
        .await
        .expect_error("ManifestError", &["no transactionTime", "here/m.json"]);
    let mut relative = manifest.clone();
    relative["output"][0]["url"] = json!("files/1");
    let words = [
        "relative URLs",
        "here/m.json",
        "Set SOURCE_MANIFEST to the URL",
    ];
    with_file(&relative)
        .run()
        .await
        .expect_error("ManifestError", &words);
    // Nor does it lead to files here.
    let mut local = manifest.clone();
    local["output"][0]["url"] = json!("file:///etc/passwd");
    with_file(&local)
        .run()
        .await
        .expect_error("ManifestError", &["scheme file"]);
    // It leads to this machine only where that is allowed: nothing else says where the source is.
    let public = with_file(&manifest)
        .without("ALLOW_PRIVATE_HOSTS")
        .run()
        .await;
    public.expect_error("ExportFailedError", &["ALLOW_PRIVATE_HOSTS"]);
    assert_import_never_asked(&sandbox);
    let _ = with_file(&manifest)
        .arg("--fresh")
        .run()
        .await
        .expect_code(0);
    assert_eq!(sandbox.rows("Patient").len(), 1);
    drop(source);
}

#[tokio::test]
async fn relative_urls_are_taken_from_where_a_redirect_led() {
    let output = json!([{"type": "Patient", "url": "files/1"}]);
    let manifest = json!({"transactionTime": "2026-01-31T00:00:00Z", "output": output});
    let line = "{\"resourceType\":\"Patient\",\"id\":\"1\"}\n";
    let source = ToldSource::start(&manifest, &[("1", line)]).await;
    let sandbox = Sandbox::builder().start().await.unwrap();
    let moved = format!("{}/moved", source.endpoint());
    let run = manifest_alone(&sandbox, moved).env("ALLOW_PRIVATE_HOSTS", "true");
    let _ = run.run().await.expect_code(0);
    assert_eq!(sandbox.rows("Patient").len(), 1);
    // It was at `elsewhere/` and nowhere else: what is stored tells so.
    let keys = sandbox.s3_objects().into_iter().map(|(key, _)| key);
    let stored = keys.filter(|key| key.ends_with("/_manifest.json"));
    for key in stored {
        let text = String::from_utf8(sandbox.s3_object(&key).unwrap()).unwrap();
        assert!(text.contains("/fhir/elsewhere/files/1"), "{text}");
    }
}

#[tokio::test]
async fn a_publication_that_comes_back_after_another_is_imported_again() {
    let lines = [
        ("1", "{\"resourceType\":\"Patient\",\"id\":\"1\"}\n"),
        (
            "2",
            "{\"resourceType\":\"Patient\",\"id\":\"1\",\"active\":true}\n",
        ),
    ];
    let source = ToldSource::start(&json!({"transactionTime": "x"}), &lines).await;
    let sandbox = Sandbox::builder().start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.json");
    let night = async |time: &str, name: &str| {
        let url = format!("{}/files/{name}", source.endpoint());
        let manifest = json!({"transactionTime": time, "requiresAccessToken": false,
            "output": [{"type": "Patient", "url": url}]});
        std::fs::write(&file, manifest.to_string()).unwrap();
        let run = manifest_alone(&sandbox, file.to_str().unwrap())
            .env("ALLOW_PRIVATE_HOSTS", "true")
            .arg("--log-format=json");
        run.run().await.summary()["outcome"].clone()
    };
    assert_eq!(night("2026-01-31T00:00:00Z", "1").await, "imported");
    assert_eq!(night("2026-02-01T00:00:00Z", "2").await, "imported");
    assert_eq!(night("2026-01-31T00:00:00Z", "1").await, "imported");
    let rows = sandbox.rows("Patient");
    assert_eq!(rows.len(), 1);
    assert!(!format!("{rows:?}").contains("active"), "{rows:?}");
    assert_eq!(
        night("2026-01-31T00:00:00Z", "1").await,
        "nothing to import"
    );
}

/// What is published now, with links that are signed anew.
async fn manifest_now(sandbox: &Sandbox) -> Value {
    let env = Env::of(sandbox).without("STAGING_URL");
    let mut function = Function::start("check-export-status", &env).await;
    let asked = json!({"statusUrl": published(sandbox)});
    let mut output = function.invoke(asked).await.unwrap();
    output["result"].take()
}

#[tokio::test]
async fn a_file_whose_links_have_expired_is_read_anew_and_one_of_another_export_lends_none() {
    let builder = hospital().source_auth(false).signed_links(true);
    let sandbox = builder
        .fault(Fault::Hang(Place::File))
        .start()
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.json");
    let write = |manifest: &Value| std::fs::write(&path, manifest.to_string()).unwrap();
    let run = || {
        let run = manifest_alone(&sandbox, path.to_str().unwrap());
        run.env("ALLOW_PRIVATE_HOSTS", "true")
    };
    write(&manifest_now(&sandbox).await);
    let killed = run().spawn();
    until_asked(&sandbox, 1, |it| it.path.contains("/files/")).await;
    killed.kill().await;
    sandbox.faults().clear();
    sandbox.expire_links(403);
    let fresh = manifest_now(&sandbox).await;
    let mut other = fresh.clone();
    other["transactionTime"] = json!("2001-01-01T00:00:00Z");
    write(&fresh);
    let finished = run().run().await.expect_code(0);
    let said = "going on with the unfinished run ";
    assert!(finished.stderr.starts_with(said), "{}", finished.stderr);
    assert_arrived(&sandbox);
    assert_nothing_half_staged(&sandbox);
    assert_eq!(runs(&sandbox).len(), 1);
    // Another publication in the same file is another run.
    write(&other);
    let finished = run().run().await.expect_code(0);
    assert_eq!(runs(&sandbox).len(), 2, "{}", finished.stdout);
}

#[tokio::test]
async fn where_the_manifest_is_may_be_inside_though_the_server_is_outside() {
    let sandbox = hospital().source_auth(false).start().await.unwrap();
    let run = pathling_import(&sandbox).env("SOURCE_ENDPOINT", "https://192.0.2.1/fhir");
    let run = run.env("SOURCE_AUTHENTICATION_ENABLED", "false");
    let run = run.env("SOURCE_MANIFEST", published(&sandbox));
    let _ = run.run().await.expect_code(0);
    assert_arrived(&sandbox);
    assert_only_read(&sandbox);
}

#[tokio::test]
async fn no_event_has_a_file_read() {
    let sandbox = hospital().start().await.unwrap();
    for manifest in [None, Some(published(&sandbox))] {
        let mut env = Env::of(&sandbox);
        if let Some(manifest) = manifest {
            env.set("SOURCE_MANIFEST", manifest);
        }
        let mut function = Function::start("check-export-status", &env).await;
        for url in ["file:///etc/passwd", "/etc/passwd", "file:/etc/passwd"] {
            let error = function
                .invoke(json!({"statusUrl": url}))
                .await
                .unwrap_err();
            assert_eq!(error.error_type, "InputError", "{error:?}");
        }
    }
    let env = Env::of(&sandbox).with("SOURCE_MANIFEST", "/etc/hostname");
    let mut function = Function::start("check-export-status", &env).await;
    let error = function
        .invoke(json!({"statusUrl": "file:///etc/hostname"}))
        .await
        .unwrap_err();
    assert_eq!(error.error_type, "ConfigurationError", "{error:?}");
    assert!(
        error
            .error_message
            .contains("AWS Lambda has no files of yours"),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_functions_take_it_as_they_take_an_export() {
    let sandbox = hospital().source_auth(false).start().await.unwrap();
    let url = published(&sandbox);
    for night in 0..2 {
        let story = Story::of(&sandbox).with("SOURCE_MANIFEST", &url);
        let story = story
            .with("OUTPUT_FORMAT", "ndjson")
            .with("SOURCE_SCOPES", "system/*.read");
        let mut story = SOURCE[..3]
            .iter()
            .fold(story, |story, name| story.without(name));
        let told = story.tell().await.unwrap();
        assert_eq!(told.export["statusUrl"], url);
        assert_eq!(
            told.complete["result"]["output"].as_array().unwrap().len(),
            6
        );
        assert_eq!(
            told.imported.is_some(),
            night == 0,
            "what came is imported once"
        );
        assert!(
            story.logs().contains("OUTPUT_FORMAT changes nothing"),
            "{}",
            story.logs()
        );
    }
    assert_arrived(&sandbox);
    assert_only_read(&sandbox);
}

#[tokio::test]
async fn a_run_of_a_manifest_goes_on_where_it_was_killed() {
    for place in [Place::Status, Place::File, Place::ImportKickOff] {
        let builder = hospital().source_auth(false).fault(Fault::Hang(place));
        let sandbox = builder.start().await.unwrap();
        let run = manifest_alone(&sandbox, published(&sandbox)).spawn();
        until_asked(&sandbox, 1, |it| match place {
            Place::Status => it.path.ends_with("$bulk-publish"),
            Place::File => it.path.contains("/files/"),
            _ => it.path.ends_with("$import"),
        })
        .await;
        run.kill().await;
        sandbox.faults().clear();
        let finished = manifest_alone(&sandbox, published(&sandbox))
            .run()
            .await
            .expect_code(0);
        assert!(
            finished
                .stderr
                .starts_with("going on with the unfinished run "),
            "{}",
            finished.stderr
        );
        assert_arrived(&sandbox);
        assert_only_read(&sandbox);
    }
}

#[tokio::test]
async fn a_run_that_was_left_half_way_takes_the_publication_that_has_come_meanwhile() {
    let builder = hospital().source_auth(false);
    let builder = builder.fault(Fault::Hang(Place::File));
    let sandbox = builder.start().await.unwrap();
    let run = manifest_alone(&sandbox, published(&sandbox)).spawn();
    until_asked(&sandbox, 1, |it| it.path.contains("/files/")).await;
    run.kill().await;
    sandbox.faults().clear();
    assert!(sandbox.source_put(&json!({"resourceType": "Patient", "id": "new"})));
    let _ = manifest_alone(&sandbox, published(&sandbox))
        .run()
        .await
        .expect_code(0);
    assert_arrived(&sandbox);
    assert_only_read(&sandbox);
}

#[tokio::test]
async fn files_that_keep_their_names_from_one_publication_to_the_next_are_not_imported_mixed() {
    let sandbox = hospital().source_auth(false).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.json");
    for same_names in [false, true] {
        // What is published now was not staged before.
        assert!(
            sandbox.source_put(&json!({"resourceType": "Basic", "id": same_names.to_string()}))
        );
        let mut manifest = manifest_now(&sandbox).await;
        std::fs::write(&file, manifest.to_string()).unwrap();
        sandbox.clear_requests();
        sandbox.faults().on(Fault::Hang(Place::File));
        let run = manifest_alone(&sandbox, file.to_str().unwrap())
            .env("ALLOW_PRIVATE_HOSTS", "true")
            .env("IDLE_TIMEOUT", "1")
            .arg("--fresh")
            .spawn();
        until_asked(&sandbox, 1, |it| it.path.contains("/files/")).await;
        let first = std::mem::replace(
            &mut manifest["transactionTime"],
            json!("2999-01-01T00:00:00Z"),
        );
        if !same_names {
            manifest["output"] = json!([]);
        }
        std::fs::write(&file, manifest.to_string()).unwrap();
        sandbox.faults().clear();
        let finished = run.wait().await;
        if same_names {
            let words = ["another publication took the place", "Start again"];
            finished.expect_error("ExportFailedError", &words);
            // Should it come back, nothing that was staged is believed to be of it.
            manifest["transactionTime"] = json!(first);
            std::fs::write(&file, manifest.to_string()).unwrap();
            sandbox.clear_requests();
            let again = manifest_alone(&sandbox, file.to_str().unwrap());
            let again = again.env("ALLOW_PRIVATE_HOSTS", "true").run().await;
            let _ = again.expect_code(0);
            let files = manifest["output"].as_array().unwrap().len();
            assert_eq!(sandbox.file_requests().len(), files);
        } else {
            let _ = finished.expect_code(0);
        }
    }
}

#[tokio::test]
async fn where_nobody_says_whether_the_manifest_is_still_the_same_nothing_is_imported_yet() {
    let sandbox = hospital().start().await.unwrap();
    let status_url = made_by_others(&sandbox, &[]).await;
    sandbox.faults().on(Fault::Hang(Place::File));
    let run = pathling_import(&sandbox).env("SOURCE_MANIFEST", &status_url);
    let run = run.env("IDLE_TIMEOUT", "1").spawn();
    until_asked(&sandbox, 1, |it| it.path.contains("/files/")).await;
    let before = sandbox.polls().len();
    let silent = Fault::answers(Place::Status, Answer::new(500));
    sandbox.faults().on(silent);
    sandbox.faults().off(Fault::Hang(Place::File));
    let asked = || sandbox.polls().len() > before + 1;
    until("it was asked again", asked).await;
    assert_import_never_asked(&sandbox);
    let files = sandbox.file_requests().len();
    sandbox.faults().clear();
    let finished = run.wait().await.expect_code(0);
    let words = "could not be asked";
    assert!(finished.stderr.contains(words), "{}", finished.stderr);
    assert_eq!(
        sandbox.file_requests().len(),
        files,
        "none is fetched again"
    );
    assert_arrived(&sandbox);
}

#[tokio::test]
async fn who_cancels_a_run_of_a_manifest_deletes_nothing() {
    let builder = hospital()
        .source_auth(false)
        .fault(Fault::Hang(Place::File));
    let sandbox = builder.start().await.unwrap();
    let run = manifest_alone(&sandbox, published(&sandbox)).spawn();
    until_asked(&sandbox, 1, |it| it.path.contains("/files/")).await;
    run.kill().await;
    let cancelled = manifest_alone(&sandbox, published(&sandbox))
        .arg("cancel")
        .run()
        .await
        .expect_code(0);
    let words = "there is nothing to end: a manifest takes the place of an export";
    assert!(cancelled.stdout.contains(words), "{}", cancelled.stdout);
    assert_only_read(&sandbox);
    sandbox.faults().clear();
    let next = manifest_alone(&sandbox, published(&sandbox))
        .run()
        .await
        .expect_code(0);
    assert!(!next.stderr.contains("unfinished"), "{}", next.stderr);
    assert_arrived_of(&sandbox, "Patient");
}

#[tokio::test]
async fn where_there_is_no_manifest_it_is_said_where_to_look() {
    let sandbox = hospital().source_auth(false).start().await.unwrap();
    let nowhere = format!("{}/nothing", sandbox.source_endpoint());
    let failed = manifest_alone(&sandbox, nowhere).run().await;
    failed.expect_error(
        "ExportFailedError",
        &[
            "there is no manifest",
            "/fhir/nothing answered 404",
            "Check SOURCE_MANIFEST",
        ],
    );
    assert_eq!(sandbox.polls().len(), 0);
}

#[tokio::test]
async fn a_manifest_that_may_not_be_read_is_told_from_an_export_and_so_is_what_may_have_expired() {
    let sandbox = hospital().start().await.unwrap();
    let failed = manifest_alone(&sandbox, published(&sandbox)).run().await;
    failed.expect_error(
        "AuthenticationError",
        &[
            "SOURCE_MANIFEST cannot be read",
            "If SOURCE_MANIFEST is signed, its signature may have expired: have it signed anew",
        ],
    );
}
