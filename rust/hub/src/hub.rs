//! The public interface: opening a hub, submitting to it, asking it, closing it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use mirai_lanes::{Access, Address, LaneError, Listener, OutOfFiles, RoomFor, check_room, listen};
use mirai_scheduler::{Counts, Memory};
use mirai_wire::Payload;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::callback::guarded;
use crate::cell::Cell;
use crate::closing;
use crate::core::Core;
use crate::handle::TaskHandle;
use crate::options::{BreakTimes, HubOptions};
use crate::reactor::Reactor;
use crate::refusals::{Refusals, Refused};
use crate::setups::ReplayLimit;
use crate::task::SharedPart;
use crate::{
    Death, HubError, JobListener, PresenceListener, ProcessFate, SubmitError, Task,
    UnservedListener, Worker, daemons,
};

/// A listening dispatcher with a thread of its own. Dropping it closes it.
pub struct Hub {
    core: Arc<Core>,
    /// At least one.
    addresses: Vec<Address>,
    refusals: Arc<Refusals>,
    /// Disconnected once nobody listens any more.
    entrances: Mutex<Option<Receiver<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A thread that is held up for so long, by a callback, is not waited for.
const ENTRANCES_CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// What a thread takes to wake up.
const HEAD_START: Duration = Duration::from_millis(1);

/// A handle for other threads to report events to a hub. Does not keep the hub open.
#[derive(Clone)]
pub struct HubHandle(Arc<Core>);

impl HubHandle {
    /// Reports that a launched daemon will not connect, and why. In [`Mode::Single`](crate::Mode::Single) the task that
    /// has waited longest is lost with it; in all modes, threads that wait for daemons are woken.
    pub fn launch_failed(&self, reason: String) {
        self.0.launch_failed(reason);
    }

    /// Whether a daemon of this process id has joined. `true` is returned once: to whoever sees the end of a launched
    /// process and has to know whether it ever connected.
    pub fn take_joined(&self, pid: u32) -> bool {
        self.0.take_joined(pid)
    }

    /// Reports how the process of a launched daemon has ended, for the reason of what is lost with it.
    pub fn note_end(&self, pid: u32, fate: ProcessFate) {
        self.0.note_end(pid, fate);
    }

    /// Has the listener told when a daemon that runs in the job of a scheduler falls silent.
    pub fn listen_to_jobs(&self, listener: JobListener) {
        self.0.listen_to_jobs(listener);
    }

    /// Whether a process that has ended just now may be one of a daemon that the hub has killed, and no other has been taken for
    /// that: each kill is of one.
    pub fn take_kill(&self) -> bool {
        self.0.take_kill()
    }

    /// Reports what a scheduler says of the end of a job, named as in [`Origin`](crate::Origin), for the reason of what is lost with
    /// it. If the job `is_gone` for sure, its daemons that are silent are not waited for.
    pub fn note_job_end(&self, job: &str, fate: ProcessFate, is_gone: bool) {
        self.0.note_job_end(job, fate, is_gone);
    }

    /// Whether a daemon has come that says to run in such a job, named as in [`Origin`](crate::Origin); `None` where that cannot be
    /// known, as if none has told of a job. `is_it` must not call the hub.
    pub fn has_come_by(&self, is_it: &dyn Fn(&str) -> bool) -> Option<bool> {
        self.0.has_come_by(is_it)
    }

    /// Whether a daemon of this process id was refused for want of descriptors; reported once.
    pub fn take_turned_away(&self, pid: u32) -> Option<OutOfFiles> {
        self.0.take_turned_away(pid)
    }

    /// As [`take_joined`](Self::take_joined), but can be asked repeatedly.
    pub fn has_joined(&self, pid: u32) -> bool {
        self.0.has_joined(pid)
    }

    /// Whether the hub is closed, or just closing.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Wakes those who [wait for a change](Hub::wait_change).
    pub fn note_change(&self) {
        self.0.note_change();
    }

    /// No daemon will come any more, for this reason: tasks that wait while none is connected are lost, until
    /// [`expect_daemons`](Self::expect_daemons).
    pub fn give_up(&self, reason: String) {
        self.0.give_up(reason);
    }

    /// Whether that is so.
    pub fn has_given_up(&self) -> bool {
        self.0.given_up().is_some()
    }

    /// When daemons are replaced again where as many were launched as may be for now; `None` when that is over.
    pub fn set_heals_again(&self, at: Option<SystemTime>) {
        self.0.set_heals_again(at);
    }

    /// So many daemons are being started from this process: tasks wait for them until they have come, or
    /// [will not](Self::not_starting).
    pub fn starting(&self, count: u64) {
        self.0.note_starting(count);
    }

    /// So many of these will not come.
    pub fn not_starting(&self, count: u64) {
        self.0.note_not_starting(count);
    }

    /// Others were asked for so many daemons, which this process will not know from any other ones: tasks wait for them until as many
    /// have come, or [will not](Self::not_expected).
    pub fn expected(&self, count: u64) {
        self.0.note_expected(count);
    }

    /// So many of these will not come.
    pub fn not_expected(&self, count: u64) {
        self.0.note_not_expected(count);
    }

    /// Daemons are launched, so that tasks may wait for them.
    pub fn expect_daemons(&self) {
        self.0.expect_daemons();
    }

    /// Keeps what is [evaluated everywhere](Hub::everywhere_kept) for daemons that take the place of others.
    pub fn keep_for_replacements(&self, limit: ReplayLimit) {
        self.0.keep_for_replacements(limit);
    }

    /// The next so many daemons that join take the place of others, whoever has launched them. Others say so themselves, by
    /// [`launcher_of_replacements`](crate::launcher_of_replacements).
    pub fn expect_replacements(&self, count: u64) {
        self.0.expect_replacements(count);
    }

    /// So many of these will not come.
    pub fn expect_fewer_replacements(&self, count: u64) {
        self.0.expect_fewer_replacements(count);
    }

    /// Has the [listener](Hub::listen) told once when tasks wait, at once if they do.
    pub fn tell_when_waiting(&self) {
        self.0.tell_when_waiting();
    }

    /// As [`Hub::counts`].
    pub fn counts(&self) -> Counts {
        self.0.counts()
    }
}

impl Hub {
    /// Listens, and starts the hub's thread. The thread inherits the caller's signal mask: a caller with signal handlers
    /// of its own blocks all signals around this call.
    ///
    /// # Errors
    /// [`HubError`], when listening fails, files have run out, or no thread can be started.
    pub fn open(options: HubOptions) -> Result<Hub, HubError> {
        let HubOptions {
            address,
            also,
            access,
            launcher,
            mode,
            capacity,
            welcome,
            grace,
            silence,
            kill_after,
            memory_return,
            unserved,
        } = options;
        closing::or_after_those(|| check_room(RoomFor::Hub))?;
        let reactor = Arc::new(Reactor::new().map_err(HubError::Thread)?);
        let core = Arc::new(Core::new(
            launcher,
            mode,
            capacity,
            welcome,
            BreakTimes {
                grace,
                silence,
                kill_after,
            },
            memory_return,
            Arc::downgrade(&reactor),
        ));
        let refusals = Arc::new(Refusals::default());
        let (entrances_open, entrances) = channel();
        let (addresses, work) = {
            let _inside = reactor.enter();
            let listeners = closing::or_after_those(|| listen_at(&address, &also, &access))?;
            let addresses = listeners.iter().map(|listener| listener.address().clone());
            (
                addresses.collect(),
                tokio::spawn(work(
                    Arc::clone(&core),
                    listeners,
                    Arc::clone(&refusals),
                    unserved,
                    entrances_open,
                )),
            )
        };
        let thread = std::thread::Builder::new()
            .name("mirai-hub".to_owned())
            .spawn(move || reactor.run_hub_thread(work))
            .map_err(HubError::Thread)?;
        Ok(Hub {
            core,
            addresses,
            refusals,
            entrances: Mutex::new(Some(entrances)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Where the hub listens.
    pub fn address(&self) -> &Address {
        &self.addresses[0]
    }

    /// Where the hub listens, [`address`](Self::address) first, then those of [`HubOptions::also`].
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Submits a task. Never blocks: what does not fit the socket of a free daemon now is written later.
    ///
    /// # Errors
    /// [`SubmitError::Full`] gives the task back; [`SubmitError::Closed`].
    pub fn submit(&self, task: Task) -> Result<TaskHandle, SubmitError> {
        self.core.submit(task).map(|cell| self.task(cell))
    }

    /// Submits tasks from the front in one step, until there is none left or the queue is at its capacity, and adds their
    /// handles to `submitted`. Never blocks.
    ///
    /// # Errors
    /// [`SubmitError::Closed`], with all tasks left where they are.
    pub fn submit_many(
        &self,
        tasks: &mut VecDeque<Task>,
        submitted: &mut Vec<TaskHandle>,
    ) -> Result<(), SubmitError> {
        submitted.reserve(tasks.len());
        (self.core).submit_many(tasks, |cell| submitted.push(self.task(cell)))
    }

    /// Submits one evaluation for each connected daemon, at least `min` of them, which later tasks wait for.
    ///
    /// # Errors
    /// [`SubmitError::TooMany`] for more than [`MAX_EVALUATIONS`](crate::MAX_EVALUATIONS); [`SubmitError::Closed`].
    pub fn everywhere(&self, task: Task, min: u32) -> Result<Vec<TaskHandle>, SubmitError> {
        let cells = self.core.everywhere(task, Some(min), false)?;
        Ok(cells.into_iter().map(|cell| self.task(cell)).collect())
    }

    /// The same, and where that [is asked for](HubHandle::keep_for_replacements) daemons that take the place of others do it, too,
    /// before their first task.
    ///
    /// # Errors
    /// As above.
    pub fn everywhere_kept(&self, task: Task, min: u32) -> Result<Vec<TaskHandle>, SubmitError> {
        let cells = self.core.everywhere(task, Some(min), true)?;
        Ok(cells.into_iter().map(|cell| self.task(cell)).collect())
    }

    /// Submits one evaluation for each connected daemon, as [`everywhere`](Self::everywhere) does, and has each daemon
    /// that joins from now on do the same before its first task. The result is shown by [`Worker::is_set_up`]; the
    /// task's timeout does not apply to it.
    ///
    /// # Errors
    /// [`SubmitError::Closed`].
    pub fn set_up(&self, task: Task) -> Result<Vec<TaskHandle>, SubmitError> {
        let cells = self.core.everywhere(task, None, false)?;
        Ok(cells.into_iter().map(|cell| self.task(cell)).collect())
    }

    /// The handle to a task of this hub.
    fn task(&self, cell: Arc<Cell>) -> TaskHandle {
        TaskHandle {
            cell,
            core: Arc::downgrade(&self.core),
        }
    }

    /// Whether a task is one of this hub's.
    pub fn has(&self, task: &TaskHandle) -> bool {
        std::ptr::eq(task.core.as_ptr(), Arc::as_ptr(&self.core))
    }

    /// Makes a part that many tasks can refer to.
    pub fn share(&self, bytes: impl Into<Payload>) -> SharedPart {
        self.core.share(bytes.into())
    }

    /// Waits until the queue is below its capacity, at most for `slice`; returns whether it is (or the hub has closed).
    pub fn wait_admission(&self, slice: Duration) -> bool {
        self.core.wait_admission(slice)
    }

    /// Waits until daemons have joined or left, or a launch has failed, since the call that returned `seen` (0 at
    /// first), at most for `slice`.
    pub fn wait_change(&self, seen: u64, slice: Duration) -> u64 {
        self.core.wait_change(seen, slice)
    }

    /// Numbers of daemons and tasks.
    pub fn counts(&self) -> Counts {
        self.core.counts()
    }

    /// Number of daemons that are being started, from this process or by others that it has asked.
    pub fn starting(&self) -> u64 {
        self.core.starting()
    }

    /// Bytes of queued tasks.
    pub fn memory(&self) -> Memory {
        self.core.memory()
    }

    /// Why no daemon will come any more, where that was [said](HubHandle::give_up).
    pub fn given_up(&self) -> Option<String> {
        self.core.given_up()
    }

    /// Peers that have been turned away.
    pub fn refused(&self) -> Refused {
        self.refusals.so_far()
    }

    /// Whether the daemon of this number is connected.
    pub fn has_worker(&self, id: u32) -> bool {
        self.core.has_worker(id)
    }

    /// Kills the daemon that works on the task of this number although nobody waits for it any more, as
    /// [`TaskHandle::cancel_by_force`] does. Returns whether there is such a daemon.
    pub fn force(&self, task: u64) -> bool {
        self.core.force(task)
    }

    /// Tells the daemon of this number to leave and ends its connections. Does nothing if it is not connected.
    pub fn dismiss(&self, id: u32) {
        self.core.dismiss(id);
    }

    /// The connected daemons, in the order in which they joined.
    pub fn workers(&self) -> Vec<Worker> {
        self.core.workers()
    }

    /// Has the listener told of daemons that come and go from now on, until the hub is closed. It takes the place of an
    /// earlier one. The counts of that moment: what it is told of has not happened in these, and all later changes are told.
    pub fn listen(&self, listener: PresenceListener) -> Counts {
        self.core.listen(listener)
    }

    /// When daemons are replaced again, if they [are not now](HubHandle::set_heals_again).
    pub fn heals_again(&self) -> Option<SystemTime> {
        self.core.heals_again()
    }

    /// Whether daemons are on their way that [take the place of others](HubHandle::expect_replacements).
    pub fn expects_replacements(&self) -> bool {
        self.core.expects_replacements()
    }

    /// The last hundred daemons that have gone without being told to, and without a goodbye.
    pub fn deaths(&self) -> Vec<Death> {
        self.core.deaths()
    }

    /// A handle by which other threads report to the hub.
    pub fn handle(&self) -> HubHandle {
        HubHandle(Arc::clone(&self.core))
    }

    /// Resolves all open tasks as reset and ends all connections. With `exit`, daemons are told to leave first, also
    /// those that would stay to wait for another hub. Waits for the end of the hub's thread, except in a callback of
    /// this hub, which would wait for itself.
    pub fn close(&self, exit: bool) {
        self.core.close(exit, false);
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && !self.core.is_run_here()
        {
            let _ = thread.join();
        }
    }

    /// The same, but the hub's thread is waited for only until nobody listens at the addresses any more: it ends the connections of
    /// daemons later. Who runs short of descriptors meanwhile waits until it has.
    pub fn close_soon(&self, exit: bool) {
        let thread = self.thread.lock().take();
        let is_at_work = thread.as_ref().is_some_and(|thread| !thread.is_finished());
        self.core.close(exit, is_at_work);
        if let Some(thread) = thread {
            let entrances = self.entrances.lock().take();
            if let Some(entrances) = entrances
                && !self.core.is_run_here()
            {
                let _ = entrances.recv_timeout(ENTRANCES_CLOSE_WITHIN);
            }
            closing::note(thread);
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.close(false);
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// Who may connect matters where that is a network: elsewhere the lane knows.
fn listen_at(
    address: &Address,
    also: &[Address],
    access: &Access,
) -> Result<Vec<Listener>, LaneError> {
    let listen_at = |address: &Address| match address {
        Address::Network(_) => listen(address, access),
        _ if also.is_empty() => listen(address, access),
        _ => listen(address, &Access::default()),
    };
    std::iter::once(address)
        .chain(also)
        .map(listen_at)
        .collect()
}

/// What the reactor runs until the hub is closed.
async fn work(
    core: Arc<Core>,
    listeners: Vec<Listener>,
    refusals: Arc<Refusals>,
    unserved: Option<UnservedListener>,
    entrances_open: Sender<()>,
) {
    let stopped = Arc::clone(&core);
    let mut entrances = JoinSet::new();
    for listener in listeners {
        entrances.spawn(daemons::accept_all(
            Arc::clone(&core),
            listener,
            Arc::clone(&refusals),
        ));
    }
    tokio::select! {
        () = stopped.stop.notified() => {}
        _ = entrances.join_next() => {}
        () = fire_timers(&core) => {}
        () = tell_of_unserved(&core, unserved) => {}
    }
    entrances.shutdown().await;
    drop(entrances_open);
    // Who waits for that goes on first: each connection that ends wakes a process, which may take the processor.
    tokio::time::sleep(HEAD_START).await;
    core.end_leaving();
}

async fn fire_timers(core: &Core) {
    loop {
        core.timer.due().await;
        core.timer_fired();
    }
}

async fn tell_of_unserved(core: &Core, listener: Option<UnservedListener>) {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        core.unserved_begins.notified().await;
        while let Some(due) = core.unserved_due(listener.patience) {
            tokio::time::sleep_until(due.into()).await;
            if let Some(unserved) = core.take_unserved(&listener) {
                let _ = guarded("the listener to waiting tasks", || {
                    (listener.tell)(unserved)
                });
            }
        }
    }
}
