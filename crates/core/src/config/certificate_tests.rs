use std::collections::BTreeMap;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;
use crate::config::{Settings, Step};

/// A certificate that is good until this year, and its key.
fn pair(until: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["client".to_owned()]).unwrap();
    params.not_after = date_time_ymd(until, 6, 1);
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn a_certificate_and_its_key_stand_in_two_texts_or_in_one_and_line_ends_may_be_written_out() {
    let (certificate, key) = pair(2049);
    assert!(Identity::read(&certificate, Some(&key)).is_ok());
    assert!(Identity::read(&format!("{key}{certificate}"), None).is_ok());
    let flat = |text: &str| text.replace('\n', "\\n");
    let identity = Identity::read(&flat(&certificate), Some(&flat(&key))).unwrap();
    assert_eq!(format!("{identity:?}"), "Identity(1 certificates, ***)");
    // Those that vouch for it stand behind it.
    let chain = format!("{certificate}{}", pair(2049).0);
    assert_eq!(Identity::read(&chain, Some(&key)).unwrap().0.cert.len(), 2);
}

#[test]
fn the_day_on_which_it_expires_is_read_in_both_of_its_forms() {
    for (year, expected) in [
        (2049, "2049-06-01T00:00:00Z"),
        (2050, "2050-06-01T00:00:00Z"),
    ] {
        let der = CertificateDer::from_pem_slice(pair(year).0.as_bytes()).unwrap();
        assert_eq!(expires(&der).unwrap().to_string(), expected);
        for cut in 0..der.len() {
            let _ = expires(&der[..cut]);
        }
    }
}

#[test]
fn what_is_wrong_is_told_of_the_right_text_and_nothing_of_it_is() {
    let (certificate, key) = pair(2049);
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let broken = certificate.replace("MI", "AA");
    for (certificate, key, part, says) in [
        (
            "hush",
            Some(&*key),
            Part::Certificate,
            "holds no certificate",
        ),
        (
            &*key,
            Some(&*key),
            Part::Certificate,
            "holds no certificate",
        ),
        (&*broken, Some(&*key), Part::Certificate, "no certificate"),
        (
            &*pair(2020).0,
            Some(&*key),
            Part::Certificate,
            "expired at 2020-06-01",
        ),
        (&*certificate, Some("hush"), Part::Key, "no private key"),
        (&*certificate, Some(encrypted), Part::Key, "passphrase"),
        (
            &*certificate,
            Some(&*pair(2049).1),
            Part::Key,
            "not the key of that certificate",
        ),
        (
            &*certificate,
            None,
            Part::Certificate,
            "holds no private key",
        ),
    ] {
        let (found, why) = Identity::read(certificate, key).unwrap_err();
        assert_eq!(found, part, "{why}");
        assert!(why.contains(says) && !why.contains("hush"), "{why}");
    }
}

/// What is wrong with these settings, or what was read.
fn read(pairs: &[(&str, &str)]) -> Result<Option<ClientCertificate>, String> {
    let mut environment = BTreeMap::new();
    environment.insert("SOURCE_ENDPOINT", "https://fhir.example.org");
    environment.insert("SOURCE_AUTHENTICATION_ENABLED", "false");
    environment.extend(pairs.iter().copied());
    let environment = environment
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Settings::load(Step::CheckExportStatus, &environment, None)
        .map(|settings| settings.source.unwrap().certificate)
        .map_err(|error| error.to_string())
}

#[test]
fn settings_that_make_no_certificate_are_named() {
    let (certificate, key) = pair(2049);
    let both = [
        ("SOURCE_CLIENT_CERTIFICATE", &*certificate),
        ("SOURCE_CLIENT_CERTIFICATE_KEY", &*key),
    ];
    // It holds where no token is wanted, too.
    assert!(matches!(read(&both), Ok(Some(ClientCertificate::Given(_)))));
    assert!(matches!(read(&[]), Ok(None)));
    let says = |pairs: &[(&str, &str)], words: &[&str]| {
        let said = read(pairs).unwrap_err();
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    };
    says(
        &both[1..],
        &["SOURCE_CLIENT_CERTIFICATE_KEY in the environment does nothing without"],
    );
    says(
        &both[..1],
        &[
            "SOURCE_CLIENT_CERTIFICATE in the environment holds no private key",
            "_KEY may hold",
        ],
    );
    let open = ("SOURCE_ENDPOINT", "http://localhost:1/fhir");
    says(
        &[both[0], both[1], open],
        &["SOURCE_ENDPOINT", "plain http"],
    );
    let arn = "arn:aws:ssm:eu-central-1:123456789012:parameter/key";
    let kept = read(&[both[0], ("SOURCE_CLIENT_CERTIFICATE_KEY", arn)]);
    assert!(matches!(kept, Ok(Some(ClientCertificate::Kept(_)))));
}
