package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/sqlite"
)

// Backup copies the journal to a new file and writes an audit entry. The service may be
// running. An error after the copy was made says so.
func Backup(ctx context.Context, url, path, actor string, logger *slog.Logger) (sqlite.Copy, error) {
	at, err := journalAt(url)
	if err != nil {
		return sqlite.Copy{}, err
	}
	if at.path == "" {
		return sqlite.Copy{}, &config.Error{Setting: "journal-url", Value: url, Want: "is a database on a server: copy it with the server's means (a base backup with its log, or pg_dump); `journal recover` continues from such a copy, too"}
	}
	j, err := sqlite.Open(ctx, sqlite.Options{Path: at.path, Logger: logger, ReadOnly: true})
	if errors.Is(err, fs.ErrNotExist) {
		return sqlite.Copy{}, at.errNoJournal("`run` creates it")
	}
	if err != nil {
		return sqlite.Copy{}, at.explain(err)
	}
	defer func() { _ = j.Close() }()
	c, err := j.Backup(ctx, path)
	if errors.Is(err, fs.ErrExist) {
		return c, fmt.Errorf("%s exists already and is not replaced; name a file that does not", path)
	}
	if err != nil {
		return c, err
	}
	if err := j.AppendAudit(ctx, journal.AuditEntry{At: c.At, Actor: actor, Act: "journal_backup", Subject: c.Path, Detail: fmt.Sprintf("%d bytes", c.Bytes)}); err != nil {
		return c, fmt.Errorf("%s was made and is valid, but it could not be written to the audit trail: %w", c.Path, err)
	}
	return c, nil
}
