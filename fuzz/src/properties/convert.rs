//! Files of rules of any bytes, translated: what is written is right by itself, says the same the second time, and is of no
//! older dialect than asked for.

use weir::config::{ConvertSettings, ConvertTarget, Converted, convert, validate_rules};

use super::weir_yaml::{document, readable};

/// See the module.
pub fn check(data: &[u8]) {
    let rules = document("rules.yaml", data);
    for target in [ConvertTarget::VirtualService, ConvertTarget::HttpRoute] {
        let settings = ConvertSettings { target, domain: "cluster.local", port: 8500 };
        let written = || convert(std::slice::from_ref(&rules), &settings);
        let Ok(Converted { text, objects, notes }) = written() else {
            assert!(validate_rules(std::slice::from_ref(&rules)).is_err(), "right, and not to be translated");
            continue;
        };
        readable(&notes, &[&rules]);
        assert_eq!(written().map(|again| again.text).ok().as_deref(), Some(&*text), "says two things");
        let again = document("written.yaml", text.as_bytes());
        if objects == 0 {
            assert!(text.is_empty());
            continue;
        }
        match validate_rules(std::slice::from_ref(&again)) {
            Ok((count, _)) => assert_eq!(count, objects, "{text}"),
            Err(found) => panic!("what was written is wrong: {found}\n{text}"),
        }
        let converted = convert(std::slice::from_ref(&again), &settings).map(|third| third.objects);
        assert_eq!(converted.ok(), Some(0), "it is of a newer dialect now");
    }
}
