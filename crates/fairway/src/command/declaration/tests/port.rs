use super::*;

#[test]
fn a_port_that_stays_is_published_all_the_time() {
    let mut present = fresh(Vec::new());
    let file = |ports: &str| format!("sandboxes: {{web: {{networks: [], ports: [{ports}]}}}}");
    apply(&mut present, &file("'8081:90', '8181:90', '127.0.0.1::91', '10.0.0.1:9191:91'"), false);
    insta::assert_snapshot!(apply(&mut present, &file("'8081:90', '10.0.0.1:9191:91'"), false), @"
    change sandbox web: unpublish 8181:90/tcp, 127.0.0.1::91/tcp
    ");
    // Without a host port, any is unpublished.
    apply(&mut present, &file("'8081:90', '90', '127.0.0.1:8181:90'"), false);
    insta::assert_snapshot!(apply(&mut present, &file("'8081:90', '127.0.0.1:8181:90'"), false), @"
    change sandbox web: unpublish 90/tcp, 8081:90/tcp, 127.0.0.1:8181:90/tcp
    change sandbox web: publish 8081:90/tcp, 127.0.0.1:8181:90/tcp
    ");
    assert_eq!(apply(&mut present, &file("'8081:90', '127.0.0.1:8181:90'"), false), "");
}
