//! The sockets that rule, of the daemon and of the relay: no sandbox commands by them, wherever they are, and no other
//! user can put something in their place.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use fairway_lab::SCRATCH;

use crate::cli::{fairway, printed, stay};
use crate::harness::Stage;

/// Sends each of the relay's messages to the socket that its argument names, and prints the answers. A socket that
/// cannot be connected to, since it is covered, answers nothing.
const ASK_RELAY: &str = r#"
use Socket;
for my $message ('"Hello"', '{"Describe":{"sockets":true}}', '{"HandOver":{"limit":1}}') {
    socket(my $relay, AF_UNIX, SOCK_SEQPACKET, 0) or die "socket: $!";
    connect($relay, pack_sockaddr_un($ARGV[0])) or next;
    send($relay, $message, MSG_NOSIGNAL);
    recv($relay, my $answer, 1024, 0);
    print "answered $answer\n" if length $answer;
}
print "asked\n";
"#;

/// The ways to be in the host's network namespace, with the fewest and with the most rights short of mounting.
const WAYS: [(&str, &str); 2] =
    [("bare", "--cap-drop ALL"), ("able", "--cap-add ALL --cap-drop SYS_ADMIN --cap-drop SYS_MODULE")];

#[test]
fn no_sandbox_commands_the_daemon_or_the_relay() {
    fairway_lab::run(|lab| {
        // Neither the socket of the daemon nor that of the relay is where it is by default.
        let exec_root = format!("{SCRATCH}/own");
        let flags = ["--exec-root", &exec_root];
        let mut stage = Stage::new(lab, &flags);
        printed(&stage, "network create app");
        for (name, rights) in WAYS {
            stay(&stage, &format!("--name {name} --network host {rights}"));
        }
        stay(&stage, "--name web --network app -p 8080:80");
        let relay = format!("{exec_root}/relay.sock");
        let script = format!("{SCRATCH}/ask-relay");
        fs::write(&script, ASK_RELAY).unwrap();
        let before = printed(&stage, "ps -a -q");
        for round in ["first", "second"] {
            for name in ["bare", "able", "web"] {
                let own = env!("CARGO_BIN_EXE_fairway");
                let asked =
                    fairway(&stage, &format!("exec {name} {own} -H {} rm -f web", stage.daemon.address()));
                assert_ne!(asked.code, 0, "{name}, {round}: {asked:?}");
                let words = &asked.errors;
                let seen = words.contains(&format!("from inside sandbox {name}"));
                // Covered until the daemon makes it anew.
                assert!(seen || words.contains("annot connect"), "{name}, {round}: {asked:?}");
                assert!(seen || round == "first", "the socket is to be seen: {asked:?}");
                let asked = fairway(&stage, &format!("exec {name} perl {script} {relay}"));
                assert_eq!(asked.output, "asked\n", "{name}, {round}: {asked:?}");
            }
            stage.daemon.restart(&flags);
        }
        assert_eq!(printed(&stage, "ps -a -q"), before);
        assert!(!stage.daemon.log().contains("found none to adopt"), "{}", stage.daemon.log());
    });
}

#[test]
fn a_directory_that_others_may_change_is_refused_by_name() {
    fairway_lab::run(|lab| {
        let mut stage = Stage::before_daemon(lab);
        let shared = format!("{SCRATCH}/shared");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, Permissions::from_mode(0o777)).unwrap();
        let inner = format!("{shared}/inner");
        for root in [&shared, &inner] {
            for flag in ["--data-root", "--exec-root"] {
                stage.daemon.launch(&[flag, root]);
                let status = stage.daemon.wait_until_ended();
                assert!(status.is_some_and(|status| !status.success()), "{flag} {root}");
                let wanted = format!("other users may write to {shared} (mode 777)");
                assert!(
                    stage.daemon.log().lines().last().unwrap_or_default().contains(&wanted),
                    "{flag} {root}"
                );
            }
        }
        assert!(!fs::exists(&inner).unwrap(), "it was made");
        fs::set_permissions(&shared, Permissions::from_mode(0o755)).unwrap();
        stage.daemon.launch(&["--data-root", &inner]);
        stage.daemon.wait_until_ready();
    });
}
