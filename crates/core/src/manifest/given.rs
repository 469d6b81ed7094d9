//! JSON as servers send it: anything may stand anywhere, and that is no error of the JSON.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

/// Who takes a value in, whatever it turns out to be. What a taker does not ask for is read past.
pub(super) trait Take<'de>: Sized {
    /// What becomes of it.
    type Value;

    /// Any other value.
    fn other(self) -> Self::Value;

    /// A null.
    fn nothing(self) -> Self::Value {
        self.other()
    }

    /// A string.
    fn text(self, _: &str) -> Self::Value {
        self.other()
    }

    /// A number that is whole and not negative.
    fn whole(self, _: u64) -> Self::Value {
        self.other()
    }

    /// Any other number.
    fn fraction(self, _: f64) -> Self::Value {
        self.other()
    }

    /// A true or false.
    fn flag(self, _: bool) -> Self::Value {
        self.other()
    }

    /// An array, which must be read to its end.
    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.other())
    }

    /// An object, which must be read to its end.
    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.other())
    }
}

/// Gives a taker what comes next.
pub(super) struct Next<T>(pub(super) T);

impl<'de, T: Take<'de>> DeserializeSeed<'de> for Next<T> {
    type Value = T::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Take<'de>> Visitor<'de> for Next<T> {
    type Value = T::Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<T::Value, E> {
        Ok(self.0.nothing())
    }

    fn visit_str<E>(self, text: &str) -> Result<T::Value, E> {
        Ok(self.0.text(text))
    }

    fn visit_u64<E>(self, number: u64) -> Result<T::Value, E> {
        Ok(self.0.whole(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<T::Value, E> {
        Ok(self.0.other())
    }

    fn visit_f64<E>(self, number: f64) -> Result<T::Value, E> {
        Ok(self.0.fraction(number))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<T::Value, E> {
        Ok(self.0.flag(flag))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T::Value, A::Error> {
        self.0.list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<T::Value, A::Error> {
        self.0.object(object)
    }
}

/// A value of which only the simple kinds matter.
#[derive(Debug, Default, PartialEq)]
pub(super) enum Given {
    Text(String),
    Flag(bool),
    #[default]
    Other,
}

impl Given {
    pub(super) fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

struct TakeGiven;

impl Take<'_> for TakeGiven {
    type Value = Given;

    fn other(self) -> Given {
        Given::Other
    }

    fn text(self, text: &str) -> Given {
        Given::Text(text.to_owned())
    }

    fn flag(self, flag: bool) -> Given {
        Given::Flag(flag)
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Next(TakeGiven).deserialize(deserializer)
    }
}

/// A number of things. Servers write it as such, as its digits, or as their language prints any number: `19.0`.
#[derive(Debug, Default, PartialEq)]
pub(super) enum Number {
    /// Nothing is said of it.
    #[default]
    Absent,
    Whole(u64),
    /// It is no number of things.
    Odd,
}

impl Number {
    pub(super) fn whole(&self) -> Option<u64> {
        match self {
            Self::Whole(number) => Some(*number),
            Self::Absent | Self::Odd => None,
        }
    }
}

struct TakeNumber;

impl Take<'_> for TakeNumber {
    type Value = Number;

    fn other(self) -> Number {
        Number::Odd
    }

    fn nothing(self) -> Number {
        Number::Absent
    }

    fn text(self, text: &str) -> Number {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_plain.then(|| text.parse().ok()).flatten();
        number.map_or(Number::Odd, Number::Whole)
    }

    fn whole(self, number: u64) -> Number {
        Number::Whole(number)
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole, and within what a float tells apart"
    )]
    fn fraction(self, number: f64) -> Number {
        let is_whole = number.fract() == 0.0 && (0.0..=EXACT).contains(&number);
        if is_whole {
            Number::Whole(number as u64)
        } else {
            Number::Odd
        }
    }
}

/// Up to here a float tells each whole number from the next.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Next(TakeNumber).deserialize(deserializer)
    }
}
