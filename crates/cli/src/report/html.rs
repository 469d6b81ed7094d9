//! The one way in which anything gets onto the page. Names of elements and attributes are the program's own; everything else
//! is escaped, wherever it stands.

/// A page that is being written.
#[derive(Debug, Default)]
pub(super) struct Html {
    out: String,
}

/// Attributes by name.
pub(super) type Attributes<'a> = &'a [(&'static str, &'a str)];

impl Html {
    /// A page that is one element.
    pub(super) fn document(attributes: Attributes<'_>, inside: impl FnOnce(&mut Self)) -> String {
        let mut html = Self::default();
        html.out.push_str("<!doctype html>\n");
        html.element("html", attributes, inside);
        html.out.push('\n');
        html.out
    }

    /// An element and what is in it.
    pub(super) fn element(
        &mut self,
        name: &'static str,
        attributes: Attributes<'_>,
        inside: impl FnOnce(&mut Self),
    ) {
        self.open(name, attributes);
        inside(self);
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    /// An element with a text in it.
    pub(super) fn leaf(&mut self, name: &'static str, attributes: Attributes<'_>, text: &str) {
        self.element(name, attributes, |html| html.text(text));
    }

    /// An element that has no end, such as `meta`.
    pub(super) fn void(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.open(name, attributes);
    }

    /// A text.
    pub(super) fn text(&mut self, text: &str) {
        escape(&mut self.out, text);
    }

    /// The page's own style, in which there is nothing of a server's.
    pub(super) fn style(&mut self, style: &'static str) {
        self.out.push_str("<style>");
        self.out.push_str(style);
        self.out.push_str("</style>");
    }

    fn open(&mut self, name: &'static str, attributes: Attributes<'_>) {
        // Lines end where elements begin, for whoever reads the file.
        self.out.push_str("\n<");
        self.out.push_str(name);
        for (name, value) in attributes {
            self.out.push(' ');
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(&mut self.out, value);
            self.out.push('"');
        }
        self.out.push('>');
    }
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            // What would turn the order of a line around.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push('\u{fffd}');
            }
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_value_holds_it_is_a_value() {
        let evil = "</p><script>alert('1')</script>\" onload=\"x\u{202e}\u{0}\n&amp;";
        let page = Html::document(&[("lang", evil)], |html| html.leaf("p", &[], evil));
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains("\" onload"), "{page}");
        assert_eq!(page.matches("</p>").count(), 1, "{page}");
        assert!(!page.contains(['\u{202e}', '\u{0}']), "{page}");
        assert!(page.contains("&amp;amp;"), "{page}");
    }
}
