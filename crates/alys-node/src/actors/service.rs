//! A task of another crate under supervision: its end is an event of the tree, and it is told when to stop.

use alys_actor::{Actor, CancellationToken, Child, Context, Message, RestartPolicy};
use futures::future::BoxFuture;
use std::error::Error;

use super::HandOver;

/// What a task gives when it ends.
pub type ServiceEnd = Result<(), Box<dyn Error + Send + Sync>>;

type Task = Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, ServiceEnd> + Send>;

/// The task has ended.
#[derive(Debug)]
pub struct Ended(ServiceEnd);

impl Message for Ended {
    fn kind(&self) -> &'static str {
        "ended"
    }
}

/// Why a service ends its actor.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// It failed.
    #[error("{0}")]
    Failed(Box<dyn Error + Send + Sync>),
    /// It ended although nobody told it to.
    #[error("ended by itself")]
    Ended,
    /// It can't be started twice: what it owned is gone.
    #[error("can't be started again")]
    Spent,
}

/// Runs one task.
pub struct ServiceActor {
    name: &'static str,
    task: Option<Task>,
}

/// A child that runs `task` once; the node can't go on without it, so its failure ends the node in order.
pub fn service<F>(name: &'static str, task: impl FnOnce(CancellationToken) -> F + Send + 'static) -> Child<ServiceActor>
where
    F: Future<Output = ServiceEnd> + Send + 'static,
{
    let task: Task = Box::new(move |token| Box::pin(task(token)));
    let task = HandOver::new(task);
    Child::new(name, move || ServiceActor { name, task: task.take() }).restart(RestartPolicy::Temporary).critical()
}

impl Actor for ServiceActor {
    type Message = Ended;
    type Error = ServiceError;

    async fn started(&mut self, ctx: &mut Context<Ended>) -> Result<(), ServiceError> {
        let task = self.task.take().ok_or(ServiceError::Spent)?;
        let work = task(ctx.token());
        ctx.spawn(self.name, async move { Ended(work.await) });
        Ok(())
    }

    async fn handle(&mut self, Ended(result): Ended, ctx: &mut Context<Ended>) -> Result<(), ServiceError> {
        match result {
            Err(error) => Err(ServiceError::Failed(error)),
            Ok(()) if ctx.token().is_cancelled() => Ok(()),
            Ok(()) => Err(ServiceError::Ended),
        }
    }
}
