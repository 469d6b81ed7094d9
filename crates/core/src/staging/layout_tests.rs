use super::*;

const URL: &str = "https://fhir.example.org/files/Patient-1.ndjson";

#[test]
fn a_run_is_named_after_its_status_url() {
    // printf %s https://fhir.example.org/status/1 | sha256sum | cut -c -16
    assert_eq!(
        run_of("https://fhir.example.org/status/1"),
        "d8abb3735e89c16a"
    );
    assert_ne!(
        run_of("https://fhir.example.org/status/1"),
        run_of("https://fhir.example.org/status/2")
    );
}

#[test]
fn a_run_without_a_status_url_is_named_after_its_manifest_however_it_is_signed() {
    let signed = format!("{URL}?X-Amz-Signature=1");
    let again = format!("{URL}?X-Amz-Signature=2");
    let first = derived_run("2024-01-01T00:00:00Z", "r", [signed.as_str()]);
    assert_eq!(
        first,
        derived_run("2024-01-01T00:00:00Z", "r", [again.as_str()])
    );
    assert_ne!(first, derived_run("2024-01-02T00:00:00Z", "r", [URL]));
    assert_ne!(first, derived_run("2024-01-01T00:00:00Z", "r", [URL, URL]));
    assert!(is_run_name(&first) && first.len() == 16);
}

#[test]
fn what_was_cut_in_another_way_has_another_name_and_is_known_for_a_piece_all_the_same() {
    let piece = |cut, number| piece_key("a1", "Patient", 3, URL, cut, number);
    let stem = file_key("a1", "Patient", 3, URL);
    let stem = stem.strip_suffix(".ndjson").unwrap();
    assert_eq!(piece(5 << 20, 7), format!("{stem}-5242880-0007.ndjson"));
    assert_ne!(piece(5 << 20, 7), piece(8 << 20, 7));
    for good in [piece(8 << 20, 12_345), format!("{stem}-0007.ndjson")] {
        assert!(is_piece(3, URL, &good), "{good}");
        assert!(!is_piece(4, URL, &good) && !is_piece(3, "https://h/2", &good));
        assert_eq!(role_of("a1", &good), Role::File(3));
    }
    for other in ["", "-", "-1-", "-1-2-3", "-x-0001", "-1-000x"] {
        assert!(
            !is_piece(3, URL, &format!("{stem}{other}.ndjson")),
            "{other}"
        );
    }
    assert_eq!(role_of("a1", &cuts_key("a1", 3)), Role::Elsewhere);
}

#[test]
fn a_server_that_counts_its_jobs_anew_gets_runs_of_other_names() {
    let run = run_of(URL);
    let next = suffixed(&run, "2024-01-01T00:00:00Z");
    assert_eq!(next.len(), 16 + 1 + 8);
    assert!(next.starts_with(&run) && is_run_name(&next));
    assert_ne!(next, suffixed(&run, "2024-01-02T00:00:00Z"));
}

#[test]
fn only_hexadecimal_names_become_paths() {
    for name in ["0123456789abcdef", "0123456789abcdef-01234567"] {
        assert!(is_run_name(name) && is_sync_name(name), "{name}");
    }
    let long = "a".repeat(65);
    for name in [
        "", "-", "a-", "..", "../a", "a/b", "A", "g", "a b", "a\0", &long,
    ] {
        assert!(!is_run_name(name) && !is_sync_name(name), "{name}");
    }
}

#[test]
fn every_key_of_the_table_is_where_the_table_says() {
    assert_eq!(manifest_key("a1"), "runs/a1/_manifest.json");
    assert_eq!(record_key("a1"), "runs/a1/_run.json");
    assert_eq!(part_key("a1", 7), "runs/a1/_parts/00007.json");
    assert_eq!(part_key("a1", 1_234_567), "runs/a1/_parts/1234567.json");
    assert_eq!(error_part_key("a1", 7), "runs/a1/_parts/error-00007.json");
    assert_eq!(
        deleted_part_key("a1", 7),
        "runs/a1/_parts/deleted-00007.json"
    );
    assert_eq!(glob_key("a1", "Patient"), "runs/a1/Patient/*.ndjson");
    assert_eq!(empty_key("a1", "Patient"), "runs/a1/Patient/empty.ndjson");
    assert_eq!(batches_key("a1"), "runs/a1/_batches.jsonl");
    assert_eq!(early_key("a1", 7), "runs/a1/_early/00007.jsonl");
    assert_eq!(log_key("a1", 0), "runs/a1/_log.ndjson");
    assert_eq!(log_key("a1", 7), "runs/a1/_log_00007.ndjson");
    assert!(log_key("a1", 0) < log_key("a1", 1));
    assert_eq!(sync_key("a1"), "sync/a1.json");
    // printf %s https://fhir.example.org/files/Patient-1.ndjson | sha256sum | cut -c -12
    let name = "00042-057253e2acc9.ndjson";
    assert_eq!(
        file_key("a1", "Patient", 42, URL),
        format!("runs/a1/Patient/{name}")
    );
    assert_eq!(error_key("a1", 42, URL), format!("runs/a1/_errors/{name}"));
    assert_eq!(
        deleted_key("a1", 42, URL),
        format!("runs/a1/_deleted/{name}")
    );
}

#[test]
fn a_key_tells_what_it_may_be() {
    let of = |below: &str| role_of("a1", &format!("runs/a1/{below}"));
    assert_eq!(
        role_of("a1", &file_key("a1", "Patient", 42, URL)),
        Role::File(42)
    );
    assert_eq!(
        role_of("a1", &part_key("a1", 1_234_567)),
        Role::Part(1_234_567)
    );
    for below in [
        "Patient/old.ndjson",
        "x.ndjson",
        "Patient/x/y.ndjson",
        "Patient/-1.ndjson",
        "Patient/alien.ndjson/part-0",
        "Patient/alien.ndjson/year=2026/part-0.txt",
        "Patient/00001-0.ndjson/00001-0.ndjson",
    ] {
        assert_eq!(of(below), Role::Stray, "{below}");
    }
    for below in [
        "Patient/_x.ndjson",
        "_log.ndjson",
        "_errors/00001-0.ndjson",
        "_run.json",
        "Patient/notes.txt",
        "Patient/.x/y.ndjson",
        "_parts/error-00001.json",
        "Patient/.00001-0.ndjson",
        "Patient/alien.ndjson/_SUCCESS",
        "Patient/alien.ndjson/.part-0.crc",
        "Patient/_alien.ndjson/part-0",
        // What a console makes for an empty folder.
        "Patient/alien.ndjson/",
    ] {
        assert_eq!(of(below), Role::Elsewhere, "{below}");
    }
    assert_eq!(role_of("a1", &empty_key("a1", "Patient")), Role::Empty);
    assert_eq!(role_of("a1", "runs/a12/Patient/x.ndjson"), Role::Elsewhere);
}

#[test]
fn a_file_keeps_its_name_when_its_url_is_signed_again() {
    for signature in [
        "X-Amz-Algorithm=a&X-Amz-Credential=b&x-amz-date=c&X-AMZ-SIGNATURE=d",
        "AWSAccessKeyId=a&Signature=b&Expires=1",
        "awsaccesskeyid=a&signature=b&expires=2",
        "X-Goog-Algorithm=a&X-Goog-Signature=b",
        "sv=1&se=2&sr=b&sp=r&sig=3&st=4&spr=https&skoid=5&sktid=6&skt=7&ske=8&sks=b&skv=9",
        "Policy=a&Signature=b&Key-Pair-Id=c",
    ] {
        assert_eq!(
            file_key("a1", "Patient", 0, &format!("{URL}?{signature}")),
            file_key("a1", "Patient", 0, URL),
            "{signature}"
        );
    }
}

#[test]
fn what_does_not_sign_a_url_tells_files_apart() {
    let with = |query: &str| file_key("a1", "Patient", 0, &format!("{URL}?{query}"));
    assert_ne!(with("part=1"), with("part=2"));
    assert_ne!(with("part=1&sig=x"), with("part=2&sig=x"));
    assert_eq!(with("part=1&sig=x&se=1"), with("part=1&sig=y&se=2"));
    // Two letters that are no part of an Azure signature.
    assert_ne!(with("sp=1"), with("sp=2"));
    assert_ne!(with("part=1"), file_key("a1", "Patient", 0, URL));
}

#[test]
fn a_synchronisation_is_another_when_any_part_of_it_is() {
    let name = sync_name(&["https://a", "system", "", "", "https://b"]);
    assert!(is_sync_name(&name) && name.len() == 16);
    assert_eq!(
        name,
        sync_name(&["https://a", "system", "", "", "https://b"])
    );
    assert_ne!(
        name,
        sync_name(&["https://a", "syste", "m", "", "https://b"])
    );
    assert_ne!(name, sync_name(&["https://a", "system", "", "https://b"]));
}
