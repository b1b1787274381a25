//! The words of a scenario.

/// The words of a scenario.
pub const HELP: &str = "\
device slots|files|custom|one-way|empty|wrong
    slots: two slots, the client reboots; files: overwrites, no reboot; custom: overwrites, reboots itself;
    one-way: overwrites, no rollback; empty: an artifact without payload; wrong: an artifact for another device
fail WHAT [N|N-M|always]          the first time, the N-th, the N-th to M-th, always
retry-later WHAT [...]            a script exits with 21
abort at STATUS [...]             the server answers 409 from then on
lose-power before|in|after WHAT [...]
    WHAT: a script (ArtifactInstall_Enter), a call (ArtifactInstall), a status (installing), reboot, save, mark
deploy NAME                       the server has one more artifact for the device
resume-downloads                  a download goes on after a restart; \"mark\" is every 8 bytes of a payload
no-deployment                     the server has nothing for the device
show idle                         also the scripts of Idle and Sync
stop-before POINT                 for the next verb
map ACTION before POINTS [then ACTION] [expired ACTION] [priority N] [by N]
    a program on the device sets its update control map; map none [by N] deletes it; map {JSON} as it stands
    ACTION: continue, force_continue, pause, fail; POINTS: ArtifactInstall_Enter,ArtifactReboot_Enter,...
server-map ...                    the same, the server's map of the deployment; server-map aborted: it is gone
order pause|pass|fail|lift [before POINTS] [for TIME]
approve                           a person lets the update that waits go on
busy before POINTS: WHY           a policy of the device says not now; never before ...: it fails; free before ...
window HH:MM-HH:MM before POINTS  an update window; clock HH:MM: the time of day when the device starts
spoil maps                        the record of the control maps is damaged
run                               the daemon, until it is idle or waits before a point
wait TIME                         the daemon goes on for so long: 30 s, 10 min, 2 h
install | commit | rollback | resume
reboot                            by the user
";
