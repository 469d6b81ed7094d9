//! One resource: a line of half a KiB to five, with what FHIR servers put into theirs.

use std::io::Write as _;

use bytes::Bytes;

/// Numbers that are the same in every run, and others for each name.
#[derive(Debug)]
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn of(name: &str) -> Self {
        let seed = name.bytes().fold(1, |seed: u64, byte| {
            seed.wrapping_add(u64::from(byte))
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        });
        Self(seed | 1)
    }

    /// Any number (xorshift).
    fn any(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.any() >> 16) % limit
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        let index = self.below(words.len() as u64);
        words[usize::try_from(index).unwrap_or_default()]
    }
}

const SYSTEMS: &[&str] = &[
    "http://loinc.org",
    "http://snomed.info/sct",
    "http://hl7.org/fhir/sid/icd-10",
    "http://www.nlm.nih.gov/research/umls/rxnorm",
    "urn:oid:1.2.840.113619.21.1",
];
const NAMES: &[&str] = &[
    "Müller", "Nguyễn", "Schmidt", "García", "Kowalski", "Øberg", "Rossi", "Çelik", "O'Brien",
    "Yamada",
];
const WORDS: &[&str] = &[
    "Hemoglobin [Mass/volume] in Blood",
    "Body temperature",
    "Essential hypertension \\\"stage 2\\\"",
    "Glucose, fasting \\/ µmol\\/L",
    "Follow-up in ambulatory care",
    "Appendectomy, laparoscopic",
    "Amoxicillin 500 mg, 3 × daily",
    "Chest X-ray, two views\\nNo acute findings",
    "Allergy to penicillin (disorder)",
    "Influenza, seasonal, injectable",
];

/// Where the id begins in a line.
pub(super) fn id_offset(resource_type: &str) -> usize {
    "{\"resourceType\":\"\",\"id\":\"".len() + resource_type.len()
}

/// Appends one resource of the type. Its id begins with eight zeros, for the block to write over.
pub(super) fn line(out: &mut Vec<u8>, resource_type: &str, numbers: &mut Numbers) {
    let (a, b) = (numbers.any(), numbers.any());
    let patient = numbers.below(100_000);
    let day = 1 + numbers.below(28);
    // Writing to a vector cannot fail.
    let _ = write!(
        out,
        "{{\"resourceType\":\"{resource_type}\",\"id\":\"00000000-{:04x}-{:04x}-{:04x}-{:012x}\",\
         \"meta\":{{\"versionId\":\"{}\",\"lastUpdated\":\"2026-03-{day:02}T08:{:02}:{:02}.{:03}+01:00\",\
         \"profile\":[\"http://hl7.org/fhir/StructureDefinition/{resource_type}\"]}},\
         \"text\":{{\"status\":\"generated\",\"div\":\"<div xmlns=\\\"http://www.w3.org/1999/xhtml\\\"><p>{}</p></div>\"}},\
         \"identifier\":[{{\"system\":\"urn:ietf:rfc:3986\",\"value\":\"urn:oid:2.25.{}\"}}],",
        a & 0xFFFF,
        a >> 16 & 0xFFFF,
        a >> 32 & 0xFFFF,
        b & 0xFFFF_FFFF_FFFF,
        1 + numbers.below(9),
        numbers.below(60),
        numbers.below(60),
        numbers.below(1000),
        numbers.one_of(WORDS),
        numbers.any(),
    );
    if resource_type == "Patient" {
        let _ = write!(
            out,
            "\"active\":true,\"name\":[{{\"use\":\"official\",\"family\":\"{}\",\"given\":[\"A{}\",\"B.\"]}}],\
             \"gender\":\"{}\",\"birthDate\":\"19{}-05-{day:02}\",\"extension\":[",
            numbers.one_of(NAMES),
            numbers.below(1000),
            numbers.one_of(&["female", "male", "other", "unknown"]),
            10 + numbers.below(90),
        );
    } else {
        let _ = write!(
            out,
            "\"status\":\"{}\",\"code\":{{\"coding\":[{{\"system\":\"{}\",\"code\":\"{}-{}\",\"display\":\"{}\"}}]}},\
             \"subject\":{{\"reference\":\"Patient/{patient}\",\"display\":\"{}, Anna\"}},\
             \"encounter\":{{\"reference\":\"Encounter/{}\"}},\"extension\":[",
            numbers.one_of(&["final", "active", "completed", "amended"]),
            numbers.one_of(SYSTEMS),
            numbers.below(100_000),
            numbers.below(10),
            numbers.one_of(WORDS),
            numbers.one_of(NAMES),
            numbers.below(1_000_000),
        );
    }
    // Most resources are small and some are large.
    let (x, y) = (numbers.below(13), numbers.below(13));
    for index in 0..x.min(y) {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(
            out,
            "{comma}{{\"url\":\"http://example.org/fhir/StructureDefinition/component-{index}\",\
             \"valueCodeableConcept\":{{\"coding\":[{{\"system\":\"{}\",\"code\":\"{}\",\"display\":\"{}\"}}],\"text\":\"{}\"}},\
             \"extension\":[{{\"url\":\"value\",\"valueQuantity\":{{\"value\":{}.{},\"unit\":\"mg/dL\",\"code\":\"mg/dL\"}}}}]}}",
            numbers.one_of(SYSTEMS),
            numbers.below(1_000_000),
            numbers.one_of(WORDS),
            numbers.one_of(WORDS),
            numbers.below(300),
            numbers.below(10),
        );
    }
    out.extend_from_slice(b"]}\n");
}

/// How a filler ends, and what it is full of.
const END: &str = "</div>\"}}\n";
const TEXT: &str = "seen in good health, to be seen again in six weeks; ";

/// A resource whose line is exactly `length` bytes long, which must be 256 or more.
pub(super) fn filler(resource_type: &str, n: u64, index: usize, length: usize) -> Bytes {
    let mut line = format!(
        "{{\"resourceType\":\"{resource_type}\",\"id\":\"last-{length}-{n}-{index}\",\"text\":{{\"status\":\"additional\",\"div\":\"<div>"
    );
    line.extend(
        TEXT.chars()
            .cycle()
            .take(length.saturating_sub(line.len() + END.len())),
    );
    line.push_str(END);
    line.into()
}
