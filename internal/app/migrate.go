package app

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/move"
	"invoicebox-worker/internal/journal/postgres"
	"invoicebox-worker/internal/journal/sqlite"
)

// MigrateOptions configure a migration.
type MigrateOptions struct {
	From  string // sqlite: and the path of a file
	To    string // postgres://… of an empty database
	Actor string // for the audit trails of both
	// Logger logs events that are not part of the result.
	Logger *slog.Logger
	// Progress is called with the progress; may be nil.
	Progress func(move.Progress)
}

// Migrate moves the journal from SQLite to PostgreSQL. It locks both, and can be run
// again after a kill at any time. Afterwards PostgreSQL has the journal, and no worker
// starts with the file.
func Migrate(ctx context.Context, o MigrateOptions) (r move.Report, err error) {
	if CheckJournalURL(o.From) != "" || isPostgres(o.From) {
		return r, &config.Error{Setting: "from", Value: o.From, Want: "must be sqlite: and the path of the journal's file: a journal can be moved only from SQLite to PostgreSQL"}
	}
	right := CheckJournalURL(o.To)
	if right == "" && !isPostgres(o.To) {
		right = "must be postgres:// and the rest of the URL of an empty database, such as postgres://worker@db.example/invoicebox"
	}
	if right == "" {
		right = secretFilesFault(o.To)
	}
	if right != "" {
		return r, &config.Error{Setting: "to", Value: o.To, Want: right}
	}
	if weak := postgres.Weakness(o.To); weak != "" && o.Logger != nil {
		o.Logger.Warn("the connection to the target database is not fully verified", "reason", weak)
	}
	path, _ := strings.CutPrefix(o.From, "sqlite:")
	source, err := sqlite.OpenSource(ctx, sqlite.Options{Path: path, Logger: o.Logger})
	if err != nil {
		return r, explainSource(o.From, err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	// A file that was moved is reported also if the database cannot be reached.
	target, err := postgres.OpenTarget(ctx, postgres.Options{URL: o.To, Logger: o.Logger})
	if err != nil {
		if moved := source.Marks().Moved; moved != nil {
			err = errors.Join(moved.Err(), err)
		}
		return r, explainTarget(err)
	}
	defer target.Close()
	r, err = move.Run(ctx, source, target, move.Options{From: o.From, Actor: o.Actor, Progress: o.Progress})
	switch {
	case errors.Is(err, journal.ErrMoved), errors.Is(err, journal.ErrCopy):
		err = explainSource(o.From, err)
	case errors.Is(err, journal.ErrHeld), errors.Is(err, move.ErrNotEmpty):
		err = explainTarget(err)
	}
	return r, err
}

// explainSource adds the next step to an error of the source.
func explainSource(from string, err error) error {
	return explainOpening("from", from, err, []nextStep{
		{journal.ErrHeld, "stop the worker that runs with it"},
		{journal.ErrCopy, "copy the journal itself, or recover this one first with `invoicebox-worker journal recover`"},
		{fs.ErrNotExist, "name the file of a journal"},
		{fs.ErrPermission, fileRights},
	}, "no row was copied")
}

// explainTarget adds the next step to an error of the target.
func explainTarget(err error) error {
	return explainOpening("to", "", err, []nextStep{
		{journal.ErrHeld, "stop every worker that runs with it; a killed copy releases it within moments"},
	}, "nothing is lost: correct the cause, unless it is temporary, and run the same command again")
}
