use super::*;

fn refused(text: &str) -> String {
    let refusals = Declaration::new(text::read(text, HashMap::new()).unwrap(), "").unwrap_err();
    refusals.iter().map(Refusal::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_project_has_a_default_network() {
    let text = "
name: shop
services: {cron: {networks: [default, px]}}
networks: {px: }
";
    let mut present = fresh(vec![run("cron")]);
    insta::assert_snapshot!(apply(&mut present, text, false), @"
    change sandbox cron: disconnect from network bridge, which is not declared
    create network shop_default: it does not exist
    create network shop_px: it does not exist
    change sandbox cron: connect to network shop_default
    change sandbox cron: connect to network shop_px
    ");
    assert_eq!(apply(&mut present, text, true), "");
    let own = "services: {cron: {networks: [default]}}\nnetworks: {default: {name: own}}";
    assert_eq!(declared(own).networks[0].name, "own");
    assert_eq!(declared("name: shop\nservices: {cron: {}}").networks, []);
    let reason = "cannot declare network default: it needs the name of a project: add name: NAME to the file";
    assert_eq!(refused("sandboxes: {web: {networks: [default]}}"), reason);
    assert_eq!(refused("networks: {default: {internal: true}}"), reason);
}

#[test]
fn a_missing_variable_is_called_so() {
    let refused = text::read("name: ${PORT:?no port}", HashMap::new()).unwrap_err().to_string();
    assert!(refused.contains("missing variable `PORT`: no port"), "{refused}");
    let empty = HashMap::from([("PORT".to_owned(), String::new())]);
    let refused = text::read("name: ${PORT:?}", empty).unwrap_err().to_string();
    assert!(refused.contains("empty variable `PORT`"), "{refused}");
}

#[test]
fn an_external_network_has_its_name_in_the_older_form_too() {
    let older = "networks: {old: {external: {name: app1}}}\nservices: {cron: {networks: [old]}}";
    let newer = "networks: {old: {external: true, name: app1}}\nservices: {cron: {networks: [old]}}";
    assert_eq!(declared(older), declared(newer));
    assert_eq!(declared(older).external, ["app1"]);
    for value in ["maybe", "{nam: app1}", "{name: app1, id: 1}"] {
        let error =
            text::read(&format!("networks: {{old: {{external: {value}}}}}"), HashMap::new()).unwrap_err();
        let expected = "true, false, or a mapping with name alone";
        assert!(error.to_string().contains(expected), "{error}");
    }
}
