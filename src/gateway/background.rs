//! Threads for what may wait: reading what was kept, translating, delivering. They run at a lower priority than
//! the threads that take frames and answer them, so a busy processor delays the desk and the delivery, never a
//! sender; what the senders leave, and at least a tenth of the processor, is theirs.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// Added to the niceness of the process (setpriority(2)): about a tenth of the weight of the others.
const NICER: i32 = 10;

/// The runtime of the background tasks; its threads end with it.
pub(super) struct Background(Option<Runtime>);

impl Background {
    pub(super) fn start() -> std::io::Result<Self> {
        // New threads inherit the niceness of the one that starts them: the aim is told, not the step.
        let nice = rustix::process::getpriority_process(None).unwrap_or(0).saturating_add(NICER);
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("background")
            .on_thread_start(move || step_back(nice))
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Runs `task` there, under the supervision of `tasks`.
    pub(super) fn spawn(&self, tasks: &mut JoinSet<()>, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.0 {
            tasks.spawn_on(task, runtime.handle());
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Dropped from a task, where waiting for threads is not allowed.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Between two pieces of work of some ten microseconds: Linux since 6.6 lets a thread of any niceness run its slice of
/// milliseconds to the end before one that woke up, unless it steps aside by itself.
pub(super) fn let_senders_pass() {
    std::thread::yield_now();
}

/// Lowers the priority of the calling thread; on Linux niceness belongs to threads.
fn step_back(nice: i32) {
    if let Err(error) = rustix::process::setpriority_process(None, nice) {
        tracing::debug!(%error, "A background thread runs at the usual priority.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn background_threads_step_back_and_others_do_not() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let (mut tasks, background) = (JoinSet::new(), Background::start().unwrap());
        let (tell, told) = tokio::sync::oneshot::channel();
        background.spawn(&mut tasks, async move {
            let blocking = tokio::task::spawn_blocking(nice).await.unwrap();
            tell.send((nice(), blocking)).unwrap();
        });
        let lower = (before + NICER).min(19);
        assert_eq!(told.await.unwrap(), (lower, lower));
        assert_eq!(nice(), before);
    }
}
