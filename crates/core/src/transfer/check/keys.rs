//! What the two keys of a resource must be, and the words for a line that is not as it must be.

/// What is wrong with a line.
#[derive(Debug)]
pub(super) enum Flaw {
    /// It begins with something else than an object: this byte.
    Begin(u8),
    /// Its last byte is no object's.
    End,
    /// It ends before its object does.
    Early,
    /// It is no JSON at this byte, counted from 0.
    At(u64),
    /// It has one of the two keys twice: which of them a reader takes is anybody's guess.
    Twice,
    /// Its `resourceType` is missing, no string, or another type's name.
    Type(Option<String>),
    /// Its `id` is missing or no string.
    NoId,
    /// Its `id` is empty.
    EmptyId,
}

impl Flaw {
    /// The flaw of a line of which so many bytes came before what was looked at.
    pub(super) fn after(self, before: u64) -> Self {
        match self {
            Self::At(place) => Self::At(before + place),
            other => other,
        }
    }

    /// The words. They hold nothing of the line but a type's name.
    pub(super) fn words(self, expected: &str) -> String {
        let not = |why: &str| format!("is not one JSON object: {why}");
        match self {
            Self::Begin(b'<') => not("it begins with <, as a page of HTML or XML does"),
            Self::Begin(b'[') => not("it begins with [, as a list does"),
            Self::Begin(_) => not("it does not begin with {"),
            Self::End => not("it does not end with }"),
            Self::Early => not("it ends too early"),
            Self::At(place) => format!("is not one JSON object (at column {})", place + 1),
            Self::Twice => "has resourceType or id twice".to_owned(),
            Self::Type(Some(found)) => format!("is a {found}, not a {expected}"),
            Self::Type(None) => format!("has no resourceType; {expected} is expected"),
            Self::NoId => "has no id that is a string".to_owned(),
            Self::EmptyId => "has an id that is empty".to_owned(),
        }
    }
}

/// Checks a `resourceType`; `None` is for one that is missing or no string.
pub(super) fn check_type(found: Option<&str>, expected: &str) -> Result<(), Flaw> {
    match found {
        Some(found) if found == expected => Ok(()),
        // A type's name is no patient's data, but what stands in its place could be.
        Some(found) if crate::manifest::is_type_name(found) => {
            Err(Flaw::Type(Some(found.to_owned())))
        }
        _ => Err(Flaw::Type(None)),
    }
}
