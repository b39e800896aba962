//! `vgw top`: what passes a gateway just now.

mod frame;
mod screen;
mod show;

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use self::frame::Frame;
pub(super) use self::frame::SortKey;
use self::screen::{Input, Screen};
use super::args::{Global, Output, TopArgs};
use super::output::print_while_read;
use super::target::Agent;
use crate::api::types::Status;

/// Time before the first picture of a live view.
const FIRST: Duration = Duration::from_millis(500);

/// Shows one picture, or one after the other until `q` or a signal.
pub(super) async fn run(global: &Global, args: TopArgs) -> anyhow::Result<()> {
    let agent = Agent::find(global, args.vnet.as_deref()).await?;
    let interval = Duration::from_secs_f64(args.interval);
    let is_live = !args.once && args.format.output == Output::Table && std::io::stdout().is_terminal();
    if is_live && std::io::stdin().is_terminal() {
        return watch(&agent, interval, args.sort).await;
    }
    let mut before = ask(&agent).await?;
    loop {
        tokio::time::sleep(interval).await;
        let now = ask(&agent).await?;
        // An agent that was started again counts from the beginning.
        let Some(frame) = Frame::between(&before, &now, args.sort) else {
            before = now;
            continue;
        };
        before = now;
        let mut text = match args.format.output {
            Output::Table => show::plain(&frame),
            Output::Json => serde_json::to_string(&frame).context("cannot write the answer as JSON")?,
        };
        text.push('\n');
        let is_read = print_while_read(&text)?;
        if args.once || !is_read {
            return Ok(());
        }
    }
}

/// The live view.
async fn watch(agent: &Agent, interval: Duration, mut sort: SortKey) -> anyhow::Result<()> {
    let mut before = ask(agent).await?;
    let mut screen = Screen::open()?;
    let mut next_at = Instant::now() + FIRST.min(interval);
    let mut frame: Option<Frame> = None;
    loop {
        match Screen::wait(next_at)? {
            Input::Quit => return Ok(()),
            Input::Sort(key) => {
                sort = key;
                if let Some(frame) = &mut frame {
                    frame.sort(sort);
                }
            }
            Input::Redraw => {}
            Input::Timeout => {
                let now = ask(agent).await?;
                frame = Frame::between(&before, &now, sort).or(frame);
                before = now;
                next_at = Instant::now() + interval;
            }
        }
        if let Some(frame) = &frame {
            screen.draw(&show::live(frame, sort))?;
        }
    }
}

async fn ask(agent: &Agent) -> anyhow::Result<Status> {
    agent.client.get(&agent.path("status")).await.map_err(|error| agent.explain(error))
}
