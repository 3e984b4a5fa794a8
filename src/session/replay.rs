//! Hands a conversation on as text: to another backend, or to a new session of the same one.

use super::model::Turn;

/// The prompt with the conversation in front of it, and how many of its oldest turns were left out so that it has at most
/// `limit` characters. The prompt itself is never cut.
pub fn prompt(turns: &[Turn], prompt: &str, limit: usize) -> (String, usize) {
    let told: Vec<String> = turns
        .iter()
        .map(|turn| format!("User:\n{}\n\nAssistant:\n{}\n\n", turn.prompt, turn.answer))
        .collect();
    let mut room = limit;
    let kept = told
        .iter()
        .rev()
        .take_while(|turn| {
            let length = turn.chars().count();
            let fits = length <= room;
            room = room.saturating_sub(length);
            fits
        })
        .count();
    let left_out = told.len() - kept;
    if kept == 0 {
        return (prompt.to_owned(), left_out);
    }
    let cut = if left_out > 0 { format!(" ({left_out} older turns are left out)") } else { String::new() };
    let conversation = told[left_out..].concat();
    (
        format!("This is our conversation so far{cut}:\n\n{conversation}Now the user says:\n\n{prompt}"),
        left_out,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Tokens;

    fn turn(prompt: &str, answer: &str) -> Turn {
        let (prompt, answer) = (prompt.to_owned(), answer.to_owned());
        let (time, backend, model, usage) = (String::new(), "echo".to_owned(), None, Tokens::default());
        Turn {
            time,
            backend,
            model,
            prompt,
            answer,
            truncated: false,
            usage,
            duration_seconds: None,
            kind: None,
            error: None,
        }
    }

    #[test]
    fn the_oldest_turns_are_left_out_first_and_that_is_said() {
        let turns = [turn("one", "1"), turn("two", "2"), turn("three", "3")];
        let whole = "This is our conversation so far:\n\nUser:\none\n\nAssistant:\n1\n\nUser:\ntwo\n\nAssistant:\n2\n\n\
                     User:\nthree\n\nAssistant:\n3\n\nNow the user says:\n\nfour";
        assert_eq!(prompt(&turns, "four", 1000), (whole.to_owned(), 0));
        let (text, left_out) = prompt(&turns, "four", 40);
        assert_eq!((text.contains("three"), text.contains("two"), left_out), (true, false, 2), "{text}");
        assert_eq!(prompt(&turns, "four", 3), ("four".to_owned(), 3));
    }
}
