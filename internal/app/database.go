package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/move"
	"invoicebox-worker/internal/journal/postgres"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/secretfile"
)

// CheckJournalURL describes a valid journal-url, or returns "" if the URL is valid.
func CheckJournalURL(text string) string {
	const right = "must be sqlite: and the path of a file, such as sqlite:/var/lib/invoicebox-worker/journal.db, or postgres://USER@HOST:PORT/DATABASE"
	scheme, rest, found := strings.Cut(text, ":")
	switch {
	case found && scheme == "sqlite":
		if rest == "" || rest == ":memory:" || strings.HasPrefix(rest, "//") || strings.ContainsAny(rest, "?#") {
			return right + "; a path without // and ? and #"
		}
		return ""
	case found && isPostgres(text):
		if postgres.HoldsPassword(text) {
			return "must hold no password: every user can read the list of processes. Give it in the file that PGPASSFILE names, or in PGPASSWORD"
		}
		if wrong, ok := errors.AsType[*postgres.URLError](postgres.CheckURL(text)); ok {
			return wrong.Words
		}
		return ""
	}
	return right
}

func isPostgres(journalURL string) bool {
	return strings.HasPrefix(journalURL, "postgres://") || strings.HasPrefix(journalURL, "postgresql://")
}

// A database is the location of the journal, from journal-url.
type database struct {
	url  string
	path string // of the file; "" for PostgreSQL
}

func journalAt(journalURL string) (database, error) {
	if right := CheckJournalURL(journalURL); right != "" {
		return database{}, &config.Error{Setting: "journal-url", Value: journalURL, Want: right}
	}
	path, _ := strings.CutPrefix(journalURL, "sqlite:")
	if isPostgres(journalURL) {
		path = ""
		if wrong := secretFilesFault(journalURL); wrong != "" {
			return database{}, &config.Error{Setting: "journal-url", Value: journalURL, Want: wrong}
		}
	}
	return database{url: journalURL, path: path}, nil
}

// openOptions are the options of opening a journal; see the options of the two
// databases.
type openOptions struct {
	planner  journal.Planner
	logger   *slog.Logger
	readOnly bool // for reading, while a service may be running
	recover  bool
	reserve  int64
	mark     func(path string) string
}

// open opens the journal. If there is none and readOnly is set, the error wraps
// [fs.ErrNotExist].
func (d database) open(ctx context.Context, o openOptions) (journal.Journal, error) {
	// The results are not returned directly: a nil *Journal is not a nil interface.
	if d.path == "" {
		j, err := postgres.Open(ctx, postgres.Options{URL: d.url, Planner: o.planner, Logger: o.logger, ReadOnly: o.readOnly, Recover: o.recover})
		if err != nil {
			return nil, err
		}
		return j, nil
	}
	j, err := sqlite.Open(ctx, sqlite.Options{Path: d.path, Planner: o.planner, Logger: o.logger, ReadOnly: o.readOnly, Recover: o.recover, Reserve: o.reserve, Mark: o.mark})
	if err != nil {
		return nil, err
	}
	return j, nil
}

// exists reports whether there is a journal. Other errors are reported by open.
func (d database) exists(ctx context.Context) bool {
	if d.path != "" {
		_, err := os.Stat(d.path)
		return !errors.Is(err, fs.ErrNotExist)
	}
	j, err := d.open(ctx, openOptions{readOnly: true})
	if err == nil {
		_ = j.Close()
	}
	return !errors.Is(err, fs.ErrNotExist)
}

// checkWritable reports whether a worker can create the journal, or write the existing
// one. The error is the text for `check`.
func (d database) checkWritable(ctx context.Context) error {
	if d.path == "" {
		return postgres.MayWork(ctx, postgres.Options{URL: d.url})
	}
	probe, err := os.CreateTemp(filepath.Dir(d.path), ".check-*")
	if err != nil {
		return fmt.Errorf("no file can be created in %s: create the folder, or let the user of this process write it", filepath.Dir(d.path))
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	return nil
}

// lowSpace describes how much space the journal's disk lacks; "" if there is enough, or
// if that is unknown.
func (d database) lowSpace(o *Options) string {
	if d.path == "" {
		return ""
	}
	fetching, calls := o.reservedBytes()
	free := sqlite.Free(d.path)
	switch {
	case free < 0 || free >= fetching:
		return ""
	case free < calls:
		return fmt.Sprintf("%s are free on the journal's disk: calls stop below %s and fetching stops below %s (--journal-reserve); free some space", formatBytes(free), formatBytes(calls), formatBytes(fetching))
	}
	return fmt.Sprintf("%s are free on the journal's disk: fetching stops below %s (--journal-reserve); free some space", formatBytes(free), formatBytes(fetching))
}

// lowSpaceForCalls is lowSpace for the part below which nothing is sent.
func (d database) lowSpaceForCalls(o *Options) string {
	if _, calls := o.reservedBytes(); d.path == "" || sqlite.Free(d.path) < 0 || sqlite.Free(d.path) >= calls {
		return ""
	}
	return d.lowSpace(o)
}

// secretFilesFault describes a fault of the files from which the driver reads the
// password and the key of a client certificate. The driver itself ignores a file that
// it cannot use, and the server then refuses the password.
func secretFilesFault(journalURL string) string {
	files, err := postgres.FilesOf(journalURL)
	if err != nil {
		if wrong, ok := errors.AsType[*postgres.URLError](err); ok {
			return wrong.Words
		}
		return err.Error()
	}
	if wrong := passwordFileFault(files.PasswordFile, files.Named); wrong != "" {
		return wrong
	}
	info, err := os.Stat(files.KeyFile) // #nosec G703 -- the operator names the file
	if err != nil || !info.Mode().IsRegular() {
		return "" // without a file there is no key; the driver reports a named file that is missing
	}
	if err := secretfile.CheckPrivate(files.KeyFile, info); err != nil {
		return "needs a client key that only its owner can read: " + err.Error()
	}
	return ""
}

// passwordFileFault describes a fault of the file from which the driver reads the
// password. As for PostgreSQL's own programs, group and others must not be able to read
// it. A missing file is a fault only if it was named.
func passwordFileFault(path string, named bool) string {
	info, err := os.Stat(path) // #nosec G703 -- the operator names the file
	switch {
	case err != nil && !named:
		return ""
	case err != nil:
		return fmt.Sprintf("needs its password from a file, and %s cannot be read: %s", path, netReason(err))
	case !info.Mode().IsRegular():
		return ""
	}
	if err := secretfile.CheckPrivate(path, info); err != nil {
		return "needs a password file that only its owner can read: " + err.Error()
	}
	f, err := os.Open(path) // #nosec G304,G703 -- the operator names the file
	if err != nil {
		return fmt.Sprintf("needs its password from a file, and %s cannot be read: %s", path, netReason(err))
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 3)
	if n, _ := f.ReadAt(head, 0); n == len(head) && string(head) == "\xef\xbb\xbf" {
		return fmt.Sprintf("needs its password from a file, and %s begins with a byte order mark, which would become part of the first host name: save the file as UTF-8 without it", path)
	}
	return ""
}

// warnings describes settings that work and should be changed, for the service's log and
// for `check`.
func (d database) warnings() []string {
	if d.path == "" {
		if weak := postgres.Weakness(d.url); weak != "" {
			return []string{weak}
		}
		return nil
	}
	return sqlite.Warnings(d.path)
}

// A nextStep is what an operator does about an error of opening a journal.
type nextStep struct {
	err error
	do  string
}

const fileRights = "the user of this process must be able to write the file and its folder"

// nextSteps apply whatever the journal is opened for.
var nextSteps = []nextStep{
	{postgres.ErrPooled, "give the server's own address, or a pool in session mode (in PgBouncer pool_mode=session for this database)"},
	{postgres.ErrReadOnly, "free some space on the server's disk, or have the administrator reset the setting"},
	{journal.ErrNewer, "use the version that wrote it, or a newer one"},
	{journal.ErrUnfinished, "run `invoicebox-worker journal migrate` again"},
	{journal.ErrNotDurable, "commits there can be lost: set fsync, full_page_writes and synchronous_commit to on"},
	{move.ErrNotEmpty, "the database was not changed"},
}

// explain adds the next step to an error of opening the journal.
func (d database) explain(err error) error {
	if err == nil {
		return nil
	}
	steps := []nextStep{{journal.ErrCopy, "stop every worker that may still have the newer one, then continue with `invoicebox-worker journal recover`"}}
	if d.path == "" {
		return explainOpening("journal-url", d.url, err, append(steps, nextStep{journal.ErrHeld, "stop the other workers of this journal first"}),
			"check the address, the user, its password (PGPASSFILE or PGPASSWORD) and the database, which must exist and let the user create tables")
	}
	const otherwise = "it must be a file on a disk of this machine"
	return explainOpening("journal-url", d.url, err, append(steps,
		nextStep{journal.ErrHeld, "another worker runs with it; stop that one, or give this one a journal and a group of its own"},
		nextStep{journal.ErrNotDurable, otherwise},
		nextStep{fs.ErrPermission, fileRights},
		nextStep{fs.ErrNotExist, "create the folder first"},
	), otherwise)
}

// explainOpening adds the next step to an error of opening the journal that a setting
// names. It searches steps, then nextSteps; otherwise is the default.
func explainOpening(setting, value string, err error, steps []nextStep, otherwise string) error {
	wrong := &config.Error{Setting: setting, Value: value, Want: err.Error()}
	if e, ok := errors.AsType[*postgres.URLError](err); ok {
		wrong.Want = e.Words
		return wrong
	}
	if e, ok := errors.AsType[*postgres.DeniedError](err); ok {
		wrong.Want = e.Words
		return wrong
	}
	if _, ok := errors.AsType[*postgres.SettingsError](err); ok {
		wrong.Want += "; have the administrator reset it for the server, the database and the user"
		return wrong
	}
	if errors.Is(err, sqlite.ErrOpenToOthers) || errors.Is(err, journal.ErrMoved) {
		return wrong // it contains the next step
	}
	do := otherwise
	for _, s := range slices.Concat(steps, nextSteps) {
		if errors.Is(err, s.err) {
			do = s.do
			break
		}
	}
	wrong.Want += "; " + do
	return wrong
}

// errNoJournal is the error for a missing journal; instead is what the operator has to do.
func (d database) errNoJournal(instead string) error {
	return &config.Error{Setting: "journal-url", Value: d.url, Want: "there is no journal; " + instead}
}
