//! Tables, and the pairs of a name and a value, as the page has them.

use super::html::Html;

/// A column: its heading, and whether it is of numbers.
pub(super) type Column = (&'static str, bool);

/// A table in a frame that scrolls by itself where it is too wide, and can be reached by the keyboard.
pub(super) fn table(
    html: &mut Html,
    caption: &str,
    columns: &[Column],
    rows: impl FnOnce(&mut Html),
) {
    let frame = [
        ("class", "frame"),
        ("tabindex", "0"),
        ("role", "region"),
        ("aria-label", caption),
    ];
    html.element("div", &frame, |html| {
        html.element("table", &[], |html| {
            html.leaf("caption", &[], caption);
            html.element("thead", &[], |html| {
                html.element("tr", &[], |html| {
                    for (heading, is_number) in columns {
                        let class = if *is_number { "number" } else { "" };
                        html.leaf("th", &[("scope", "col"), ("class", class)], heading);
                    }
                });
            });
            html.element("tbody", &[], rows);
        });
    });
}

/// A row of such a table; its first cell names it.
pub(super) fn row(html: &mut Html, columns: &[Column], cells: &[&str]) {
    html.element("tr", &[], |html| {
        for (index, (cell, (_, is_number))) in cells.iter().zip(columns).enumerate() {
            let class = if *is_number { "number" } else { "" };
            if index == 0 {
                html.leaf("th", &[("scope", "row"), ("class", class)], cell);
            } else {
                html.leaf("td", &[("class", class)], cell);
            }
        }
    });
}

/// Names and values.
pub(super) fn pairs(html: &mut Html, pairs: &[(&str, String)]) {
    html.element("dl", &[], |html| {
        for (name, value) in pairs {
            html.element("div", &[], |html| {
                html.leaf("dt", &[], name);
                html.leaf("dd", &[], value);
            });
        }
    });
}

/// What is long, and is there for whoever wants it.
pub(super) fn details(html: &mut Html, summary: &str, inside: impl FnOnce(&mut Html)) {
    html.element("details", &[], |html| {
        html.leaf("summary", &[], summary);
        inside(html);
    });
}
