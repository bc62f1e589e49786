//! The known name that is nearest to one that is not known.

/// The name with the fewest typing errors (letters missing, added, changed or swapped): at most one in three letters.
fn nearest<'a>(word: &str, names: &'a [impl AsRef<str>]) -> Option<&'a str> {
    let errors = |name: &'a str| {
        let errors = strsim::osa_distance(&word.to_lowercase(), &name.to_lowercase());
        (errors <= word.len().max(name.len()) / 3).then_some((errors, name))
    };
    let near = names.iter().filter_map(|name| errors(name.as_ref()));
    near.min_by_key(|(errors, _)| *errors).map(|(_, name)| name)
}

/// A question for the nearest name, to be put behind an error; nothing if no name is near.
pub(super) fn question(word: &str, names: &[impl AsRef<str>]) -> String {
    nearest(word, names).map(|name| format!(": did you mean {name}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_is_near_and_another_is_not() {
        let names = ["front", "back", "driver", "driver_opts"];
        for (word, expected) in [
            ("frnt", Some("front")),
            ("BACK", Some("back")),
            ("bcak", Some("back")),
            ("drivr", Some("driver")),
            ("lan", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &names), expected, "{word:?}");
        }
        assert_eq!(nearest("front", &[""; 0]), None);
    }

    #[test]
    fn the_question_follows_an_error() {
        assert_eq!(question("frnt", &["front"]), ": did you mean front?");
        assert_eq!(question("x", &["front"]), "");
    }
}
