// Command invoicebox-worker invites shops to Invoicebox and activates them: events in from
// Kafka, calls to Invoicebox, events out to Kafka. `--help` shows its commands and settings;
// docs/configuration.md lists all of them.
//
// This package contains the operator's commands. Package internal/config reads the settings,
// and package internal/app starts the service.
//
// # Guarantees
//
//   - Every setting is a flag, an environment variable (INVOICEBOX_WORKER_…) and a member of
//     the YAML file, read by one parser: flag over environment over file over default. A
//     command reads only the settings that it uses.
//   - A wrong value is reported before anything starts, with the setting's name, the value,
//     its source and what would be right. Secrets come from files, and only the file is
//     named.
//   - Commands work beside a running service, except `journal recover` and `journal migrate`.
//     They read, and write two things only: audit entries (that of `resolve` is on disk
//     before a byte of the secret is printed), and operator actions with their audit entry.
//     The service executes or refuses an action within about a second. If no service runs,
//     the action waits in the journal. A token is read from a file or from standard input,
//     and sealed before it is written.
//   - `journal backup` creates a new file, and names it when it was checked and is on disk.
//   - With `--output json` stdout contains one JSON document whose member names are stable.
//     Lists are arrays.
//   - SIGTERM, SIGINT, SIGHUP, SIGQUIT or SIGABRT drains and exits 0; a second SIGTERM or
//     SIGINT ends the process at once with status 1, which is a crash like any other. SIGHUP
//     is ignored if it was ignored when the program started (nohup).
//   - The reader of the log cannot stop the service: if it ends, if it does not read, or if
//     the disk is full, lines are lost, and invoicebox_worker_log_lines_not_written_total
//     counts them.
//
// # Exit status
//
//	0  done
//	1  failed; an operator action that was refused or not answered in time; a setting with a
//	   wrong or missing value
//	2  wrong usage: unknown command or flag, missing or malformed argument
//
// # Limits
//
// `check` sends one request for each account, to check its token, and
// counts it in the journal; beside a running service it sends none.
package main
