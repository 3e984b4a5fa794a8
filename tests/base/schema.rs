//! The subset of JSON Schema, and the JSON in an answer.

use clinvk::base::schema::{check, json_of};
use serde_json::json;

#[test]
fn each_keyword_takes_what_it_should_and_nothing_else() {
    let tree = json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {
        "value": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
        "required": ["value"], "additionalProperties": false}}});
    for (schema, good, bad) in [
        (json!({}), json!([1, "a", null, {"a": 1}]), json!([])),
        (json!(true), json!([1, null]), json!([])),
        (json!(false), json!([]), json!([1, null])),
        (json!({"type": "string"}), json!(["", "a"]), json!([1, null, [], {}])),
        (json!({"type": "integer"}), json!([1, -5, 1.0, u64::MAX]), json!([1.5, "1", null, true])),
        (json!({"type": "number"}), json!([1, 1.5]), json!(["1", null])),
        (json!({"type": "boolean"}), json!([true, false]), json!([0, "true"])),
        (json!({"type": "null"}), json!([null]), json!([0, ""])),
        (json!({"type": "array"}), json!([[], [1]]), json!([{}, "a"])),
        (json!({"type": "object"}), json!([{}, {"a": 1}]), json!([[], null])),
        (json!({"type": ["string", "null"]}), json!(["a", null]), json!([1, []])),
        (json!({"type": ["integer", "null"]}), json!([1, null]), json!([1.5])),
        (
            json!({"properties": {"a": {"type": "string"}}}),
            json!([{}, {"a": "x"}, {"b": 1}, 5]),
            json!([{"a": 1}]),
        ),
        (json!({"required": ["a", "b"]}), json!([{"a": null, "b": 1}, 5]), json!([{}, {"a": 1}])),
        (
            json!({"properties": {"a": {}}, "additionalProperties": false}),
            json!([{}, {"a": 1}]),
            json!([{"b": 1}, {"a": 1, "b": 1}]),
        ),
        (json!({"additionalProperties": {"type": "integer"}}), json!([{"b": 1}]), json!([{"b": "1"}])),
        (
            json!({"patternProperties": {"^x": {}}, "additionalProperties": false}),
            json!([{"x": 1}]),
            json!([]),
        ),
        (json!({"items": {"type": "integer"}}), json!([[], [1, 2], "a"]), json!([["a"], [1, "a"]])),
        (json!({"items": false}), json!([[]]), json!([[1]])),
        (
            json!({"prefixItems": [{"type": "string"}, {"type": "integer"}]}),
            json!([["a"], ["a", 1, null], []]),
            json!([[1], ["a", "b"]]),
        ),
        (json!({"prefixItems": [{"type": "string"}], "items": false}), json!([["a"], []]), json!([["a", 1]])),
        (json!({"items": [{"type": "string"}]}), json!([["a", 1]]), json!([[1]])),
        (
            json!({"enum": ["a", 1, null, {"b": [1]}]}),
            json!(["a", 1, 1.0, null, {"b": [1.0]}]),
            json!(["b", 2, {"b": []}]),
        ),
        (
            json!({"const": {"a": 1}}),
            json!([{"a": 1}, {"a": 1.0}]),
            json!([{"a": 2}, {"a": 1, "b": 1}, null]),
        ),
        (json!({"const": null}), json!([null]), json!([0])),
        (json!({"anyOf": [{"type": "string"}, {"minimum": 5}]}), json!(["a", 5, null]), json!([4])),
        (json!({"oneOf": [{"type": "integer"}, {"minimum": 5}]}), json!([1, 5.5, "a"]), json!([5, 1.5])),
        (json!({"allOf": [{"minimum": 1}, {"maximum": 3}]}), json!([1, 3]), json!([0, 4])),
        (json!({"not": {"type": "string"}}), json!([1]), json!(["a"])),
        (json!({"minimum": 1, "maximum": 2.5}), json!([1, 2.5, 1.0, "x"]), json!([0.999, 2.6, -1])),
        (json!({"exclusiveMinimum": 1, "exclusiveMaximum": 2}), json!([1.5]), json!([1, 2, 1.0, 0])),
        (json!({"minimum": 9007199254740993u64}), json!([9007199254740993u64]), json!([9007199254740992u64])),
        (json!({"multipleOf": 3}), json!([0, 9, -3, 9.0]), json!([1, 3.5])),
        (json!({"multipleOf": 0.1}), json!([0.3, 1, 1.1]), json!([0.25])),
        (json!({"minLength": 2, "maxLength": 3}), json!(["éé", "abc", 5]), json!(["é", "abcd", ""])),
        (json!({"minItems": 1, "maxItems": 2}), json!([[1], [1, 2], "abc"]), json!([[], [1, 2, 3]])),
        (json!({"minProperties": 1, "maxProperties": 1}), json!([{"a": 1}]), json!([{}, {"a": 1, "b": 1}])),
        (
            json!({"uniqueItems": true}),
            json!([[], [1, 2], [1, "1"], [[1], [2]]]),
            json!([[1, 1], [1, 1.0], [{"a": 1}, {"a": 1.0}]]),
        ),
        (json!({"uniqueItems": false}), json!([[1, 1]]), json!([])),
        (
            json!({"format": "date", "title": "t", "description": "d", "default": 5}),
            json!(["no date"]),
            json!([]),
        ),
        (
            tree,
            json!([{"value": 1}, {"value": 1, "next": {"value": 2, "next": null}}]),
            json!([{"value": "1"}, {"value": 1, "next": {}}, {"value": 1, "x": 1}]),
        ),
        (
            json!({"$ref": "#/definitions/a~1b", "definitions": {"a/b": {"type": "string"}}}),
            json!(["a"]),
            json!([1]),
        ),
        (
            json!({"properties": {"a": {"$ref": "#"}}, "additionalProperties": false}),
            json!([{"a": {"a": {}}}]),
            json!([{"a": {"b": 1}}]),
        ),
        (json!({"$ref": "https://example.com/x"}), json!([]), json!([1])),
        (json!({"$ref": "#/$defs/nowhere"}), json!([]), json!([1])),
        (json!({"type": "strnig"}), json!([]), json!(["a"])),
        (json!("no schema"), json!([]), json!([1])),
    ] {
        for value in good.as_array().unwrap() {
            assert_eq!(check(&schema, value), Ok(()), "{schema} takes {value}");
        }
        for value in bad.as_array().unwrap() {
            assert!(check(&schema, value).is_err(), "{schema} does not take {value}");
        }
    }
}

#[test]
fn an_error_says_where_and_what() {
    let person = json!({"type": "object", "properties": {"name": {"type": "string"}, "tags": {"items": {"enum": ["a", "b"]}},
        "pets": {"items": {"required": ["kind"], "anyOf": [{"properties": {"kind": {"const": "cat"}}}, {"type": "null"}]}}},
        "required": ["name"], "additionalProperties": false});
    for (value, expected) in [
        (json!([]), "at $: expected object, found array"),
        (json!({}), "at $: expected a property `name`"),
        (json!({"name": 5}), "at $.name: expected string, found number"),
        (json!({"name": "x", "age": 5}), "at $.age: expected no property of this name"),
        (
            json!({"name": "x", "tags": ["a", "c"]}),
            "at $.tags[1]: expected one of [\"a\",\"b\"], found \"c\"",
        ),
        (json!({"name": "x", "pets": [{}]}), "at $.pets[0]: expected a property `kind`"),
        (
            json!({"name": "x", "pets": [{"kind": "dog"}]}),
            "at $.pets[0]: expected one of 2 schemas (the first: at $.pets[0].kind: expected \"cat\", found \"dog\")",
        ),
    ] {
        assert_eq!(check(&person, &value), Err(expected.to_owned()));
    }
}

#[test]
fn a_hostile_schema_comes_to_an_end_on_a_small_stack() {
    let doubled = json!({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"});
    let negated = json!({"$defs": {"a": {"not": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"});
    let itself = json!({"$ref": "#"});
    let mut deep = json!(1);
    (0..120).for_each(|_| deep = json!([deep]));
    let nested = json!({"items": {"$ref": "#"}});
    let choices = json!({"items": {"enum": (0..2000).collect::<Vec<u32>>()}});
    let many = json!(vec![1999; 2000]);
    let check_all = move || {
        for (schema, value) in
            [(doubled, json!(1)), (negated, json!(1)), (itself, json!(1)), (nested, deep), (choices, many)]
        {
            assert!(check(&schema, &value).is_err(), "{schema}");
        }
    };
    let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(check_all).unwrap();
    thread.join().unwrap();
}

#[test]
fn the_json_in_an_answer_is_found() {
    for (answer, expected) in [
        ("{\"a\": 1}", Some("{\"a\": 1}")),
        ("  [1, 2]\n", Some("[1, 2]")),
        ("\"text\"", Some("\"text\"")),
        ("5", Some("5")),
        ("```json\n{\"a\": 1}\n```", Some("{\"a\": 1}")),
        ("Here it is:\n```\n[1]\n```\nDone.", Some("[1]")),
        ("```sh\nls {}\n```\nthen\n```json\n{\"a\":2}\n```", Some("{\"a\":2}")),
        ("```{\"a\":3}```", Some("{\"a\":3}")),
        ("The answer is {\"a\": {\"b\": [1]}}, as [1] says.", Some("{\"a\": {\"b\": [1]}}")),
        ("See [1] and {x} for {\"a\": \"}\"}!", Some("{\"a\": \"}\"}")),
        ("Cut: {\"a\": [1, 2", None),
        ("{\"code\": \"```\\nx\\n```\"} is it", Some("{\"code\": \"```\\nx\\n```\"}")),
        ("no JSON 5 here", None),
        ("{not json}", None),
        ("", None),
    ] {
        assert_eq!(json_of(answer).map(|(text, _)| text), expected, "{answer}");
    }
    let (text, value) = json_of("x {\"b\":1,\"a\":2} y").unwrap();
    assert_eq!(
        (text, value),
        ("{\"b\":1,\"a\":2}", json!({"a": 2, "b": 1})),
        "the keys as they were written"
    );
}

#[test]
fn a_flood_of_braces_is_given_up() {
    let flood = "{[\"".repeat(1 << 20);
    let started = std::time::Instant::now();
    assert_eq!(json_of(&flood), None);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
