// Command invoicebox-worker invites shops to Invoicebox and activates them:
// events in from Kafka, calls to Invoicebox, events out to Kafka. `--help`
// shows its commands and all settings with their defaults.
//
// This package is configuration and the operator's commands only; the service
// itself is wired in package worker.
//
// # What it guarantees
//
//   - Every setting is a flag, an environment variable (INVOICEBOX_WORKER_…) and a
//     member of the YAML file, read by one parser: flag over environment over file
//     over default. An empty variable counts as not set; a mistake in the file is
//     told even where a flag overrides it. A command reads only the settings that
//     it uses; variables without the prefix are not read, those with it that
//     belong to no setting are ignored, and one that resembles a setting's is a
//     warning.
//   - A wrong value is told before anything starts, with the setting's name, the
//     value, where it came from and what would be right. A secret is never
//     quoted: secrets come from files, and only the file is named.
//   - Commands work beside a running service, but for `journal recover`, which
//     wants it stopped. They read, and write two things
//     only: audit entries, of which that of `resolve` is on disk before a byte of
//     the secret is printed, and what a person asks for (`operations probe`,
//     `retry`, `close`, `reread`, `enter`, `accounts pause`,
//     `resume`, `check`), together with its
//     audit entry. The service performs that within about a second, or refuses
//     it in words; where none runs it waits in the journal, also when the
//     command has ended. A token that is entered is read from a file or from
//     standard input, and sealed before it is written. `journal backup` makes a
//     file that is not there before, and names it when it was checked and is on
//     disk.
//   - With `--output json` stdout holds one JSON document whose member names are
//     kept; nothing else is printed there. Lists are arrays.
//   - SIGTERM, SIGINT, SIGHUP, SIGQUIT or SIGABRT drains and exits 0; a second
//     SIGTERM or SIGINT ends the process at once with status 1, which is a crash
//     like any other. No other signal but SIGKILL ends a call. SIGHUP is ignored
//     where it was when the program started (nohup).
//   - The reader of the service's log cannot stop it: the end of the reader, a full
//     disk or a reader that does not read costs lines, which the metric
//     invoicebox_worker_log_lines_not_written_total counts.
//
// # Exit status
//
//	0  done
//	1  failed; an act that was refused, or that no worker has answered in time; also a setting with a wrong or missing value, wherever it came from
//	2  wrong usage: unknown command or flag, missing or malformed argument
//
// # What it does not
//
// `run` has no dry run yet. `check` sends one request for each account, the look
// whether its token works, and counts it in the journal; beside a running
// service it sends none.
package main
