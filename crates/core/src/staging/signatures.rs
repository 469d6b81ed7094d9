//! What of a URL signs it, and so changes whenever the source signs the same file again.

/// Query parameters that sign a URL, in lower case: they change whenever the source signs the same file again.
const SIGNATURES: &[&str] = &[
    "awsaccesskeyid",
    "expires",
    "googleaccessid",
    "key-pair-id",
    "policy",
    "sig",
    "signature",
];

/// The same for families of parameters that begin alike.
const SIGNATURE_FAMILIES: &[&str] = &["x-amz-", "x-goog-"];

/// The rest of an Azure shared access signature. Names as short as these may mean anything elsewhere, so they count as
/// parts of a signature only beside `sig`.
const AZURE_SIGNATURES: &[&str] = &[
    "se", "ske", "skoid", "sks", "skt", "sktid", "skv", "sp", "spr", "sr", "st", "sv",
];

/// A URL without the parameters that sign it; all else as it was written.
pub(super) fn unsigned(url: &str) -> String {
    let Some((address, query)) = url.split_once('?') else {
        return url.to_owned();
    };
    let name = |parameter: &str| {
        let name = parameter.split('=').next().unwrap_or_default();
        name.to_ascii_lowercase()
    };
    let azure = query.split('&').any(|parameter| name(parameter) == "sig");
    let kept: Vec<&str> = query
        .split('&')
        .filter(|parameter| {
            let name = name(parameter);
            let signs = SIGNATURES.contains(&name.as_str())
                || SIGNATURE_FAMILIES
                    .iter()
                    .any(|family| name.starts_with(family))
                || (azure && AZURE_SIGNATURES.contains(&name.as_str()));
            !signs
        })
        .collect();
    if kept.is_empty() {
        address.to_owned()
    } else {
        format!("{address}?{}", kept.join("&"))
    }
}
