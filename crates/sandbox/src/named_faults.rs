//! The faults whose argument is a name or names of the source's own: parameters, a header, an edition.

use crate::faults::Fault;

/// How they are written.
pub(crate) const NAMES: [&str; 6] = [
    "kick-off-lacks=PARAMETER",
    "kick-off-wants=PARAMETER",
    "manifest-expires=+SECONDS|-SECONDS|TEXT",
    "metadata-edition=VERSION",
    "metadata-names=PARAMETER,PARAMETER",
    "source-wants-header=NAME",
];

/// The name with its argument; None where it is none of these faults.
pub(crate) fn name(fault: &Fault) -> Option<String> {
    let (name, argument) = match fault {
        Fault::KickOffLacks(parameter) => ("kick-off-lacks", parameter),
        Fault::KickOffWants(parameter) => ("kick-off-wants", parameter),
        Fault::ManifestExpires(text) => ("manifest-expires", text),
        Fault::MetadataEdition(edition) => ("metadata-edition", edition),
        Fault::MetadataNames(parameters) => ("metadata-names", parameters),
        Fault::SourceWantsHeader(header) => ("source-wants-header", header),
        _ => return None,
    };
    Some(format!("{name}={argument}"))
}

/// The fault of that name, or what it wants; None where it is none of these.
pub(crate) fn parse(name: &str, argument: &str) -> Option<Result<Fault, &'static str>> {
    let fault = match name {
        "kick-off-lacks" => Fault::KickOffLacks,
        "kick-off-wants" => Fault::KickOffWants,
        "manifest-expires" => Fault::ManifestExpires,
        "metadata-edition" => Fault::MetadataEdition,
        "metadata-names" => Fault::MetadataNames,
        "source-wants-header" => Fault::SourceWantsHeader,
        _ => return None,
    };
    Some(if argument.is_empty() {
        Err("a name")
    } else {
        Ok(fault(argument.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_fault_and_wants_its_argument() {
        for written in NAMES {
            let fault: Fault = written.parse().unwrap();
            assert_eq!(fault.name(), written);
            let (name, _) = written.split_once('=').unwrap();
            assert!(name.parse::<Fault>().is_err(), "{name}");
        }
    }
}
