//! The host's networks as pictures, drawn by the real daemon for the real command line.

use crate::cli::{fairway, printed};
use crate::harness::{HOST, LAN, Stage};

/// Two networks, one of them internal, and a sandbox on both.
fn town(lab: &fairway_lab::Lab) -> (Stage, Vec<crate::harness::Sandbox>) {
    let stage = Stage::new(lab, &[]);
    stage.network("app");
    stage.create_network("back", |it| it.internal = true).unwrap();
    let sandboxes = vec![
        stage.sandbox("web", &["app"], &["8080:80"]),
        stage.sandbox("api", &["app", "back"], &[]),
        stage.sandbox("db", &["back"], &[]),
        stage.sandbox("job", &["bridge"], &[]),
    ];
    (stage, sandboxes)
}

#[test]
fn everything_on_the_host_is_in_the_picture() {
    fairway_lab::run(|lab| {
        let (stage, sandboxes) = town(lab);
        for format in ["svg", "dot", "mermaid"] {
            let drawn = printed(&stage, &format!("graph --format {format}"));
            let mut wanted: Vec<String> =
                ["eth0", HOST, "router", LAN, "app", "back", "internal", "web", "api", "db", "job"]
                    .map(str::to_owned)
                    .into();
            wanted.push(sandboxes[0].address("app").to_string());
            wanted.push(sandboxes[1].address("back").to_string());
            wanted.push("8080 → 80/tcp".to_owned());
            for word in wanted {
                assert!(drawn.contains(&word), "{format}: {word} is not there\n{drawn}");
            }
        }
        assert!(printed(&stage, "graph").starts_with("<svg "), "what is no terminal gets an SVG");
    });
}

#[test]
fn one_network_is_drawn_alone() {
    fairway_lab::run(|lab| {
        let (stage, _sandboxes) = town(lab);
        let drawn = printed(&stage, "graph --network back --format svg");
        assert!(drawn.contains(">db<") && drawn.contains(">api<"), "{drawn}");
        assert!(!drawn.contains(">web<") && !drawn.contains(">job<"), "{drawn}");
        let both = printed(&stage, "graph --network back --network app --format svg");
        assert!(both.contains(">web<") && !both.contains(">job<"), "{both}");
        let refused = fairway(&stage, "graph --network nowhere");
        assert_eq!((refused.code, refused.output.as_str()), (1, ""));
        assert!(refused.errors.contains("network nowhere not found"), "{}", refused.errors);
    });
}

#[test]
fn many_sandboxes_are_drawn_as_one_box_unless_all_are_wanted() {
    fairway_lab::run(|lab| {
        let (stage, _sandboxes) = town(lab);
        let _many: Vec<_> =
            (1..=12).map(|number| stage.sandbox(&format!("worker-{number}"), &["app"], &[])).collect();
        for format in ["svg", "dot", "mermaid"] {
            let drawn = printed(&stage, &format!("graph --format {format}"));
            assert!(drawn.contains("13 sandboxes") && drawn.contains("web"), "{format}: {drawn}");
            let whole = printed(&stage, &format!("graph --expand --format {format}"));
            assert!(!whole.contains("13 sandboxes") && whole.contains("worker-12"), "{format}: {whole}");
            let small = printed(&stage, &format!("graph --collapse --network back --format {format}"));
            assert!(small.contains("2 sandboxes"), "{format}: {small}");
        }
        let way = printed(&stage, "graph --path worker-3 worker-5:80");
        assert!(way.contains(">worker-3<") && way.contains(">worker-5<"), "{way}");
        assert!(way.contains("11 sandboxes") && !way.contains(">worker-4<"), "{way}");
        let all = printed(&stage, "graph --format json");
        assert!(all.contains("worker-12") && !all.contains("Collapsed"), "{all}");
    });
}

#[test]
fn the_traffic_of_networks_is_in_the_picture() {
    fairway_lab::run(|lab| {
        let (stage, sandboxes) = town(lab);
        let web = &sandboxes[0];
        let _server = fairway_lab::serve_tcp(web, "0.0.0.0:80").unwrap();
        let target = format!("{}:80", web.address("app"));
        fairway_lab::ask(&stage.host, &target).unwrap();
        let picture: serde_json::Value =
            serde_json::from_str(&printed(&stage, "graph --network app --format json")).unwrap();
        let traffic = &picture["Networks"][0]["Traffic"];
        assert!(traffic["BytesIn"].as_u64() > Some(0) && traffic["BytesOut"].as_u64() > Some(0), "{picture}");
        for format in ["svg", "dot", "mermaid"] {
            let drawn = printed(&stage, &format!("graph --network app --format {format}"));
            assert!(drawn.contains(" out "), "{format}: {drawn}");
        }
    });
}

#[test]
fn a_packet_s_way_is_drawn_as_it_is_explained() {
    fairway_lab::run(|lab| {
        let (stage, sandboxes) = town(lab);
        let web = sandboxes[0].address("app");
        let _server = fairway_lab::serve_tcp(&sandboxes[0], "0.0.0.0:80").unwrap();
        let dropped = printed(&stage, "graph --path job web:80 --format svg");
        assert!(dropped.contains("job asks web:80"), "{dropped}");
        assert!(dropped.contains(r#"class="badge lost""#) && dropped.contains("not published"), "{dropped}");
        assert!(dropped.contains("What would help: fairway network connect app job"), "{dropped}");
        let published = printed(&stage, &format!("graph --path lan {HOST}:8080 --format svg"));
        for wanted in [
            "It is answered; the server sees 10.10.50.1.".to_owned(),
            r#"class="badge delivered""#.to_owned(),
            r#"class="badge rewritten""#.to_owned(),
            format!("translate: destination {HOST}:8080 -&gt; {web}:80"),
        ] {
            assert!(published.contains(&wanted), "{wanted} is not there\n{published}");
        }
        let out = printed(&stage, "graph --path web lan:8080 --format dot");
        assert!(out.contains("leaves") && out.contains("beyond0"), "{out}");
        let missing = fairway(&stage, "graph --path web missing:80");
        assert_eq!((missing.code, missing.output.as_str()), (1, ""));
        assert!(missing.errors.contains(r#"cannot find "missing": no such container"#), "{}", missing.errors);
    });
}

#[test]
fn a_file_s_name_says_how_it_is_drawn() {
    fairway_lab::run(|lab| {
        let (stage, _sandboxes) = town(lab);
        let directory = fairway_lab::SCRATCH;
        let begins: [(&str, &[u8]); 6] = [
            ("svg", b"<svg "),
            ("png", b"\x89PNG"),
            ("pdf", b"%PDF-"),
            ("dot", b"digraph "),
            ("gv", b"digraph "),
            ("mmd", b"%%{init"),
        ];
        for (ending, beginning) in begins {
            let path = format!("{directory}/picture.{ending}");
            assert_eq!(printed(&stage, &format!("graph -o {path}")), "");
            let drawn = stage.host.run_in(|| std::fs::read(&path)).unwrap().unwrap();
            assert!(drawn.starts_with(beginning), "{ending}: {drawn:?}");
        }
        let refused = fairway(&stage, &format!("graph -o {directory}/picture.jpeg"));
        assert_eq!(refused.code, 1);
        assert!(
            refused.errors.contains("use .svg, .png, .pdf, .dot or .mmd, or --format"),
            "{}",
            refused.errors
        );
        let unwritten = fairway(&stage, "graph -o /nowhere/picture.svg");
        assert_eq!(unwritten.code, 1);
        assert!(unwritten.errors.contains("cannot write /nowhere/picture.svg"), "{}", unwritten.errors);
    });
}
