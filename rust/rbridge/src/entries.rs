//! The list of what R can call, as `.Call(wrap__<name>, …)`: arguments as named here, documented at each function.

use crate::{
    absent, access, collecting, cookie, daemon, errands, evaluating, flags, healing, http, hub,
    launch, map, part, probe, promises, pure, rapi, rng, session, shadows, status, tasks,
};

rapi::entries! {
    hub::hub_open => hub_open(
        url, mode, capacity, daemon_stream, settings, tls, pass, token, times, is_local, kill_after,
        profile
    );
    hub::hub_credentials => hub_credentials(hub);
    hub::hub_urls => hub_urls(hub);
    hub::hub_submit => hub_submit(
        hub, object, shared, timeout, flags, stream, wait, retries, runtime, form
    );
    map::hub_submit_map => hub_submit_map(
        hub, x, rows, names, shared, timeout, flags, stream, retries, runtime, form
    );
    hub::hub_submit_to => hub_submit_to(hub, object, stream, to);
    hub::hub_everywhere => hub_everywhere(hub, object, min, timeout, is_kept);
    hub::hub_share => hub_share(hub, object);
    part::copy_for_each_task => copy_for_each_task();
    pure::is_altrep => is_altrep(x);
    status::hub_info => hub_info(hub);
    status::hub_memory => hub_memory(hub);
    status::hub_workers => hub_workers(hub);
    status::hub_deaths => hub_deaths(hub);
    status::hub_given_up => hub_given_up(hub);
    status::hub_heals_again => hub_heals_again(hub);
    hub::hub_has_worker => hub_has_worker(hub, id);
    healing::hub_wait_healed => hub_wait_healed(hub, n);
    hub::hub_force => hub_force(hub, task);
    hub::hub_dismiss => hub_dismiss(hub, id);
    hub::hub_close => hub_close(hub, exit);
    access::network_addresses => network_addresses();
    hub::local_url_name => local_url_name();

    tasks::set_unresolved => set_unresolved(x);
    tasks::is_unresolved => is_unresolved(x);
    tasks::task_id => task_id(task);
    tasks::task_number => task_number();
    tasks::task_state => task_state(task);
    tasks::task_value => task_value(task);
    tasks::task_fetch => task_fetch(mirai);
    tasks::mirai_settle => mirai_settle(mirai, value);
    tasks::mirai_new => mirai_new(task, form);
    tasks::hub_open_mirai => hub_open_mirai(hub);
    tasks::task_wait => task_wait(task);
    tasks::tasks_note_failure => tasks_note_failure(tasks);
    tasks::tasks_watch => tasks_watch(tasks);
    tasks::watch_wait => watch_wait(watch, at_least, stop_on_failure);
    tasks::tasks_wait_served => tasks_wait_served(hub, tasks, expected);
    collecting::mirai_pending => mirai_pending(x);
    collecting::mirai_wait => mirai_wait(x);
    collecting::mirai_take => mirai_take(x, seen, failing, flat);
    collecting::mirai_race => mirai_race(x);
    collecting::mirai_collect => mirai_collect(x);
    tasks::task_cancel => task_cancel(task, force);
    tasks::task_not_launched => task_not_launched(task);
    collecting::mirai_cancel => mirai_cancel(x, force);

    promises::tasks_then => tasks_then(tasks, f, event_loop);

    shadows::shadows_open => shadows_open(name, folder, reply);
    shadows::shadows_url => shadows_url(shadows);
    shadows::shadows_expect => shadows_expect(shadows, task);

    launch::launch => launch(hub, calls, libpaths, package_path, is_awaited);
    healing::hub_heal => hub_heal(hub, n, call, libpaths, package_path, key, leavers, budget, most);
    healing::hub_heal_begin => hub_heal_begin(hub);
    healing::hub_relaunching => hub_relaunching(hub, is_relaunching);
    healing::hub_not_relaunched => hub_not_relaunched(hub, n, reason);
    launch::hub_wait_connected => hub_wait_connected(hub, n, ticket, patience);
    errands::run_errands => run_errands(hub, lines, counts, kind, forwards, at_end, is_awaited);
    errands::follow_requests => follow_requests(hub, n, said, failed, command);
    cookie::cookie_page => cookie_page(text);
    cookie::cookie_wait => cookie_wait(page, seconds);
    errands::errands_wait => errands_wait(hub, ticket, patience);
    errands::errands_settle => errands_settle(patience);
    status::hub_absent => hub_absent(hub);
    status::hub_refused => hub_refused(hub);
    status::hub_starting => hub_starting(hub);
    absent::set_absence_warning => set_absence_warning(f);
    absent::launch_lacking => launch_lacking();
    launch::serve_forks => serve_forks(fd, loaded);
    launch::give_up_tempdir => give_up_tempdir(path);
    launch::discarded_output => discarded_output();
    launch::report_tempdir => report_tempdir(path);

    daemon::daemon_run => daemon_run(
        url, direct, asyncdial, autoexit, idletime, walltime, maxtasks, attended, handlers, tempdir, tlscert
    );

    daemon::task_attempt => task_attempt();
    evaluating::set_evaluation => set_evaluation(session, top, with_beside);
    evaluating::task_evaluate => task_evaluate(object, shared, flags, stream);

    session::session_snapshot => session_snapshot(
        options, search, output, messages, kind, libraries, numbers
    );
    session::session_changed => session_changed(
        snapshot, options, search, output, messages, seed, libraries, numbers
    );
    session::session_restore_process => session_restore_process(snapshot);
    session::session_new_globals => session_new_globals(snapshot);

    flags::object_flags => object_flags(x);
    flags::clear_flag => clear_flag(x, flag);

    rng::next_rng_stream => next_rng_stream(seed);
    rapi::code_text => code_text(number);

    http::http_request => http_request(method, url, names, values, body, seconds, trust);
    http::json_read => json_read(text);
    http::json_quote => json_quote(texts);
    http::hide_secrets => hide_secrets(texts);
    http::are_secret_names => are_secret_names(names);

    probe::test_serialize => test_serialize(object);
    probe::test_serialize_small => test_serialize_small(object, room);
    probe::test_measure => test_measure(object);
    probe::test_encode_part => test_encode_part(object);
    probe::test_serialize_elements => test_serialize_elements(x);
    probe::test_unserialize => test_unserialize(bytes);
    probe::test_boundary => test_boundary(what, f);
}
