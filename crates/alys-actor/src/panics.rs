//! Catching panics with their message and place.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::current;
use crate::error::Panic;

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes the place of panics inside actors, then does what the hook before did.
///
/// The hook of a process is global by its nature; this one keeps no state but that of the panicking thread.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if current::is_scoped() {
                let at = info.location().map(ToString::to_string);
                let _ = LAST.try_with(|l| {
                    if let Ok(mut l) = l.try_borrow_mut() {
                        *l = at;
                    }
                });
            }
            before(info);
        }));
    });
}

/// The panic that was just caught on this thread.
pub(crate) fn describe(payload: &(dyn Any + Send)) -> Panic {
    let message = payload
        .downcast_ref::<&'static str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no text)".to_owned());
    let location = LAST.try_with(|l| l.try_borrow_mut().ok().and_then(|mut l| l.take())).ok().flatten();
    Panic { message, location }
}

/// Runs `f`; a panic in it, or in dropping its payload, goes no further.
pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> Result<R, Panic> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let panic = describe(&*payload);
        // A payload may panic in its own drop.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(payload)));
        panic
    })
}
