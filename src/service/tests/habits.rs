//! What is usual of requests, from one service to the next on the same state folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::*;

/// Tokens of each answer.
const ANSWER: usize = 3;

/// Models `a` and `b`, and a service after another.
struct Life {
    dir: TempDir,
    config: Config,
}

impl Life {
    fn new() -> Life {
        let dir = tempfile::tempdir().unwrap();
        let config = models(dir.path());
        Life { dir, config }
    }

    fn run(&self) -> Stage {
        let (tx, lanes) = channel();
        let puppets = Puppets { started: Some(tx), ..Puppets::default() };
        let service = Service::start(self.config.clone(), Box::new(puppets)).unwrap();
        Stage { handle: service.handle(), lanes, service: Some(service), _dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> std::path::PathBuf {
        self.config.paths.state.join("habits.json")
    }

    fn kept(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file()).unwrap()).unwrap()
    }
}

/// Some requests one after another, each with an answer of a few tokens.
fn live(stage: &Stage, requests: usize) {
    let mut lane = None;
    for _ in 0..requests {
        let (id, updates) = stage.ask("a");
        let lane = lane.get_or_insert_with(|| {
            let lane = stage.lane();
            lane.ready();
            lane
        });
        loop {
            match lane.hear() {
                ToLane::Start(job) if job.id == id => break,
                ToLane::Start(_) | ToLane::Quit => panic!("not expected"),
                _ => {}
            }
        }
        let step = |prefill, decode, context| {
            let part = StepPart { id, prefill, decode, context };
            lane.say(FromLane::Step(Step { us: 100_000, parts: vec![part], ..Step::default() }));
        };
        step(10, 0, 10);
        (0..ANSWER).for_each(|n| step(0, 1, 11 + n as u32));
        let usage = Usage { prompt_tokens: 10, completion_tokens: ANSWER as u32, ..Usage::default() };
        lane.say(FromLane::Done { id, result: Ok(Finish::Stop), usage });
        end(&updates).unwrap();
    }
}

/// Tokens that an answer to this peer is thought to have.
fn foretold(stage: &Stage, peer: Peer) -> u32 {
    let (tx, rx) = channel();
    stage.handle.estimate(peer, plain("a"), Box::new(move |r| drop(tx.send(r))));
    rx.recv_timeout(PATIENCE).expect("an answer").unwrap().tokens.answer
}

const SOMEBODY: Peer = Peer { uid: 7, admin: false, ..ROOT };

#[test]
fn a_service_that_begins_knows_what_is_usual() {
    let life = Life::new();
    let mut first = life.run();
    let nothing = foretold(&first, ROOT);
    assert!(nothing > 10 * ANSWER as u32, "{nothing}");
    live(&first, 10);
    let known = foretold(&first, ROOT);
    assert!(known < nothing / 3, "{known} of {nothing}");
    first.end();
    assert_eq!(fs::metadata(life.file()).unwrap().permissions().mode() & 0o777, 0o600);

    let mut second = life.run();
    assert_eq!((foretold(&second, ROOT), foretold(&second, SOMEBODY)), (known, nothing));
    live(&second, 2);
    second.end();
    let kept = life.kept();
    let habits = &kept["habits"];
    assert_eq!((kept["format"].as_u64(), &habits["clients"][0]["client"]), (Some(1), &"user:0".into()));
    let answers = habits["clients"][0]["answers"].as_array().unwrap();
    assert_eq!((answers.len(), answers[0][0].as_u64()), (12, Some(ANSWER as u64)));
    // The time between both runs is no gap.
    assert_eq!(habits["variants"][0]["gaps"].as_array().unwrap().len(), 9 + 1);
    // A run in which nothing happens changes nothing.
    life.run().end();
    assert_eq!(life.kept(), kept);
}

#[test]
fn what_a_lane_would_have_saved_is_told_with_its_profile_only() {
    let life = Life::new();
    let savings = |n: usize| {
        let mut stage = life.run();
        live(&stage, n);
        stage.end();
        let kept = life.kept();
        let site = kept["habits"]["sites"][0].clone();
        let file = site["site"].as_str().unwrap().to_owned();
        assert!(life.config.paths.state.join("profiles").join(&file).exists(), "{site}");
        (file, site["savings"].as_array().unwrap().len())
    };
    let (file, first) = savings(3);
    let (again, second) = savings(3);
    assert!(again == file && second == first + 3, "{first} {second}");
    // Without its profile what it saved is nobody's.
    fs::remove_dir_all(life.config.paths.state.join("profiles")).unwrap();
    assert_eq!(savings(3), (file, first));
}

#[test]
fn a_file_that_cannot_be_used_hinders_nobody() {
    for bad in ["", "{", "{\"format\":99}", "{\"format\":1,\"saved\":0,\"hardware\":\"\",\"habits\":{}}"] {
        let life = Life::new();
        fs::create_dir_all(&life.config.paths.state).unwrap();
        fs::write(life.file(), bad).unwrap();
        let mut stage = life.run();
        live(&stage, 1);
        stage.end();
        assert_eq!(life.kept()["habits"]["clients"][0]["answers"].as_array().unwrap().len(), 1, "{bad}");
    }
}

#[test]
fn a_folder_that_takes_nothing_costs_what_was_learnt() {
    let mut life = Life::new();
    let way = life.dir.path().join("in the way");
    fs::write(&way, "").unwrap();
    life.config.paths.state = way.join("state");
    for _ in 0..2 {
        let mut stage = life.run();
        let nothing = foretold(&stage, ROOT);
        live(&stage, 9);
        assert!(foretold(&stage, ROOT) < nothing / 3);
        stage.end();
    }
    assert!(!life.file().exists());
}
